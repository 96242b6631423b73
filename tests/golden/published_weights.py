"""Weights that are functions of their names, and samples of what comes of them.

NumPy alone, so that the environments of the other packages have it as well.
"""

import zlib
from collections.abc import Mapping

import numpy as np

# Of each array, so many values at fixed places are kept.
_NUM_SAMPLES = 24


def _random(name: str) -> np.random.RandomState:
  # Of NumPy's generators this one is promised never to change.
  return np.random.RandomState(zlib.crc32(name.encode()))


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Draws a weight by its name in the other package: float32.

  Kernels keep the scale of what they are applied to, variances are positive,
  factors are about 1 (of LayerScale, 0.3), and no bias is zero.
  """
  values = _random(name).random_sample(shape)
  centred = 2.0 * values - 1.0
  last = name.rsplit('.', 1)[-1].rsplit('/', 1)[-1]
  if last in ('running_var', 'moving_variance'):
    values = 0.5 + values
  elif '.ls' in name:
    values = 0.2 + 0.2 * values
  elif last in ('gamma', 'weight') and len(shape) == 1:
    values = 0.5 + values
  elif 'bias_table' in name or 'positional_embedding' in name:
    values = centred
  elif len(shape) > 1:
    values = centred * np.sqrt(3.0 / _fan_in(last, shape))
  else:
    values = 0.2 * centred
  return values.astype(np.float32)


def _fan_in(last: str, shape: tuple[int, ...]) -> int:
  if last == 'weight':  # PyTorch: [out, in, ...]
    return int(np.prod(shape[1:]))
  if last == 'depthwise_kernel':  # Keras: [height, width, channels, 1]
    return int(np.prod(shape[:2]))
  return int(np.prod(shape[:-1]))  # Keras: [..., in, out]


def image(height: int, width: int) -> np.ndarray:
  """Returns one normalised image, float32 [1, height, width, 3]."""
  values = _random('image').random_sample((1, height, width, 3))
  return (4.0 * values - 2.0).astype(np.float32)


def sample(values: np.ndarray) -> dict[str, float | list[float]]:
  """Returns some values of an array of any shape, and the largest of all."""
  flat = np.asarray(values).ravel()
  places = _random('places').randint(0, flat.size, _NUM_SAMPLES)
  return {
    'largest': float(np.abs(flat).max()),
    'values': [float(flat[place]) for place in places],
  }


def difference(values: np.ndarray, expected: Mapping) -> float:
  """Returns how far an array is from a `sample`, over its largest value."""
  found = np.array(sample(values)['values'])
  wrong = np.abs(found - np.array(expected['values'])).max()
  return float(wrong / expected['largest'])
