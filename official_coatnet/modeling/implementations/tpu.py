"""For TPUs: few passes over memory, and gradients of its own.

The layers have the variables and arguments of Keras's, and compute by
`tpu_elementwise` and `tpu_products` (docs/tpu_speed.md).
"""

import math

import tensorflow as tf

from official_coatnet.modeling import layers, relative_bias
from official_coatnet.modeling.implementations import (
  reference,
  tpu_elementwise,
  tpu_products,
)

_PACKAGE = 'official_coatnet'
# Positions from which on the gradient of a bias is better a product: that of a
# 28 x 28 image was seen to be, and a smaller one was not tried.
_LARGE_IMAGE = 28 * 28
# Inputs from which on `tpu_products.convolve` takes a convolution: with 192 it
# is faster, with 128 as fast, and with 64 slower on v5e.
_WIDE_CONVOLUTION = 128


class _Norm(tf.keras.layers.Layer):
  """A norm, with what one that is fused does in the same pass.

  By itself it is no norm: Keras's base class hands its input on.
  """

  def call_with_gelu(self, x, *, training):
    """Normalizes `x`, then applies GELU."""
    return tpu_elementwise.gelu(self(x, training=training))

  def call_with_conv(self, conv, x, *, training):
    """Normalizes `x`, then applies a 1x1 `FusedConv2D`."""
    return conv(self(x, training=training))


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class FusedLayerNorm(_Norm, tf.keras.layers.LayerNormalization):
  """LayerNorm over the last axis, by `tpu_elementwise.layer_norm`."""

  def call(self, x):
    return tpu_elementwise.layer_norm(
      x, self.gamma, self.beta, epsilon=self.epsilon
    )


class _WideBias(tf.keras.layers.Layer):
  """Keeps the bias in float32 under a bfloat16 policy.

  Its gradient is then in float32 too. Where a sum is only used in bfloat16 XLA
  computes it in bfloat16, which a TPU rounds after each addition; that takes
  twice as long.
  """

  def add_weight(self, name=None, **kwargs):
    if name == 'bias':
      kwargs['experimental_autocast'] = False
    return super().add_weight(name=name, **kwargs)


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class FusedDense(_WideBias, tf.keras.layers.Dense):
  """Dense, its bias by `tpu_elementwise.bias_add`."""

  def call(self, x):
    x = tpu_elementwise.bias_add(tf.tensordot(x, self.kernel, 1), self.bias)
    return self.activation(x)


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class FusedConv2D(_WideBias, tf.keras.layers.Conv2D):
  """Conv2D of odd size and SAME padding, by `tpu_products`."""

  def call(self, x, strided=False, gate=None):
    """Convolves `x`.

    Args:
      x: [batch, height, width, channels].
      strided: Whether the stride of a 1x1 convolution is in `x` already.
      gate: [batch, 1, 1, channels], by which a 1x1 convolution without stride
        multiplies its input; or None.
    """
    if gate is not None:
      x = tpu_products.gate_and_project(x, gate, self.kernel)
    elif strided:
      x = tf.nn.conv2d(x, self.kernel, strides=1, padding='SAME')
    elif (
      self.strides == (1, 1)
      and self.kernel_size != (1, 1)
      and x.shape[-1] >= _WIDE_CONVOLUTION
    ):
      x = tpu_products.convolve(x, self.kernel)
    else:
      x = self.convolution_op(x, self.kernel)
    if self.use_bias:
      positions = math.prod(x.shape[1:-1]) if None not in x.shape[1:] else 0
      x = tpu_elementwise.bias_add(
        x, self.bias, sum_by_product=positions >= _LARGE_IMAGE
      )
    return self.activation(x)


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class FusedBatchNorm(_Norm, tf.keras.layers.BatchNormalization):
  """BatchNorm over the last axis by `tpu_elementwise.batch_norm`, and any GELU.

  The moving statistics are those of Keras: the variance has Bessel's correction
  where Keras would have used its fused kernel.
  """

  def call(self, x, training=None, activate=False, stride=1):
    """Normalizes `x`.

    Args:
      x: [batch, ..., channels].
      training: Whether to use the statistics of the batch.
      activate: Whether GELU follows.
      stride: As in `tpu_elementwise.batch_norm`.
    """
    if not (training and self.trainable):
      x = x if stride == 1 else x[:, ::stride, ::stride]
      scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
      shift = self.beta - self.moving_mean * scale
      wide = layers.wide_dtype(x.dtype)
      result = tf.cast(x, wide) * scale + shift
      if activate:
        result = tpu_elementwise.gelu(result)
      return tf.cast(result, x.dtype)
    result, mean, variance = tpu_elementwise.batch_norm(
      x,
      self.gamma,
      self.beta,
      epsilon=self.epsilon,
      activate=activate,
      stride=stride,
      sum_replicas=_sum_replicas if self.synchronized else None,
    )
    if self.fused:
      count = tf.cast(tf.size(x) // x.shape[-1], variance.dtype)
      variance *= count / tf.maximum(count - 1.0, 1.0)
    for moving, batch in (
      (self.moving_mean, mean),
      (self.moving_variance, variance),
    ):
      change = moving - tf.cast(batch, moving.dtype)
      moving.assign_sub(change * (1.0 - self.momentum))
    return result

  def call_with_gelu(self, x, *, training):
    return self(x, training=training, activate=True)

  def call_with_conv(self, conv, x, *, training):
    stride = conv.strides[0]
    if stride == 1:
      return conv(self(x, training=training))
    # Only what the convolution looks at is normalized.
    return conv(self(x, training=training, stride=stride), strided=True)


def _sum_replicas(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
  context = tf.distribute.get_replica_context()
  return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


class Tpu(reference.Reference):
  """Fused layers; attention with a gradient as of flash attention."""

  name = 'tpu'
  gelu = staticmethod(tpu_elementwise.gelu)
  product_gelu = staticmethod(tpu_elementwise.gelu)
  conv_class = FusedConv2D
  dense_class = FusedDense
  batch_norm_class = FusedBatchNorm
  layer_norm_class = FusedLayerNorm
  no_norm_class = _Norm

  def norm_and_gelu(self, norm, x, *, training):
    return norm.call_with_gelu(x, training=training)

  def norm_and_conv(self, norm, conv, x, *, training):
    return norm.call_with_conv(conv, x, training=training)

  def squeeze(self, x, conv):
    # [channels, batch], [channels, filters] -> [batch, filters]
    hidden = tf.einsum(
      'cn,ch->nh', tpu_products.spatial_mean(x), conv.kernel[0, 0]
    )
    hidden = conv.activation(hidden + conv.bias)
    return hidden[:, tf.newaxis, tf.newaxis]

  def gate_and_conv(self, squeeze_excitation, conv, x):
    return conv(x, gate=squeeze_excitation(x, gate_only=True))

  def attend(self, attention, x, *, training):
    placed = attention.relative_attention
    if placed == 'post_softmax' or attention.reads_cache(training):
      return super().attend(attention, x, training=training)
    query = _project_to_heads(x, attention.query) * attention.head_size**-0.5
    key = _project_to_heads(x, attention.key)
    value = _project_to_heads(x, attention.value)
    bias = None
    if placed != 'none':
      height, width = attention.grid
      # A TPU looks up in bfloat16 in any case.
      table = tf.cast(attention.relative_bias, x.dtype)
      bias = relative_bias.lookup_by_key(table, height=height, width=width)
    mixed = tpu_products.attend(query, key, value, bias=bias)
    # -> [batch, length, width]
    output = attention.output_projection
    return tf.einsum('bndl,ndc->blc', mixed, output.kernel) + output.bias


def _project_to_heads(x, layer):
  """[batch, length, channels] to [batch, heads, head_size, length]."""
  projected = tpu_products.project_to_heads(x, layer.kernel)
  return projected + layer.bias[..., tf.newaxis]
