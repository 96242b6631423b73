"""The small layers that both block types are made of."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_coatnet.modeling.implementations import (
  cpu_ops,
  onednn_layers,
  tpu_layers,
  tpu_ops,
)

_PACKAGE = 'official_coatnet'

# How the layers are written; see `check_implementation`.
IMPLEMENTATIONS = ('reference', 'cpu', 'onednn', 'tpu')
# 'none' is for inference, where convolutions have absorbed the BatchNorms.
NORMS = ('batch_norm', 'layer_norm', 'none')
POOLS = ('max', 'avg')
# Settings of `make_norm`: DESIGN's BatchNorm, local to each replica.
DEFAULT_NORM = {
  'kind': 'batch_norm',
  'momentum': 0.99,
  'epsilon': 1e-3,
  'synchronized': False,
}
LAYER_NORM_EPSILON = 1e-5


def check_implementation(implementation: str) -> str:
  """Returns `implementation`, one of `IMPLEMENTATIONS`.

  'reference' is written to be read, in Keras layers. The others compute the
  same from the same variables, in fewer and cheaper passes over memory: 'tpu'
  with gradients of its own (`fused_layers`); 'cpu', for training on a CPU, with
  a GELU that XLA compiles (`compiled_ops`); 'onednn', for inference there, by
  operations that TensorFlow's library for CPUs fuses (`onednn_layers`). Results
  differ by rounding.

  Raises:
    ValueError: If there is no such implementation.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f'`implementation` is {implementation!r}; it must be one of '
      f'{IMPLEMENTATIONS}.'
    )
  return implementation


def kernel_initializer(stddev: float) -> tf.keras.initializers.Initializer:
  """Returns a fresh normal(0, stddev).

  Fresh, because an unseeded Keras initializer gives every variable that it
  makes the same values.
  """
  return tf.keras.initializers.RandomNormal(stddev=stddev)


wide_dtype = tpu_ops.wide_dtype


def gelu(x: tf.Tensor, *, implementation: str = 'reference') -> tf.Tensor:
  """The tanh approximation of GELU, as in Google's own CoAtNet blocks."""
  if implementation == 'tpu':
    return tpu_ops.gelu(x)
  if implementation == 'cpu':
    return cpu_ops.gelu(x)
  if implementation == 'onednn':
    return onednn_layers.gelu(x)
  return tf.nn.gelu(x, approximate=True)


def _activation(implementation: str, activate: bool):
  """Returns the GELU of a layer that computes products, or None.

  With 'onednn' it is the plain one, which is fused with the product.
  """
  if not activate:
    return None
  own = {'tpu': tpu_ops.gelu, 'cpu': cpu_ops.gelu}
  return own.get(implementation, gelu)


def make_norm(
  norm: Mapping[str, Any],
  *,
  name: str,
  dtype: Any,
  implementation: str = 'reference',
) -> tf.keras.layers.Layer:
  """Builds the normalization of a MBConv block or of the stem.

  Args:
    norm: `kind`, one of `NORMS`; for BatchNorm also `momentum`, `epsilon` and
      `synchronized` (statistics over all replicas instead of one).
    name: Name of the layer.
    dtype: Dtype or policy of the layer; statistics stay in float32.
    implementation: One of `IMPLEMENTATIONS`.

  Returns:
    A Keras layer over the last axis.

  Raises:
    ValueError: If the kind is unknown.
  """
  if norm['kind'] == 'batch_norm':
    make = tf.keras.layers.BatchNormalization
    if implementation == 'tpu':
      make = tpu_layers.FusedBatchNorm
    return make(
      momentum=norm['momentum'],
      epsilon=norm['epsilon'],
      synchronized=norm['synchronized'],
      name=name,
      dtype=dtype,
    )
  if norm['kind'] == 'layer_norm':
    return layer_norm(name=name, dtype=dtype, implementation=implementation)
  if norm['kind'] == 'none':
    # Keras's base class hands its input on, and adds nothing to the graph.
    return tf.keras.layers.Layer(name=name, dtype=dtype)
  raise ValueError(f'`norm` is {norm["kind"]!r}; it must be one of {NORMS}.')


def normalize_and_gelu(
  norm: tf.keras.layers.Layer,
  x: tf.Tensor,
  *,
  training: bool | None,
  implementation: str,
) -> tf.Tensor:
  """Applies a layer of `make_norm`, then GELU; in one where it can."""
  if isinstance(norm, tpu_layers.FusedBatchNorm):
    return norm(x, training=training, activate=True)
  return gelu(norm(x, training=training), implementation=implementation)


def normalize_and_convolve(
  norm: tf.keras.layers.Layer,
  conv: tf.keras.layers.Conv2D,
  x: tf.Tensor,
  *,
  training: bool | None,
) -> tf.Tensor:
  """Applies a layer of `make_norm`, then a 1x1 convolution.

  Where the convolution has a stride, only what it looks at is normalized, if
  the norm can.
  """
  stride = conv.strides[0]
  if stride == 1 or not isinstance(norm, tpu_layers.FusedBatchNorm):
    return conv(norm(x, training=training))
  return conv(norm(x, training=training, stride=stride), strided=True)


def conv(
  filters: int,
  kernel_size: int,
  *,
  implementation: str,
  activate: bool = False,
  **kwargs,
) -> tf.keras.layers.Conv2D:
  """Builds a SAME convolution.

  Args:
    filters: Channels of the output.
    kernel_size: Side of the kernel; 1 if `activate`.
    implementation: One of `IMPLEMENTATIONS`.
    activate: Whether GELU follows.
    **kwargs: Of Conv2D.
  """
  make = tf.keras.layers.Conv2D
  if implementation == 'tpu':
    make = tpu_layers.FusedConv2D
  elif implementation == 'onednn' and activate:
    # oneDNN computes a GELU in the pass of a product, not of a convolution.
    make = onednn_layers.PointwiseConv2D
  return make(
    filters,
    kernel_size,
    padding='same',
    activation=_activation(implementation, activate),
    **kwargs,
  )


def dense(
  units: int, *, implementation: str, activate: bool = False, **kwargs
) -> tf.keras.layers.Dense:
  """Builds a Dense layer over [batch, height, width, channels].

  Args:
    units: Channels of the output.
    implementation: One of `IMPLEMENTATIONS`.
    activate: Whether GELU follows.
    **kwargs: Of Dense.
  """
  kinds = {
    'reference': tf.keras.layers.Dense,
    'cpu': tf.keras.layers.Dense,
    'onednn': onednn_layers.PointwiseDense,
    'tpu': tpu_layers.FusedDense,
  }
  return kinds[implementation](
    units, activation=_activation(implementation, activate), **kwargs
  )


def layer_norm(
  *, name: str, dtype: Any, implementation: str = 'reference'
) -> tf.keras.layers.Layer:
  """LayerNorm over the channels, epsilon 1e-5."""
  make = tf.keras.layers.LayerNormalization
  if implementation == 'tpu':
    make = tpu_layers.FusedLayerNorm
  return make(epsilon=LAYER_NORM_EPSILON, name=name, dtype=dtype)


def make_pool(kind: str, *, name: str, dtype: Any) -> tf.keras.layers.Layer:
  """Builds the 2x2 pooling of stride 2 of the paper's Eqs. 4 and 5.

  The padding is SAME, so that an odd size is rounded up: [height, width]
  becomes [ceil(height / 2), ceil(width / 2)].

  Raises:
    ValueError: If the kind is not one of `POOLS`.
  """
  pools = {
    'max': tf.keras.layers.MaxPooling2D,
    'avg': tf.keras.layers.AveragePooling2D,
  }
  if kind not in pools:
    raise ValueError(f'`shortcut_pool` is {kind!r}; it must be one of {POOLS}.')
  return pools[kind](2, strides=2, padding='same', name=name, dtype=dtype)


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
