"""Squeeze-and-excitation, of the MBConv block."""

import tensorflow as tf

from official_coatnet.modeling import families, implementations, layers

_PACKAGE = 'official_coatnet'


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class SqueezeExcitation(tf.keras.layers.Layer):
  """Squeeze-and-excitation (Hu et al., 2018, the paper's [41]).

  Swish (SiLU) inside and sigmoid at the gate, whatever the network's
  activation, as in Google's own MBConv. With it the parameter counts fit the
  paper's. Other families have another one inside.
  """

  def __init__(
    self,
    hidden_size: int,
    *,
    activation: str = 'silu',
    implementation: implementations.Implementation = 'reference',
    kernel_stddev: float = 0.02,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.hidden_size = hidden_size
    self.activation = activation
    self.implementation = implementations.get(implementation)
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

    self.reduce = conv(
      self.hidden_size, families.ACTIVATIONS[self.activation], 'reduce'
    )
    self.expand = conv(input_shape[-1], 'sigmoid', 'expand')
    # Built here, since an implementation may use its variables alone; within
    # the name scope that calling it would open.
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
    gate = self.expand(self.implementation.squeeze(x, self.reduce))
    return gate if gate_only else x * gate

  def get_config(self):
    return {
      **super().get_config(),
      'hidden_size': self.hidden_size,
      'activation': self.activation,
      'implementation': self.implementation.name,
      'kernel_stddev': self.kernel_stddev,
    }
