"""Exports the network of a model_dir as a SavedModel for TF Serving."""

import dataclasses
import os
import tempfile

import tensorflow as tf

from official_coatnet.export import folding, serving, versions
from official_coatnet.modeling import network
from official_coatnet.training import checkpoints, controller, preflight
from official_coatnet.training import experiment as experiment_lib

find_latest = versions.find_latest


def export(
  model_dir: str,
  export_dir: str,
  *,
  weights: str | None = None,
  labels: str | None = None,
  version: int | None = None,
  fold: bool = True,
) -> str:
  """Writes `export_dir/<version>/`, which TF Serving loads as it is.

  Its signature `serving_default` takes `image_bytes`, string [batch] of encoded
  images, and returns what `serving.classify` does.

  Args:
    model_dir: Folder of a run, with at least one checkpoint.
    export_dir: Folder of the versions; created.
    weights: 'ema' or 'raw'. None for what the run's configuration says, which
      is EMA where there is one unless it says otherwise.
    labels: Text file with one class name a line. None for the one that the run
      left in model_dir; without it the names are the class ids in decimal.
    version: Number of the export. None for the next free one.
    fold: Whether convolutions absorb the BatchNorms (`folding`).

  Returns:
    The path of the export.

  Raises:
    FileNotFoundError: If `model_dir` is not one of a run.
    ValueError: If there is no (fitting) checkpoint, EMA is asked for where
      there is none, labels and classes differ in number, the version is taken
      or `export_dir` cannot be written.
  """
  version = versions.choose_version(export_dir, version=version)
  experiment = preflight.read_experiment(model_dir)
  names = _read_names(experiment, model_dir, labels=labels)
  # Opened before the network is built, so that an error comes at once.
  stored = checkpoints.StoredWeights(
    model_dir, weights=weights or experiment.run.weights
  )
  with (
    versions.new_version(export_dir, version=version) as path,
    tempfile.TemporaryDirectory() as scratch,
  ):
    labels_file = os.path.join(scratch, os.path.basename(versions.LABELS_ASSET))
    versions.write_labels(names, labels_file)
    model = load_model(
      experiment, stored.prefix, weights=stored.group, fold=fold
    )
    try:
      module = serving.make_module(model, experiment, labels_file=labels_file)
      _save(module, path)
    finally:
      _free(model)
  return os.path.join(export_dir, str(version))


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


def _read_names(experiment, model_dir: str, *, labels: str | None) -> list[str]:
  """Returns the names of the classes, from the best source there is."""
  num_classes = experiment.model.num_classes
  if labels is None:
    labels = os.path.join(model_dir, controller.LABELS_FILE)
    if not tf.io.gfile.exists(labels):
      return [str(i) for i in range(num_classes)]
  return versions.read_labels(labels, num_classes=num_classes)


def _save(module: tf.Module, path: str):
  try:
    tf.saved_model.save(module, path, signatures=serving.signatures(module))
  except (OSError, tf.errors.OpError) as e:
    raise ValueError(
      f'The export cannot be written to {os.path.dirname(path)!r} ({e}). Is '
      'there enough space? Nothing of it is left behind.'
    ) from e


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
