"""What tools/benchmark/serving.py compares."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from official_coatnet.data import config as data_config
from official_coatnet.export import folding
from official_coatnet.modeling import config as model_config, network
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  optimizer as optimizer_lib,
  saving,
)

_CLASSES = 1000


def make_run(
  model_dir: str, *, model: str, image_size: int
) -> experiment_lib.Experiment:
  """Writes what an export reads of a run, with random weights."""

  def data(split):
    return data_config.DataConfig(
      source='synthetic',
      split=split,
      num_classes=_CLASSES,
      image_size=image_size,
      batch_size=8,
      num_examples=8,
      shuffle_buffer=8,
    )

  experiment = experiment_lib.Experiment(
    model=model_config.ModelConfig(
      model, image_size=image_size, num_classes=_CLASSES
    ),
    train_data=data('train'),
    eval_data=data('validation'),
    loss=experiment_lib.LossConfig(),
    optimizer=optimizer_lib.OptimizerConfig(peak_learning_rate=1e-3),
    run=experiment_lib.RunConfig(train_steps=1, steps_per_loop=1),
  )
  model_dir_lib.write_experiment(model_dir, experiment)
  checkpoint = checkpoints.make_checkpoint(
    network.classifier(experiment.model), averages={}
  )
  saving.CheckpointManager(checkpoint, model_dir, max_to_keep=1).save(
    checkpoint_number=1
  )
  return experiment


def photograph(size: int) -> np.ndarray:
  """Returns a uint8 image [size, size, 3] as large as one when encoded."""
  rng = np.random.default_rng(0)
  coarse = rng.uniform(0, 255, (16, 16, 3))
  image = tf.image.resize(coarse, [size, size], method='bicubic').numpy()
  image += rng.normal(0, 5, image.shape)
  return np.clip(image, 0, 255).astype(np.uint8)


def load_request(path: str, *, batch_size: int) -> Callable[[], int]:
  """Loads an export anew; returns a request of encoded images to it."""
  loaded = tf.saved_model.load(path)
  signature = loaded.signatures['serving_default']
  size = 256
  encoded = tf.io.encode_jpeg(photograph(size), quality=90)
  images = tf.repeat(encoded, batch_size)

  def request():
    outputs = signature(image_bytes=images)
    outputs['probabilities'].numpy()
    return loaded is not None and batch_size

  return request


def make_networks(
  config: model_config.ModelConfig, *, batch_size: int, xla: bool
) -> dict[str, Callable[[], int]]:
  """Returns the networks by what is done to them, one measure after another.

  Each takes normalised images, float32 [batch_size, height, width, 3].
  """
  images = tf.random.stateless_normal(
    [batch_size, *config.height_width, 3], seed=(0, 1)
  )
  trained = network.classifier(config)
  cached = network.classifier(config)
  cached.set_weights(trained.get_weights())
  network.cache_relative_bias(cached)
  served = folding.fold_classifier(trained, config)
  network.cache_relative_bias(served)
  # As the one served, but by the operations of the network that is trained.
  folded = network.classifier(_plain(config))
  folded.set_weights(folding.fold_classifier(trained, config).get_weights())
  network.cache_relative_bias(folded)
  variants = {
    'as trained': _function(trained),
    '+ cached bias (--nofold)': _function(cached),
    '+ folding': _function(folded),
    '+ operations for oneDNN (export)': _function(served),
    '+ frozen variables': _freeze(_function(served)),
  }
  if xla:
    variants['XLA, as trained'] = _function(trained, xla=True)
    variants['XLA, cached bias'] = _function(cached, xla=True)
    variants['XLA, + folding'] = _function(folded, xla=True)
    variants['XLA, export'] = _function(served, xla=True)
  return {name: _call(function, images) for name, function in variants.items()}


def _plain(config):
  return dataclasses.replace(
    folding.inference_config(config), implementation='reference'
  )


def _function(model, *, xla: bool = False):
  signature = [tf.TensorSpec([None, *model.input_shape[1:]])]

  @tf.function(input_signature=signature, jit_compile=xla)
  def serve(images):
    return model(images, training=False)

  return serve


def _freeze(function):
  frozen = convert_to_constants.convert_variables_to_constants_v2(
    function.get_concrete_function()
  )
  return lambda images: frozen(images)[0]


def _call(function, images: tf.Tensor) -> Callable[[], int]:
  def call():
    function(images).numpy()
    return images.shape[0]

  return call
