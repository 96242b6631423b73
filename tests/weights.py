"""Weights under which every variable of a model counts."""

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
