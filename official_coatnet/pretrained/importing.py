"""Weights of others as the model_dir of a run.

What training, evaluation, export and prediction read of a run is written:
experiment.json, labels.txt, config.gin, a checkpoint of step 0; and
weights.json, which says where the weights are from.
"""

import dataclasses
import os
import re
import shutil
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.data import config as data_config
from official_coatnet.modeling import config as model_config
from official_coatnet.pretrained import (
  conversion,
  hub,
  identity,
  loading,
  reading,
)
from official_coatnet.training import (
  checkpoint_files,
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  optimizer,
  saving,
  stored_data,
)

# Of the folders in the cache: another number where they would be others.
_CACHE_FORMAT = 1
_BATCH_SIZE = 64
_READ, _BUILD = 'reading the weights', 'building the network'
_WRITE = 'writing the run'
# What `import_weights` does, and the seconds that each took for CoAtNet-0 of
# timm on two cores. Before them the weights are fetched.
STEPS: Mapping[str, float] = types.MappingProxyType(
  {_READ: 0.1, _BUILD: 4.5, _WRITE: 1.0}
)
_LEARNING_RATE = 5e-5  # Of fine-tuning in Table 10.
_CONFIG = """\
# Written with imported weights: {source}
# Evaluation on ImageNet-1K: DATA_DIR is the folder of its records.
include 'gin/recipes/base.gin'

MODEL = {model!r}
IMAGE_SIZE = {image_size!r}
NUM_CLASSES = {num_classes!r}
BATCH_SIZE = {batch_size!r}
TRAIN_STEPS = 1
OptimizerConfig.peak_learning_rate = {learning_rate!r}
"""


@dataclasses.dataclass(frozen=True)
class Imported:
  """What was imported.

  Attributes:
    model_dir: Where it is.
    known: What the weights are.
    report: What became of each.
    origin: Where they are from.
  """

  model_dir: str
  known: identity.Identity
  report: conversion.Report
  origin: model_dir_lib.Origin


def import_weights(
  source: str | hub.WeightsFile,
  model_dir: str,
  *,
  image_size: int | Sequence[int] | None = None,
  on_step: Callable[[str], None] = lambda step: None,
) -> Imported:
  """Writes weights of others as the model_dir of a run.

  Args:
    source: As of `hub.find`, or what that has found.
    model_dir: The folder; created. The checkpoint comes last, so that a folder
      that has one is whole.
    image_size: Side, or (height, width), of the images; None for theirs.
    on_step: Called with the name of each of the `STEPS` as it begins.

  Raises:
    ValueError: If they cannot be read or fetched, are of no known network, or
      if there is a run in the folder.
    ImportError: If a library that is needed for it is missing.
  """
  check_folder(model_dir)
  file = source if isinstance(source, hub.WeightsFile) else hub.find(source)
  return _import(file, model_dir, image_size=image_size, on_step=on_step)


def check_folder(model_dir: str) -> None:
  """Raises ValueError if weights cannot be imported into a folder."""
  files.check_no_pattern(model_dir, name='--model_dir')
  if checkpoint_files.exist(model_dir):
    raise ValueError(
      f'{model_dir!r} holds the checkpoints of a run; give another --model_dir.'
    )


def _import(
  file: hub.WeightsFile,
  model_dir: str,
  *,
  image_size: int | Sequence[int] | None,
  on_step: Callable[[str], None] = lambda step: None,
) -> Imported:
  on_step(_READ)
  state = reading.read_state(file.path)
  known = identity.identify(file, state)
  experiment = make_experiment(known, image_size=image_size)
  on_step(_BUILD)
  with tf.device('CPU:0'):
    model = loading.build(experiment.model)
    report = loading.load_state(
      model, state, known=known, config=experiment.model, path=file.path
    )
  on_step(_WRITE)
  row = known.row
  if row and file.url not in (None, row.url):
    row = None  # Another repository's, whatever its config.json repeats.
  origin = model_dir_lib.Origin(
    source=row.name if row else file.source,
    file=os.path.basename(file.path),
    sha256=files.sha256(file.path),
    url=row.url if row else file.url,
    licence=row.licence if row else (file.settings or {}).get('license'),
    top1=row.top1 if row else None,
  )
  model_dir_lib.write_experiment(model_dir, experiment)
  model_dir_lib.write_config(
    model_dir, _config_text(experiment, source=origin.source)
  )
  # Of the data no more is known than of those of an old run.
  model_dir_lib.write_data(model_dir, stored_data.describe(experiment, {}))
  if known.class_names is not None:
    model_dir_lib.write_labels(model_dir, known.class_names)
  model_dir_lib.write_origin(model_dir, origin)
  saving.CheckpointManager(
    checkpoints.make_checkpoint(model, averages={}), model_dir, max_to_keep=1
  ).save(checkpoint_number=0)
  return Imported(model_dir, known, report, origin)


def make_experiment(
  known: identity.Identity, *, image_size: int | Sequence[int] | None = None
) -> experiment_lib.Experiment:
  """Returns the experiment that a network with such weights is.

  Nothing is trained by it: of the training it holds what evaluation, export and
  fine-tuning read, and no more.

  Args:
    known: What the weights are.
    image_size: As of `import_weights`.
  """
  model = model_config.ModelConfig(
    known.model,
    image_size=loading.choose_size(image_size, known.image_size),
    num_classes=known.num_classes,
  )
  train, evaluation = (
    data_config.DataConfig(
      num_classes=known.num_classes,
      image_size=model.image_size,
      batch_size=_BATCH_SIZE,
      split=split,
      **dataclasses.asdict(known.preparation),
    )
    for split in ('train', 'validation')
  )
  return experiment_lib.Experiment(
    model=model,
    train_data=train,
    eval_data=evaluation,
    loss=experiment_lib.LossConfig(),
    optimizer=optimizer.OptimizerConfig(peak_learning_rate=_LEARNING_RATE),
    run=experiment_lib.RunConfig(train_steps=1),
  )


def _config_text(experiment: experiment_lib.Experiment, *, source: str) -> str:
  """Returns what makes the same experiment by gin."""
  text = _CONFIG.format(
    source=source.replace('\n', ' '),
    model=experiment.model.name,
    image_size=experiment.model.image_size,
    num_classes=experiment.model.num_classes,
    batch_size=_BATCH_SIZE,
    learning_rate=_LEARNING_RATE,
  )
  preparation = loading.preparation_of_run(experiment)
  for name, value in dataclasses.asdict(preparation).items():
    text += f'DataConfig.{name} = {value!r}\n'
  return text


def cache_folder() -> str:
  """Returns the folder in which `find_start` keeps what it has imported."""
  top = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(top, 'official_coatnet', f'weights-{_CACHE_FORMAT}')


def find_start(path: str) -> str:
  """Returns the checkpoint to start a run from, imported where it need be.

  Args:
    path: `RunConfig.init_checkpoint`: a model_dir or a checkpoint, which is
      returned as it is; or what `hub.find` takes, which is imported into the
      cache, once.

  Raises:
    ValueError: If it is to be imported and cannot be.
    ImportError: If a library that is needed for it is missing.
  """
  if not hub.is_name(path) and (
    not hub.is_weights(path) or checkpoint_files.exist(path)
  ):
    return path
  file = hub.find(path)
  name = file.row.name if file.row else os.path.basename(file.source)
  name = re.sub(r'[^\w.-]+', '_', name)
  folder = os.path.join(
    cache_folder(), f'{name}-{files.sha256(file.path)[:16]}'
  )
  if checkpoint_files.exist(folder):
    return folder
  os.makedirs(cache_folder(), exist_ok=True)
  temporary = tempfile.mkdtemp(dir=cache_folder(), prefix='.importing-')
  try:
    imported = _import(file, temporary, image_size=None)
    try:
      os.rename(temporary, folder)
    except OSError:
      # Of several processes another was first.
      if not checkpoint_files.exist(folder):
        raise
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  logging.info('%s, imported to %s:\n%s', path, folder, imported.report.table())
  return folder
