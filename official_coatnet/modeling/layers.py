"""The small layers that both block types are made of."""

from typing import Any

import tensorflow as tf

_PACKAGE = 'official_coatnet'

# Kinds of normalization. 'none' is for inference, where convolutions have
# absorbed the BatchNorms.
NORMS = ('batch_norm', 'layer_norm', 'none')
# Settings of one: BatchNorm, local to each replica.
DEFAULT_NORM = {
  'kind': 'batch_norm',
  'momentum': 0.99,
  'epsilon': 1e-3,
  'synchronized': False,
}
LAYER_NORM_EPSILON = 1e-5
# 2x2, but for 'max3': 3x3 with a border, as PyTorch pools.
POOLS = ('max', 'avg', 'max3')


def kernel_initializer(stddev: float) -> tf.keras.initializers.Initializer:
  """Returns a fresh normal(0, stddev).

  Fresh, because an unseeded Keras initializer gives every variable that it
  makes the same values.
  """
  return tf.keras.initializers.RandomNormal(stddev=stddev)


def wide_dtype(dtype: Any) -> str:
  """Returns the dtype to accumulate `dtype` in: 'float32' at least."""
  return 'float64' if dtype == 'float64' else 'float32'


def make_pool(kind: str, *, name: str, dtype: Any) -> tf.keras.layers.Layer:
  """Builds the pooling of stride 2 of the paper's Eqs. 4 and 5, 2x2 there.

  The padding is SAME, so that an odd size is rounded up: [height, width]
  becomes [ceil(height / 2), ceil(width / 2)].

  Raises:
    ValueError: If the kind is not one of `POOLS`.
  """
  pools = {
    'max': tf.keras.layers.MaxPooling2D,
    'avg': tf.keras.layers.AveragePooling2D,
    'max3': _MaxPooling3x3,
  }
  if kind not in pools:
    raise ValueError(f'`shortcut_pool` is {kind!r}; it must be one of {POOLS}.')
  return pools[kind](2, strides=2, padding='same', name=name, dtype=dtype)


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class _MaxPooling3x3(tf.keras.layers.MaxPooling2D):
  """A 3x3 maximum of stride 2, with a border of one pixel all around.

  SAME would put that of an even size at its end alone.
  """

  def call(self, inputs):
    border = [[0, 0], [1, 1], [1, 1], [0, 0]]
    return tf.nn.max_pool2d(inputs, 3, strides=2, padding=border)


def uniform_from_keys(keys: tf.Tensor, *, salt: int) -> tf.Tensor:
  """Draws one uniform number an example, a pure function of its key.

  TensorFlow's stateless generators take one seed a tensor, which ties a draw to
  the place of the example in its batch, and so to the number of replicas. This
  is the finalizer of MurmurHash3 over (key, salt): the same example draws the
  same number wherever it is computed.

  Args:
    keys: int32 [batch], distinct for distinct examples.
    salt: Tells the draws of one example apart; a different one for each.

  Returns:
    float32 [batch] in [0, 1), of 24 random bits.
  """

  def mix(h):
    h = tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, _u32(16)))
    h *= _u32(0x85EBCA6B)
    h = tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, _u32(13)))
    h *= _u32(0xC2B2AE35)
    return tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, _u32(16)))

  # Mixed twice: salted keys that differ in few bits must not stay related.
  h = mix(tf.bitcast(keys, tf.uint32))
  h = mix(tf.bitwise.bitwise_xor(h, _u32(salt * 0x9E3779B9 + 1)))
  # 24 bits: every one of them is exact in float32.
  bits = tf.cast(tf.bitwise.right_shift(h, _u32(8)), tf.int32)
  return tf.cast(bits, tf.float32) * 2.0**-24


def _u32(value: int) -> tf.Tensor:
  return tf.constant(value & 0xFFFFFFFF, tf.uint32)


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class StochasticDepth(tf.keras.layers.Layer):
  """Drops a residual branch, example by example, while training.

  Huang et al., 2016 (the paper's [46]); the kept branches are scaled by the
  inverse of the keep probability. The draw is in float32: in bfloat16 the keep
  probability itself would be biased (0.90 becomes 0.8983).
  """

  def __init__(self, rate: float, *, salt: int = 0, **kwargs):
    """Creates the layer.

    Args:
      rate: Probability of dropping the branch, in [0, 1).
      salt: Tells this layer's draws from those of the other layers.
      **kwargs: Of `tf.keras.layers.Layer`.

    Raises:
      ValueError: If the rate is out of range.
    """
    super().__init__(**kwargs)
    if not 0.0 <= rate < 1.0:
      raise ValueError(
        f'`stochastic_depth` rate is {rate}; it must be in [0, 1).'
      )
    self.rate = rate
    self.salt = salt

  def call(self, x, draw_keys=None, training=None):
    """Drops `x`, [batch, ...], by example.

    Args:
      x: The residual branch, [batch, ...].
      draw_keys: int32 [batch], which make the draw a function of the example;
        without them it comes from TensorFlow's global generator.
      training: Whether to drop at all.

    Returns:
      A tensor of the shape and dtype of `x`.
    """
    if not training or self.rate == 0.0:
      return x
    if draw_keys is None:
      uniform = tf.random.uniform([tf.shape(x)[0]], dtype=tf.float32)
    else:
      uniform = uniform_from_keys(draw_keys, salt=self.salt)
    keep = 1.0 - self.rate
    scale = tf.where(uniform < keep, 1.0 / keep, 0.0)
    # [batch] -> [batch, 1, ...]
    scale = tf.reshape(scale, [-1] + [1] * (x.shape.rank - 1))
    return x * tf.cast(scale, x.dtype)

  def get_config(self):
    return {**super().get_config(), 'rate': self.rate, 'salt': self.salt}
