"""Weights and images under which every variable of a model counts."""

import math

import numpy as np
import tensorflow as tf


def by_name(layer: tf.keras.layers.Layer) -> dict[str, tf.Variable]:
  """Returns the variables of a layer or model by name, without the ':0'."""
  named = {v.name.removesuffix(':0'): v for v in layer.variables}
  if len(named) != len(layer.variables):
    raise ValueError('Two variables have the same name.')
  return named


def randomize(
  layer: tf.keras.layers.Layer, *, seed: int = 0
) -> dict[str, np.ndarray]:
  """Sets every variable to a random value and returns the values by name.

  At the start most biases are 0, most norms do nothing and the relative bias is
  a hundredth of the logits: an error there would pass unseen. The values are
  exact in float32, whatever the dtype of the variable.

  Args:
    layer: A built layer or model.
    seed: Of NumPy's generator.

  Returns:
    Arrays in the dtype of the variables.
  """
  rng = np.random.default_rng(seed)
  values = {}
  for name, variable in sorted(by_name(layer).items()):
    variable.assign(_value(name, tuple(variable.shape), rng=rng))
    values[name] = variable.numpy()
  return values


def _value(name, shape, *, rng):
  owner, kind = ('/' + name).split('/')[-2:]
  value = rng.standard_normal(shape)
  if kind == 'moving_variance':
    value = rng.uniform(0.5, 2.0, shape)
  elif kind == 'gamma':
    value = 1 + 0.3 * value
  elif kind == 'kernel':
    # The outputs are the last axis, or the last two: heads and their channels.
    outputs = 2 if owner in ('query', 'key', 'value') else 1
    value /= math.sqrt(math.prod(shape[:-outputs]))
  elif kind == 'depthwise_kernel':
    value /= 3
  elif kind != 'relative_bias':
    value *= 0.3
  return value.astype(np.float32)


def images(shape: tuple[int, ...], *, seed: int = 1) -> np.ndarray:
  """Returns images of different contrast and colour, whose logits differ.

  Args:
    shape: [batch, height, width, channels].
    seed: Of NumPy's generator.
  """
  rng = np.random.default_rng(seed)
  values = rng.normal(size=shape)
  contrast = np.linspace(0.3, 2.0, shape[0])[:, None, None, None]
  colour = rng.normal(size=(shape[0], 1, 1, shape[3]))
  return (contrast * values + colour).astype(np.float32)
