"""Element-wise layers with gradients written for TPUs.

The mathematics is that of the Keras layers and TensorFlow functions that they
stand for. XLA fuses either form; what differs is how often a tensor is passed
over, and how many operations an element takes in the vector unit, which is
what a TPU runs out of first in a convolutional block.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from official_coatnet.modeling import layers
from official_coatnet.modeling.implementations import tpu_products

# tanh(x (_SLOPE + _CUBE x^2)) is the sigmoid-like part of the tanh GELU.
_SLOPE = math.sqrt(2 / math.pi)
_CUBE = 0.044715 * _SLOPE


def gelu_and_slope(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns tanh-GELU and its derivative, in the dtype of `x`."""
  square = x * x
  tanh = tf.tanh(x * (_SLOPE + _CUBE * square))
  half = 0.5 + 0.5 * tanh
  slope = half + (0.5 - 0.5 * tanh * tanh) * x * (_SLOPE + 3.0 * _CUBE * square)
  return x * half, slope


@tf.custom_gradient
def gelu(x):
  """The tanh approximation of GELU, computed in float32 at least."""
  wide = layers.wide_dtype(x.dtype)
  result = tf.cast(gelu_and_slope(tf.cast(x, wide))[0], x.dtype)

  def gradient(d_result):
    _, slope = gelu_and_slope(tf.cast(x, wide))
    return tf.cast(tf.cast(d_result, wide) * slope, x.dtype)

  return result, gradient


def layer_norm(
  x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *, epsilon: float
) -> tf.Tensor:
  """LayerNorm over the last axis with statistics of one pass.

  Mean and mean square are summed together, in float32 at least, and the
  variance is their difference.

  Args:
    x: [..., channels].
    gamma: [channels].
    beta: [channels].
    epsilon: Added to the variance.

  Returns:
    A tensor of the shape and dtype of `x`.
  """
  wide = layers.wide_dtype(x.dtype)
  summed_axes = list(range(x.shape.rank - 1))

  @tf.custom_gradient
  def normalize(x, gamma, beta):
    values = tf.cast(x, wide)
    mean = tf.reduce_mean(values, axis=-1, keepdims=True)
    square = tf.reduce_mean(values * values, axis=-1, keepdims=True)
    variance = tf.maximum(square - mean * mean, 0.0)
    scale = tf.math.rsqrt(variance + epsilon)
    result = tf.cast((values - mean) * scale * gamma + beta, x.dtype)

    def gradient(d_result):
      d_result = tf.cast(d_result, wide)
      normed = (tf.cast(x, wide) - mean) * scale
      d_normed = d_result * gamma
      along = tf.reduce_mean(d_normed * normed, axis=-1, keepdims=True)
      centre = tf.reduce_mean(d_normed, axis=-1, keepdims=True)
      d_x = tf.cast(scale * (d_normed - centre - normed * along), x.dtype)
      d_gamma = tf.reduce_sum(d_result * normed, axis=summed_axes)
      d_beta = tf.reduce_sum(d_result, axis=summed_axes)
      return d_x, d_gamma, d_beta

    return result, gradient

  return normalize(x, tf.cast(gamma, wide), tf.cast(beta, wide))


def bias_add(
  x: tf.Tensor, bias: tf.Tensor, *, sum_by_product: bool = False
) -> tf.Tensor:
  """Adds `bias`, [channels], to `x`, [..., channels].

  The gradient of the bias is summed in float32 at least. TensorFlow sums in the
  dtype of `x`; a TPU, which cannot add in bfloat16, then rounds after each term
  and takes up to ten times as long.

  Args:
    x: [..., channels].
    bias: [channels].
    sum_by_product: Whether that sum is a product with ones, for the matrix
      unit: faster where it would be a pass of its own over a large tensor.
  """
  wide = layers.wide_dtype(x.dtype)

  @tf.custom_gradient
  def add(x, bias):
    result = tf.cast(tf.cast(x, wide) + tf.cast(bias, wide), x.dtype)

    def gradient(d_result):
      if sum_by_product:
        # Eight columns: of a product with one XLA makes a sum.
        ones = tf.ones(tf.concat([tf.shape(x)[:-1], [8]], 0), x.dtype)
        axes = 'abdefg'[: x.shape.rank - 1]
        d_bias = tpu_products.product(f'{axes}c,{axes}o->co', d_result, ones)[
          :, 0
        ]
      else:
        axes = list(range(x.shape.rank - 1))
        d_bias = tf.reduce_sum(tf.cast(d_result, wide), axis=axes)
      return d_result, tf.cast(d_bias, bias.dtype)

    return result, gradient

  return add(x, bias)


def _every(x: tf.Tensor, stride: int) -> tf.Tensor:
  """Every stride-th row and column of [batch, height, width, channels]."""
  return x if stride == 1 else x[:, ::stride, ::stride]


def _spread(x: tf.Tensor, stride: int, *, shape: tf.Tensor) -> tf.Tensor:
  """The gradient of `_every`: zeros for what was left out."""
  if stride == 1:
    return x
  return tf.raw_ops.StridedSliceGrad(
    shape=shape,
    begin=[0] * 4,
    end=[0] * 4,
    strides=[1, stride, stride, 1],
    dy=x,
    begin_mask=15,
    end_mask=15,
  )


def batch_norm(
  x: tf.Tensor,
  gamma: tf.Tensor,
  beta: tf.Tensor,
  *,
  epsilon: float,
  activate: bool,
  stride: int = 1,
  sum_replicas: Callable[[list[tf.Tensor]], list[tf.Tensor]] | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """BatchNorm over all axes but the last while training, then GELU or nothing.

  Statistics are those of one pass, in float32 at least; normalization is one
  multiplication and one addition an element. The gradient computes the
  normalized values again from `x`, which is all that it keeps.

  Args:
    x: [batch, ..., channels].
    gamma: [channels].
    beta: [channels].
    epsilon: Added to the variance.
    activate: Whether GELU follows.
    stride: Of a [batch, height, width, channels] tensor only every stride-th
      row and column is normalized and returned; the statistics are of all. For
      a 1x1 convolution with a stride, which looks at no others.
    sum_replicas: Sums tensors over replicas, which all have batches of one
      size; None for statistics of this replica.

  Returns:
    (the result, in the dtype of `x`, mean, variance). Mean and variance,
    [channels] in float32 at least, pass no gradient on.
  """
  wide = layers.wide_dtype(x.dtype)
  axes = list(range(x.shape.rank - 1))

  def mean_over_replicas(*sums):
    count = tf.cast(tf.size(x) // x.shape[-1], wide)
    sums = list(sums)
    if sum_replicas is not None:
      *sums, count = sum_replicas([*sums, count])
    return [each / count for each in sums]

  @tf.custom_gradient
  def normalize(x, gamma, beta):
    values = tf.cast(x, wide)
    mean, square = mean_over_replicas(
      tf.reduce_sum(values, axes), tf.reduce_sum(values * values, axes)
    )
    variance = tf.maximum(square - mean * mean, 0.0)
    inverse = tf.math.rsqrt(variance + epsilon)
    scale = inverse * gamma
    shift = beta - mean * scale
    result = tf.cast(_every(x, stride), wide) * scale + shift
    if activate:
      result, _ = gelu_and_slope(result)

    def gradient(d_result, *_):
      values = tf.cast(_every(x, stride), wide)
      d_normed = tf.cast(d_result, wide)
      if activate:
        _, slope = gelu_and_slope(values * scale + shift)
        # Rounded, so that XLA keeps this, and neither what it is made of nor
        # a copy in float32, for the two passes that take it.
        d_normed = tf.cast(tf.cast(d_normed * slope, x.dtype), wide)
      d_beta = tf.reduce_sum(d_normed, axes)
      d_scale = tf.reduce_sum(d_normed * (values - mean), axes)
      centre, along = mean_over_replicas(d_beta, d_scale)
      slope_of_x = -scale * inverse * inverse * along
      offset = -scale * centre - slope_of_x * mean
      d_normed = _spread(d_normed, stride, shape=tf.shape(x))
      d_x = scale * d_normed + slope_of_x * tf.cast(x, wide) + offset
      return tf.cast(d_x, x.dtype), d_scale * inverse, d_beta

    return (tf.cast(result, x.dtype), mean, variance), gradient

  return normalize(x, tf.cast(gamma, wide), tf.cast(beta, wide))
