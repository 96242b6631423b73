"""For inference on a CPU: layers by operations that oneDNN fuses.

oneDNN is TensorFlow's library on CPUs; an export serves these.

The variables, arguments and results are those of Keras's own layers; what
differs is how often a tensor is passed over (docs/performance.md).
"""

import math

import tensorflow as tf

from official_coatnet.modeling import layers
from official_coatnet.modeling.implementations import reference

_PACKAGE = 'official_coatnet'


def gelu(x: tf.Tensor) -> tf.Tensor:
  """The tanh approximation of GELU, by oneDNN's swish.

  With d = 2 sqrt(2/pi) (1 + 0.044715 x^2) it is x sigmoid(x d), which is
  swish(x d) / d. TensorFlow has no kernel for GELU but in a matrix product, and
  goes over memory nine times. For |x| below 1e12; beyond it float32 overflows.
  """
  scale = 2.0 * math.sqrt(2.0 / math.pi)
  d = scale + (scale * 0.044715) * tf.square(x)
  return tf.nn.silu(x * d) / d


def _matmul_positions(layer, x: tf.Tensor, *, kernel: tf.Tensor) -> tf.Tensor:
  """Applies the kernel, bias and activation of a Keras layer to each position.

  All in the shape [batch * height * width, channels]: a reshape between product
  and activation would keep them from being fused.

  Args:
    layer: Has `bias` and `activation`.
    x: [batch, height, width, channels]; height and width are static.
    kernel: [channels, outputs].

  Returns:
    [batch, height, width, outputs].
  """
  # [batch, height, width, channels] -> [batch * height * width, channels]
  flat = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel)
  if layer.use_bias:
    flat = tf.nn.bias_add(flat, layer.bias)
  # -> [batch, height, width, outputs]
  return tf.reshape(
    layer.activation(flat), [-1, *x.shape[1:3], kernel.shape[1]]
  )


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class PointwiseConv2D(tf.keras.layers.Conv2D):
  """A 1x1 `Conv2D` of the same variables, computed as a matrix product."""

  def call(self, x):
    if max(self.strides) > 1:
      # x[:, ::rows, ::columns], what a 1x1 convolution with a stride reads, by
      # a kernel that is several times as fast.
      x = tf.nn.max_pool2d(x, 1, self.strides, 'VALID')
    return _matmul_positions(self, x, kernel=self.kernel[0, 0])


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class PointwiseDense(tf.keras.layers.Dense):
  """A `Dense` of the same variables over [batch, height, width, channels]."""

  def call(self, x):
    return _matmul_positions(self, x, kernel=self.kernel)


class OneDnn(reference.Reference):
  """A layer that a GELU follows is a matrix product, of which it is part.

  `product_gelu` stays the reference's: that one oneDNN knows.
  """

  name = 'onednn'
  for_training = False
  gelu = staticmethod(gelu)
  dense_class = PointwiseDense

  def conv(self, filters, kernel_size, *, activate=False, **kwargs):
    if not activate:
      return super().conv(filters, kernel_size, **kwargs)
    # oneDNN computes a GELU in the pass of a product, not of a convolution.
    return PointwiseConv2D(
      filters,
      kernel_size,
      padding='same',
      activation=self.product_gelu,
      **kwargs,
    )

  def squeeze(self, x, conv):
    # In float32 at least, as the reference has it.
    wide = tf.cast(x, layers.wide_dtype(x.dtype))
    mean = tf.nn.avg_pool2d(wide, x.shape[1:3], 1, 'VALID')
    return conv(tf.cast(mean, x.dtype))
