"""The network of an export as a Keras model again.

The signatures of an export answer with classes and features, and nothing else.
Who wants to see within the network, or its gradients, needs its layers: they
are built from experiment.json and take the values of the export's variables.
"""

import dataclasses
import os

import tensorflow as tf

from official_coatnet.export import folding, versions
from official_coatnet.modeling import config as config_lib, network
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

# Where a SavedModel has its variables; they are in a checkpoint.
_VARIABLES = os.path.join('variables', 'variables')


def rebuild(path: str) -> tuple[tf.keras.Model, experiment_lib.Experiment]:
  """Builds the network of an export, with its weights.

  Args:
    path: One version of a SavedModel, of `versions.find_export`.

  Returns:
    A model as of `network.classifier`, in the reference's implementation and
    without BatchNorms where the export has none; and what it was trained by.

  Raises:
    ValueError: If a file that it takes is missing or damaged, or its weights
      are not those of experiment.json.
  """
  provenance = versions.read_provenance(path)
  try:
    experiment = model_dir_lib.read_experiment(path)
  except FileNotFoundError as e:
    raise ValueError(
      f'{path!r} has no {model_dir_lib.EXPERIMENT_FILE}, which says what its '
      'network is; copy the whole folder of the export.'
    ) from e
  config = experiment.model
  if provenance.folded:
    config = folding.inference_config(config)
  model = network.classifier(_for_looking(config))
  stored = checkpoints.StoredWeights.of_whole(
    os.path.join(path, _VARIABLES), weights='raw'
  )
  # The export holds looked-up relative biases, too, which follow from these.
  variables = checkpoints.named_weights(model)
  unlike = [
    name
    for name, variable in variables.items()
    if stored.shapes.get(name) != tuple(variable.shape)
  ]
  if unlike:
    raise ValueError(
      f'The variables of {path!r} are not those of the network in its '
      f'{model_dir_lib.EXPERIMENT_FILE}: {checkpoints.shorten(unlike)}\nExport '
      'the run again by tools/export.py.'
    )
  for name, variable in variables.items():
    variable.assign(stored.read(name))
  return model, experiment


def _for_looking(config: config_lib.ModelConfig) -> config_lib.ModelConfig:
  return dataclasses.replace(
    config,
    # As the variables of all exports are.
    dtype='float32',
    # Every layer has a gradient, which is not so of oneDNN's.
    implementation='reference',
    sync_batch_norm=False,
    rematerialize=(),
    stochastic_depth=0.0,
  )
