"""Squeeze-and-excitation, of the MBConv block."""

import tensorflow as tf

from official_coatnet.modeling import layers
from official_coatnet.modeling.implementations import tpu_layers, tpu_squeeze

_PACKAGE = 'official_coatnet'


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class SqueezeExcitation(tf.keras.layers.Layer):
  """Squeeze-and-excitation (Hu et al., 2018, the paper's [41]).

  Swish inside and sigmoid at the gate, whatever the network's activation, as in
  Google's own MBConv. With it the parameter counts fit the paper's.
  """

  def __init__(
    self,
    hidden_size: int,
    *,
    implementation: str = 'reference',
    kernel_stddev: float = 0.02,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.hidden_size = hidden_size
    self.implementation = layers.check_implementation(implementation)
    self.kernel_stddev = kernel_stddev

  def build(self, input_shape):
    def conv(filters, activation, name):
      return tf.keras.layers.Conv2D(
        filters,
        1,
        activation=activation,
        kernel_initializer=layers.kernel_initializer(self.kernel_stddev),
        name=name,
        dtype=self.dtype_policy,
      )

    self.reduce = conv(self.hidden_size, 'swish', 'reduce')
    self.expand = conv(input_shape[-1], 'sigmoid', 'expand')
    # Built here, since the form for TPUs uses its variables and not the layer;
    # within the name scope that calling it would open.
    with tf.name_scope('reduce'):
      self.reduce.build(input_shape)
    super().build(input_shape)

  def call(self, x, gate_only=False):
    """Gates `x`.

    Args:
      x: [batch, height, width, channels].
      gate_only: Whether to return the gate, [batch, 1, 1, channels], without
        multiplying by it.
    """
    gate = self.expand(self._squeeze(x))
    return gate if gate_only else x * gate

  def _squeeze(self, x):
    """-> [batch, 1, 1, hidden_size]."""
    if self.implementation == 'tpu':
      # [channels, batch], [channels, hidden_size] -> [batch, hidden_size]
      hidden = tf.einsum(
        'cn,ch->nh', tpu_squeeze.spatial_mean(x), self.reduce.kernel[0, 0]
      )
      hidden = self.reduce.activation(hidden + self.reduce.bias)
      return hidden[:, tf.newaxis, tf.newaxis]
    # [batch, height, width, channels] -> [batch, 1, 1, channels]. The mean is
    # in float32 at least: thousands of bfloat16 terms lose their low bits.
    wide = tf.cast(x, layers.wide_dtype(x.dtype))
    if self.implementation == 'onednn':
      squeezed = tf.nn.avg_pool2d(wide, x.shape[1:3], 1, 'VALID')
    else:
      squeezed = tf.reduce_mean(wide, axis=[1, 2], keepdims=True)
    return self.reduce(tf.cast(squeezed, x.dtype))

  def get_config(self):
    return {
      **super().get_config(),
      'hidden_size': self.hidden_size,
      'implementation': self.implementation,
      'kernel_stddev': self.kernel_stddev,
    }


def gate_and_project(
  squeeze_excitation: tf.keras.layers.Layer,
  conv: tf.keras.layers.Conv2D,
  x: tf.Tensor,
) -> tf.Tensor:
  """Applies a `SqueezeExcitation`, then a 1x1 convolution; in one if it can."""
  if isinstance(conv, tpu_layers.FusedConv2D):
    return conv(x, gate=squeeze_excitation(x, gate_only=True))
  return conv(squeeze_excitation(x))
