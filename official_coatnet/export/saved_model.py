"""Exports the network of a model_dir as a SavedModel for TF Serving.

What is written is listed in `versions`, what it computes in `serving`.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import facts as facts_lib
from official_coatnet.export import (
  folding,
  model_card,
  serving,
  versions,
  warmup,
)
from official_coatnet.export.options import ExportOptions
from official_coatnet.modeling import complexity, implementations, network
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)


def export(
  model_dir: str,
  export_dir: str,
  *,
  weights: str | None = None,
  labels: str | None = None,
  version: int | None = None,
  fold: bool = True,
  options: ExportOptions | None = None,
  licence: str | None = None,
) -> str:
  """Writes `export_dir/<version>/`, which TF Serving loads as it is.

  Its signatures are those of `serving`.

  Args:
    model_dir: Folder of a run, with at least one checkpoint.
    export_dir: Folder of the versions; created.
    weights: 'ema' or 'raw'. None for what the run's configuration says, which
      is EMA where there is one unless it says otherwise.
    labels: Text file with one class name a line. None for the names that the
      run has kept; if it has none they are the class ids in decimal.
    version: Number of the export. None for the next free one.
    fold: Whether convolutions absorb the BatchNorms (`folding`).
    options: How it answers.
    licence: Of the model, for its card.

  Returns:
    The path of the export.

  Raises:
    FileNotFoundError: If `model_dir` is not one of a run.
    ValueError: If there is no (fitting) checkpoint, EMA is asked for where
      there is none, labels and classes differ in number, labels.txt of the run
      is not what it was trained on, the version is taken or `export_dir` cannot
      be written.
  """
  version = versions.choose_version(export_dir, version=version)
  options = options or ExportOptions()
  experiment = model_dir_lib.read_experiment(model_dir)
  names, names_from = _read_names(experiment, model_dir, labels=labels)
  # Opened before the network is built, so that an error comes at once.
  stored = checkpoints.StoredWeights(
    model_dir, weights=weights or experiment.run.weights
  )
  provenance = versions.Provenance(
    model_dir=_absolute(model_dir),
    checkpoint=os.path.basename(stored.prefix),
    weights=stored.group,
    folded=fold,
    options=options,
    own_labels=labels is None,
  )
  with (
    versions.new_version(export_dir, version=version) as path,
    _loaded_model(experiment, stored, fold=fold) as model,
    versions.writing(export_dir),
  ):
    write_saved_model(model, experiment, path, names=names, options=options)
    _write_papers(
      experiment,
      provenance,
      path,
      stored=stored,
      names_from=names_from,
      licence=licence,
    )
  return os.path.join(export_dir, str(version))


def write_saved_model(
  model: tf.keras.Model,
  experiment: experiment_lib.Experiment,
  path: str,
  *,
  names: Sequence[str],
  options: ExportOptions,
):
  """Writes graph, weights, class names and warm-up requests into a folder.

  Args:
    model: As `serving.make_module` takes it.
    experiment: What it was trained by.
    path: The folder.
    names: Of the classes.
    options: How it answers.
  """
  with tempfile.TemporaryDirectory() as scratch:
    # It becomes `versions.LABELS_FILE`, an asset of the same name.
    labels_file = model_dir_lib.write_labels(scratch, names)
    module = serving.make_module(
      model, experiment, labels_file=labels_file, options=options
    )
    tf.saved_model.save(module, path, signatures=serving.signatures(module))
  height, width = experiment.model.height_width
  warmup.write_requests(path, options, height=height, width=width)


def load_model(
  experiment: experiment_lib.Experiment,
  path: str,
  *,
  weights: str | None = None,
  fold: bool = True,
) -> tf.keras.Model:
  """Builds the network of a run for inference, in float32 on the CPU.

  Args:
    experiment: Of the run.
    path: Its folder, or one of its checkpoints.
    weights: 'ema', 'raw', or None for EMA where there is one.
    fold: As in `export`.

  Raises:
    ValueError: If there is no such checkpoint, or it does not fit.
  """
  config = dataclasses.replace(
    experiment.model,
    # Variables are float32 whatever the run computed in.
    dtype='float32',
    # There are no replicas here to take statistics over.
    sync_batch_norm=False,
    implementation=_exportable(experiment.model.implementation),
  )
  with tf.device('CPU:0'):
    model = network.classifier(config)
    checkpoints.load_weights(model, path, weights=weights)
    if fold:
      trained = model
      model = folding.fold_classifier(trained, config)
      _free(trained)
    network.cache_relative_bias(model)
  return model


@contextlib.contextmanager
def _loaded_model(
  experiment: experiment_lib.Experiment,
  stored: checkpoints.StoredWeights,
  *,
  fold: bool,
) -> Iterator[tf.keras.Model]:
  model = load_model(experiment, stored.prefix, weights=stored.group, fold=fold)
  try:
    yield model
  finally:
    _free(model)


def _free(model: tf.keras.Model):
  """Gives a model's memory back to TensorFlow; its weights are gone after it.

  To drop the model is not enough: Keras and TensorFlow (for each function with
  a custom gradient in it, as swish has one) keep what refers to its variables
  until the process ends; 2.9 GB for CoAtNet-5.
  """
  for variable in model.weights:
    tf.raw_ops.AssignVariableOp(
      resource=variable.handle, value=tf.zeros([], variable.dtype)
    )


def _exportable(implementation: str | None) -> str | None:
  """Returns `implementation`, or the reference where it is not for exports."""
  if implementation is None or implementations.get(implementation).for_export:
    return implementation
  return 'reference'


def _read_names(
  experiment, model_dir: str, *, labels: str | None
) -> tuple[list[str], str]:
  """Returns the names of the classes: those given, the run's, or numbers.

  And, for the model card, which of these they are.
  """
  num_classes = experiment.model.num_classes
  data = model_dir_lib.read_data(model_dir)
  trained_on = data.train.class_names if data else None
  known = data is not None and data.train.class_digest is not None
  file = labels or model_dir_lib.find_labels(model_dir)
  if file is None:
    if trained_on:
      return list(trained_on), 'those that the run was trained on'
    if known:
      raise ValueError(
        f'{model_dir!r} has no {model_dir_lib.LABELS_FILE} any more, which '
        f'named its {num_classes} classes; copy it back, or give the names by '
        '--labels.'
      )
    return [str(i) for i in range(num_classes)], 'none: the ids of the classes'
  names = versions.read_labels(file, num_classes=num_classes)
  if known:
    _check_names(names, trained_on, file=file, given=labels is not None)
  if labels is not None:
    return names, 'given when it was exported (`--labels`)'
  if known:
    return names, 'those that the run was trained on'
  return names, (
    f'`{model_dir_lib.LABELS_FILE}` of the run, which kept no others '
    f'(`{model_dir_lib.DATA_FILE}`) to compare them with'
  )


def _check_names(
  names: Sequence[str],
  trained_on: Sequence[str] | None,
  *,
  file: str,
  given: bool,
):
  """Compares class names with those that the weights were trained on.

  Args:
    names: Of a file.
    trained_on: Those of the run; None if they are too many for its data.json,
      and its labels.txt has others.
    file: Where the names are from.
    given: Whether the user names the file, and so may call classes otherwise;
      in another order they would be wrong all the same.
  """
  difference: str | None = 'it is another list of names'
  if trained_on is not None:
    difference = facts_lib.names_difference(
      trained_on,
      names,
      words='was {} in training and is {} there',
    )
  is_order = trained_on is not None and sorted(names) == sorted(
    name.strip() for name in trained_on
  )
  if difference is None or (given and not is_order):
    return
  remedy = 'give the names in the order of the run'
  if not given:
    remedy = (
      'put the file back as it was, or delete it; if they are the same classes '
      f'under other names, say so by --labels={file}'
    )
  raise ValueError(
    f'{file!r} does not name the classes that the run was trained on '
    f'({model_dir_lib.DATA_FILE}): {difference}; {remedy}.'
  )


def _write_papers(
  experiment: experiment_lib.Experiment,
  provenance: versions.Provenance,
  path: str,
  *,
  stored: checkpoints.StoredWeights,
  names_from: str,
  licence: str | None,
):
  """Writes what people read: model card, configuration, where it is from."""
  card = model_card.make_card(
    experiment,
    model_dir=provenance.model_dir,
    stored=stored,
    # Of the network as it is trained.
    count=complexity.count(experiment.model)[-1],
    options=provenance.options,
    folded=provenance.folded,
    names_from=names_from,
    licence=licence,
  )
  files.write_text(os.path.join(path, versions.CARD_FILE), card)
  versions.write_provenance(provenance, path)
  model_dir_lib.write_experiment(path, experiment)
  model_dir_lib.copy_config(provenance.model_dir, path)
  data = model_dir_lib.read_data(provenance.model_dir)
  if data is not None:
    versions.write_data(path, data)


def _absolute(path: str) -> str:
  return path if '://' in path else os.path.abspath(path)
