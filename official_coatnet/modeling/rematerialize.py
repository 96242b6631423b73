"""Rematerialisation: a block keeps its input and computes the rest twice.

Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016). Between the
forward and the backward pass only the input of the block is held in memory; the
backward pass computes the block anew. Values and gradients are the plain ones:

- Random draws are the same both times: they are functions of keys, which are
  made here where the network has none.
- The moving averages of BatchNorm move in the forward pass alone.

`tf.recompute_grad` does neither, and its variables have to be those of one
device. Here the variables enter as tensors, so that the gradient goes to them
by the reads of the caller, under whatever strategy.
"""

import copy
import functools
from typing import Any

import tensorflow as tf


def rematerialize(block: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
  """Makes a block compute its forward pass anew in the backward pass.

  Only where it is called with `training=True`. Outside of a `tf.function` the
  results are the same, but the tape keeps what it would have kept.

  Args:
    block: A layer whose `call` takes one tensor, and `training` and, as it may,
      `draw_keys`; deterministic but for draws from the latter. It may be built
      or not; name, weights and class stay.

  Returns:
    The block itself.
  """
  call = block.call

  @tf.autograph.experimental.do_not_convert
  @functools.wraps(call)
  def call_or_recompute(x, draw_keys=None, training=None):
    kwargs = {} if draw_keys is None else {'draw_keys': draw_keys}
    if training is not True:
      return call(x, training=training, **kwargs)
    if draw_keys is None and getattr(block, 'drop_rate', 0.0):
      draw_keys = tf.random.uniform(
        [tf.shape(x)[0]], tf.int32.min, tf.int32.max, dtype=tf.int32
      )
    return _recomputed(block, x, draw_keys)

  block.call = call_or_recompute
  return block


def _recomputed(block, x, draw_keys):
  # Not `block.trainable_variables`: those of a frozen block are replaced, too,
  # and what is computed for them is not used.
  variables = [v for v in block.weights if v.trainable]
  averages = [v for v in block.weights if not v.trainable]
  keys = [] if draw_keys is None else [draw_keys]

  def compute(x, keys, values, moving=()):
    tensors = _Replacements(zip(variables, values), moving)
    kwargs = {'draw_keys': keys[0]} if keys else {}
    stand_in = tensors.copy_of(block)
    return type(block).call(stand_in, x, training=True, **kwargs)

  @tf.custom_gradient
  def run(x, *others):
    keys_, values = others[: len(keys)], others[len(keys) :]

    def gradient(dy):
      # As the forward pass has them, but read anew: what a compiler makes of
      # the kernels, such as copies in bfloat16, need not be kept either.
      again = [
        tf.cast(_after(dy, tf.convert_to_tensor(v)), value.dtype)
        for v, value in zip(variables, values)
      ]
      x_again = _after(dy, x)
      moving = [(v, _Unmoved(v)) for v in averages]
      with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x_again, *again])
        y = compute(x_again, keys_, again, moving)
      dx, *d_values = tape.gradient(
        y,
        [x_again, *again],
        output_gradients=dy,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
      )
      return [dx, *[None for _ in keys_], *d_values]

    return compute(x, keys_, values), gradient

  # Within a layer of mixed precision these reads are in its compute dtype.
  return run(x, *keys, *[tf.convert_to_tensor(v) for v in variables])


def _after(dy: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
  """Returns `x`, in a way that a compiler cannot compute before `dy`.

  Otherwise it finds that the block is computed twice, and computes it once.
  XLA heeds no control dependencies, so that this is one of data: zero, but for
  all that it can know (unless `dy` is not a number; then all is lost anyway).
  """
  # [...] -> []
  element = tf.reshape(dy, [-1])[0]
  zero = tf.where(tf.math.is_nan(element), element, tf.zeros_like(element))
  return x + tf.cast(zero, x.dtype)


class _Unmoved:
  """Stands in for a moving average: has its value, and refuses to change."""

  def __init__(self, variable: tf.Variable):
    self._value = tf.convert_to_tensor(variable)
    self.dtype = self._value.dtype
    self.shape = self._value.shape
    self.device = ''

  def assign(self, value, **kwargs):
    """Changes nothing."""
    del value, kwargs
    return self._value

  assign_add = assign_sub = assign

  def read_value(self) -> tf.Tensor:
    """Returns the value that the average has."""
    return self._value

  def __sub__(self, other):
    return self._value - other

  def __mul__(self, other):
    return self._value * other

  def __add__(self, other):
    return self._value + other


def _to_tensor(value, dtype=None, name=None, as_ref=False):
  del name, as_ref
  tensor = value.read_value()
  return tensor if dtype is None else tf.cast(tensor, dtype)


tf.register_tensor_conversion_function(_Unmoved, _to_tensor)


class _Replacements:
  """Copies layers with other values in the place of variables.

  A layer itself must not be touched: the threads of a MirroredStrategy take
  turns in the middle of it.
  """

  def __init__(self, *pairs: Any):
    self._by_id = {id(old): new for part in pairs for old, new in part}
    self._copies: dict[int, tf.keras.layers.Layer] = {}

  def copy_of(self, layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """Returns a shallow copy of a layer and of all layers that it calls."""
    if id(layer) not in self._copies:
      twin = self._copies[id(layer)] = copy.copy(layer)
      for name, value in vars(layer).items():
        # Keras's own lists of variables and layers are for its bookkeeping.
        if not name.startswith('_self_'):
          twin.__dict__[name] = self._replace(value)
    return self._copies[id(layer)]

  def _replace(self, value):
    if id(value) in self._by_id:
      return self._by_id[id(value)]
    if isinstance(value, tf.keras.layers.Layer):
      return self.copy_of(value)
    if isinstance(value, list) and any(
      isinstance(v, tf.keras.layers.Layer) for v in value
    ):
      return [self._replace(v) for v in value]
    return value
