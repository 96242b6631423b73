"""The layers in Keras's own words: the network as the paper has it."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from official_coatnet.modeling import layers


def gelu(x: tf.Tensor) -> tf.Tensor:
  """The tanh approximation of GELU, as in Google's own CoAtNet blocks."""
  return tf.nn.gelu(x, approximate=True)


class Reference:
  """Makes the layers of a network, and applies those that go together.

  The other implementations inherit from it, and write anew what they do in
  fewer or cheaper passes over memory. All compute the same from the same
  variables; results differ by rounding. None has any state.

  Attributes:
    name: As `ModelConfig.implementation` and saved networks have it.
    for_training: Whether a training run may have it.
    for_export: Whether any server can run what is exported with it.
    gelu: The function between layers.
    product_gelu: That of a layer which computes products, and applies it.
    conv_class: What `conv` makes; and so on.
  """

  name = 'reference'
  for_training = True
  for_export = True
  gelu = staticmethod(gelu)
  product_gelu = staticmethod(gelu)
  conv_class = tf.keras.layers.Conv2D
  dense_class = tf.keras.layers.Dense
  batch_norm_class = tf.keras.layers.BatchNormalization
  layer_norm_class = tf.keras.layers.LayerNormalization
  # Keras's base class hands its input on, and adds nothing to the graph.
  no_norm_class = tf.keras.layers.Layer

  def conv(
    self, filters: int, kernel_size: int, *, activate: bool = False, **kwargs
  ) -> tf.keras.layers.Conv2D:
    """Makes a SAME convolution.

    Args:
      filters: Channels of the output.
      kernel_size: Side of the kernel; 1 if `activate`.
      activate: Whether GELU follows.
      **kwargs: Of Conv2D.
    """
    return self.conv_class(
      filters,
      kernel_size,
      padding='same',
      activation=self.product_gelu if activate else None,
      **kwargs,
    )

  def dense(
    self,
    units: int,
    *,
    activate: bool = False,
    activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
    **kwargs,
  ) -> tf.keras.layers.Dense:
    """Makes a Dense layer over [batch, height, width, channels].

    Args:
      units: Channels of the output.
      activate: Whether GELU follows.
      activation: What follows instead, in other families than the paper's.
      **kwargs: Of Dense.
    """
    return self.dense_class(
      units,
      activation=self.product_gelu if activate else activation,
      **kwargs,
    )

  def norm(
    self, settings: Mapping[str, Any], *, name: str, dtype: Any
  ) -> tf.keras.layers.Layer:
    """Makes the normalization of a MBConv block or of the stem.

    Args:
      settings: `kind`, one of `layers.NORMS`; for BatchNorm also `momentum`,
        `epsilon` and `synchronized` (statistics over all replicas instead of
        one).
      name: Name of the layer.
      dtype: Dtype or policy of the layer; statistics stay in float32.

    Returns:
      A Keras layer over the last axis.

    Raises:
      ValueError: If the kind is unknown.
    """
    kind = settings['kind']
    if kind == 'batch_norm':
      return self.batch_norm_class(
        momentum=settings['momentum'],
        epsilon=settings['epsilon'],
        synchronized=settings['synchronized'],
        name=name,
        dtype=dtype,
      )
    if kind == 'layer_norm':
      return self.layer_norm(name=name, dtype=dtype)
    if kind == 'none':
      return self.no_norm_class(name=name, dtype=dtype)
    raise ValueError(f'`norm` is {kind!r}; it must be one of {layers.NORMS}.')

  def layer_norm(self, *, name: str, dtype: Any) -> tf.keras.layers.Layer:
    """Makes a LayerNorm over the channels, epsilon 1e-5."""
    return self.layer_norm_class(
      epsilon=layers.LAYER_NORM_EPSILON, name=name, dtype=dtype
    )

  def norm_and_gelu(
    self, norm: tf.keras.layers.Layer, x: tf.Tensor, *, training: bool | None
  ) -> tf.Tensor:
    """Applies a layer of `norm`, then GELU."""
    return self.gelu(norm(x, training=training))

  def norm_and_conv(
    self,
    norm: tf.keras.layers.Layer,
    conv: tf.keras.layers.Conv2D,
    x: tf.Tensor,
    *,
    training: bool | None,
  ) -> tf.Tensor:
    """Applies a layer of `norm`, then a 1x1 convolution of `conv`."""
    return conv(norm(x, training=training))

  def squeeze(self, x: tf.Tensor, conv: tf.keras.layers.Conv2D) -> tf.Tensor:
    """Takes the mean of each image, then a 1x1 convolution of it.

    Args:
      x: [batch, height, width, channels].
      conv: A built `tf.keras.layers.Conv2D`.

    Returns:
      [batch, 1, 1, filters of the convolution].
    """
    # [batch, height, width, channels] -> [batch, 1, 1, channels]. The mean is
    # in float32 at least: thousands of bfloat16 terms lose their low bits.
    wide = tf.cast(x, layers.wide_dtype(x.dtype))
    mean = tf.reduce_mean(wide, axis=[1, 2], keepdims=True)
    return conv(tf.cast(mean, x.dtype))

  def gate_and_conv(
    self,
    squeeze_excitation: tf.keras.layers.Layer,
    conv: tf.keras.layers.Conv2D,
    x: tf.Tensor,
  ) -> tf.Tensor:
    """Applies a `SqueezeExcitation`, then a 1x1 convolution of `conv`."""
    return conv(squeeze_excitation(x))

  def attend(
    self,
    attention: tf.keras.layers.Layer,
    x: tf.Tensor,
    *,
    training: bool | None,
  ) -> tf.Tensor:
    """Applies a `RelativeAttention` to x, [batch, length, channels]."""
    return attention.attend(x, training=training)
