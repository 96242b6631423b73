"""Keras layers by `fused_ops`: the variables and arguments of Keras's own."""

import math

import tensorflow as tf

from official_coatnet.modeling.implementations import tpu_ops, tpu_squeeze

_PACKAGE = 'official_coatnet'
# Positions from which on the gradient of a bias is better a product: that of a
# 28 x 28 image was seen to be, and a smaller one was not tried.
_LARGE_IMAGE = 28 * 28
# Inputs from which on `fused_ops.convolve` takes a convolution: with 192 it is
# faster, with 128 as fast, and with 64 slower on v5e.
_WIDE_CONVOLUTION = 128


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class FusedLayerNorm(tf.keras.layers.LayerNormalization):
  """LayerNorm over the last axis, by `fused_ops.layer_norm`."""

  def call(self, x):
    return tpu_ops.layer_norm(x, self.gamma, self.beta, epsilon=self.epsilon)


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
  """Dense, its bias by `fused_ops.bias_add`."""

  def call(self, x):
    x = tpu_ops.bias_add(tf.tensordot(x, self.kernel, 1), self.bias)
    return self.activation(x)


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class FusedConv2D(_WideBias, tf.keras.layers.Conv2D):
  """Conv2D of odd size and SAME padding, by `fused_ops`."""

  def call(self, x, strided=False, gate=None):
    """Convolves `x`.

    Args:
      x: [batch, height, width, channels].
      strided: Whether the stride of a 1x1 convolution is in `x` already.
      gate: [batch, 1, 1, channels], by which a 1x1 convolution without stride
        multiplies its input; or None.
    """
    if gate is not None:
      x = tpu_squeeze.gate_and_project(x, gate, self.kernel)
    elif strided:
      x = tf.nn.conv2d(x, self.kernel, strides=1, padding='SAME')
    elif (
      self.strides == (1, 1)
      and self.kernel_size != (1, 1)
      and x.shape[-1] >= _WIDE_CONVOLUTION
    ):
      x = tpu_ops.convolve(x, self.kernel)
    else:
      x = self.convolution_op(x, self.kernel)
    if self.use_bias:
      positions = math.prod(x.shape[1:-1]) if None not in x.shape[1:] else 0
      x = tpu_ops.bias_add(
        x, self.bias, sum_by_product=positions >= _LARGE_IMAGE
      )
    return self.activation(x)


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class FusedBatchNorm(tf.keras.layers.BatchNormalization):
  """BatchNorm over the last axis by `fused_ops.batch_norm`, with any GELU.

  The moving statistics are those of Keras: the variance has Bessel's correction
  where Keras would have used its fused kernel.
  """

  def call(self, x, training=None, activate=False, stride=1):
    """Normalizes `x`.

    Args:
      x: [batch, ..., channels].
      training: Whether to use the statistics of the batch.
      activate: Whether GELU follows.
      stride: As in `fused_ops.batch_norm`.
    """
    if not (training and self.trainable):
      x = x if stride == 1 else x[:, ::stride, ::stride]
      scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
      shift = self.beta - self.moving_mean * scale
      wide = tpu_ops.wide_dtype(x.dtype)
      result = tf.cast(x, wide) * scale + shift
      if activate:
        result = tpu_ops.gelu(result)
      return tf.cast(result, x.dtype)
    result, mean, variance = tpu_ops.batch_norm(
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


def _sum_replicas(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
  context = tf.distribute.get_replica_context()
  return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
