"""Compares an export with the network it was made of.

    the run's checkpoint -> its network, step by step
    the export -> reloaded in Python, all signatures
    the export -> TensorFlow's C++ loader, all signatures

All three are to give the same numbers, and the export the names of the classes
that the run was trained on. The images reach the network by the run's own
evaluation pipeline, and the export as encoded bytes, so that decoding and
resizing are compared as well.
"""

import contextlib
import dataclasses
import os
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.data import facts as facts_lib, pipeline, schema
from official_coatnet.export import serving, versions, warmup
from official_coatnet.export.verify import contents, samples
from official_coatnet.export.verify.comparison import (
  BATCH_SIZES,
  Check,
  Judge,
  Reference,
  Request,
  Runner,
)
from official_coatnet.modeling import network
from official_coatnet.training import (
  checkpoints,
  consistency,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  objective,
)

_NETWORK, _FILES = 'running the network', 'reading the files'
_RUNNER = 'asking it in {}'
# What `verify` does with the runners Python and C++, and the seconds that each
# took for CoAtNet-0 on two cores.
STEPS: Mapping[str, float] = types.MappingProxyType(
  {
    _NETWORK: 16.0,
    _FILES: 0.1,
    _RUNNER.format('Python'): 18.0,
    _RUNNER.format('C++'): 22.0,
  }
)


def verify(
  path: str,
  *,
  runners: dict[str, Runner],
  model_dir: str | None = None,
  encoded: Sequence[bytes] | None = None,
  on_step: Callable[[str], None] = lambda step: None,
) -> list[Check]:
  """Does all comparisons of an export.

  Args:
    path: The export, `<export_dir>/<version>`.
    runners: Ways to run it by name.
    model_dir: Folder of its run; None for where it was when it was exported.
    encoded: Images to use, as many as the largest batch size at least. None for
      samples of every format.
    on_step: Called with the name of each step as it begins: the `STEPS`, where
      the runners are those.

  Returns:
    A `Check` for each.

  Raises:
    FileNotFoundError: If the run or the export is not there.
    ValueError: If the export is none of this package, or the run has lost the
      checkpoint.
  """
  provenance = versions.read_provenance(path)
  experiment = model_dir_lib.read_experiment(path)
  on_step(_NETWORK)
  if encoded is None:
    side = max(experiment.model.height_width)
    encoded = samples.make_images(max(BATCH_SIZES), side=side + side // 4)
  model_dir = model_dir or provenance.model_dir
  checkpoint = os.path.join(model_dir, provenance.checkpoint)
  reference = make_reference(
    experiment, checkpoint, weights=provenance.weights, encoded=list(encoded)
  )
  on_step(_FILES)
  checks = [
    contents.check_files(path, experiment),
    check_run(path, provenance, model_dir=model_dir),
    contents.check_warmup_file(path, provenance),
  ]
  judge = Judge(
    loss=experiment.loss.name,
    provenance=provenance,
    reference=reference,
    labels=_read_labels(path, experiment),
  )
  requests = [
    Request(signature, name, value.numpy())
    for signature, name, value in warmup.read_requests(path)
  ]
  for name, runner in runners.items():
    on_step(_RUNNER.format(name))
    checks += judge.check(name, runner, warmup_requests=requests)
  return checks


def _read_labels(path, experiment) -> list[str]:
  return versions.read_labels(
    os.path.join(path, versions.LABELS_FILE),
    num_classes=experiment.model.num_classes,
  )


def make_reference(
  experiment: experiment_lib.Experiment,
  checkpoint: str,
  *,
  weights: str,
  encoded: list[bytes],
) -> Reference:
  """Runs the network as it is trained and evaluated, without the export.

  Args:
    experiment: Of the run.
    checkpoint: Its checkpoint.
    weights: 'ema' or 'raw'.
    encoded: Images, as many as the largest batch size at least.
  """
  if len(encoded) < max(BATCH_SIZES):
    raise ValueError(
      f'There are {len(encoded)} images; it takes {max(BATCH_SIZES)} at least.'
    )
  encoded = encoded[: max(BATCH_SIZES)]
  pixels = evaluation_pixels(experiment, encoded)
  config = dataclasses.replace(
    experiment.model, dtype='float32', sync_batch_norm=False
  )
  model = network.classifier(config)
  checkpoints.load_weights(model, checkpoint, weights=weights)
  representations = serving.representations(model)
  outputs = {}
  for size in BATCH_SIZES:
    images = objective.normalize(experiment, pixels[:size])
    values = representations(images, training=False)
    outputs[size] = {name: value.numpy() for name, value in values.items()}
  return Reference(encoded, pixels, outputs)


def evaluation_pixels(
  experiment: experiment_lib.Experiment, encoded: Sequence[bytes]
) -> np.ndarray:
  """Writes images as records and reads them as an evaluation does."""
  with tempfile.TemporaryDirectory() as folder:
    data = dataclasses.replace(
      experiment.eval_data,
      source='tfrecord',
      data_dir=folder,
      tfds_name=None,
      file_pattern=None,
      split='validation',
      schema='imagenet',
      label_offset=None,
      confidence_threshold=None,
      max_labels=1,
      num_examples=len(encoded),
      batch_size=len(encoded),
    )
    file = os.path.join(folder, 'validation-00000-of-00001')
    with tf.io.TFRecordWriter(file) as writer:
      for image in encoded:
        writer.write(
          schema.serialize_imagenet(image, label=1, height=1, width=1)
        )
    dataset = pipeline.make_dataset(data, seed=0, is_training=False)
    return next(iter(dataset))['image'].numpy()


def check_run(
  path: str, provenance: versions.Provenance, *, model_dir: str
) -> Check:
  """Compares classes and evaluation with those of the run, as far as known.

  Args:
    path: The export.
    provenance: Of it.
    model_dir: Folder of the run.
  """
  words, problems = 'is {} in the run and {} in the export', []
  ours = model_dir_lib.read_data(model_dir)
  theirs = versions.read_data(path)
  if ours and theirs:
    problems += facts_lib.other_differences(
      ours.train, theirs.train, words=words
    )
    difference = facts_lib.class_difference(
      ours.train, theirs.train, words=words
    )
    problems += [difference] if difference else []
  names = (ours and ours.train.class_names) or model_dir_lib.read_labels(
    model_dir
  )
  experiment = model_dir_lib.read_experiment(path)
  if provenance.own_labels and names:
    difference = facts_lib.names_difference(
      names,
      _read_labels(path, experiment),
      words=words,
    )
    problems += [difference] if difference else []
  with contextlib.suppress(
    FileNotFoundError
  ):  # A copy of the checkpoint alone.
    run = model_dir_lib.read_experiment(model_dir)
    problems += consistency.evaluation_changes(run, experiment, words=words)
  return Check('classes and evaluation of the run', problems)
