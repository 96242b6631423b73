"""Squeeze-and-excitation and the projection behind it, for TPUs.

As Keras writes them, these pass eight times over the widest tensor of an MBConv
block while training: the mean, the gated product, its two gradients, the sums
for the gate's gradient, and those of the BatchNorm before it. Written as here,
all but the last are products that XLA computes its inputs within.
"""

import tensorflow as tf

from official_coatnet.modeling.implementations import tpu_ops

# Images whose means are one tile of the matrix unit.
_TILE = 128


@tf.custom_gradient
def spatial_mean(x):
  """The mean over height and width of [batch, height, width, channels].

  It is a product with ones where height, width and image agree: XLA computes
  the GELU before it within the product, and the matrix unit adds up, in float32
  at least. A batch that is larger than a tile of that unit, or of unknown size,
  is summed by the vector unit.

  The channels come first. Where a product is transposed, XLA swaps its
  operands, and does not compute the second one within the product.

  Args:
    x: [batch, height, width, channels].

  Returns:
    [channels, batch], dtype of `x`.
  """
  batch, height, width, _ = x.shape
  wide = tpu_ops.wide_dtype(x.dtype)
  positions = height * width
  if batch is None or batch > _TILE:
    total = tf.transpose(tf.reduce_sum(tf.cast(x, wide), axis=[1, 2]))
  else:
    # [batch, height, width, batch]
    same_image = tf.broadcast_to(
      tf.eye(batch, dtype=x.dtype)[:, tf.newaxis, tf.newaxis],
      [batch, height, width, batch],
    )
    total = tpu_ops.product('nhwc,nhwm->cm', x, same_image)

  def gradient(d_mean):
    # [batch, 1, 1, channels]
    d_mean = tf.transpose(d_mean)[:, tf.newaxis, tf.newaxis]
    d_x = tf.cast(tf.cast(d_mean, wide) / positions, x.dtype)
    return tf.broadcast_to(d_x, tf.shape(x))

  return tf.cast(total / positions, x.dtype), gradient


@tf.custom_gradient
def gate_and_project(x, gate, kernel):
  """Multiplies `x` by `gate`, and then by a matrix.

  The gradient multiplies that of the result by the matrix twice: once for the
  gradient of the gate, of which only sums are kept, and once for that of `x`.
  One product would have to be stored until the gate's gradient is known.

  Args:
    x: [batch, height, width, channels].
    gate: [batch, 1, 1, channels].
    kernel: [1, 1, channels, width of the result].

  Returns:
    [batch, height, width, width of the result], dtype of `x`.
  """
  wide = tpu_ops.wide_dtype(x.dtype)
  result = tf.nn.conv2d(x * gate, kernel, strides=1, padding='SAME')

  def gradient(d_result):
    # [channels, width of the result]
    matrix = kernel[0, 0]
    d_kernel = tpu_ops.product('nhwc,nhwo->co', x * gate, d_result)
    # By twice the matrix, and halved, which rounds nothing: XLA would make one
    # of two equal products.
    twice = tpu_ops.product('nhwo,co->nhwc', d_result, matrix + matrix)
    d_gate = 0.5 * tf.reduce_sum(
      twice * tf.cast(x, wide), axis=[1, 2], keepdims=True
    )
    d_gated = tpu_ops.product('nhwo,co->nhwc', d_result, matrix)
    d_x = tf.cast(d_gated * tf.cast(gate, wide), x.dtype)
    d_kernel = tf.cast(d_kernel, kernel.dtype)[tf.newaxis, tf.newaxis]
    return d_x, tf.cast(d_gate, gate.dtype), d_kernel

  return result, gradient
