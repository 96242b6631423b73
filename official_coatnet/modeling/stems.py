"""Stage S0: the convolutions of CoAtNet, and the patches of ViT (Sec. 2.2)."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_coatnet.modeling import implementations, layers

_PACKAGE = 'official_coatnet'


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class Stem(tf.keras.layers.Layer):
  """Stage S0: two 3x3 convolutions, the first of stride 2.

  conv - norm - GELU - conv, and nothing after. [batch, H, W, 3] becomes
  [batch, ceil(H/2), ceil(W/2), width].
  """

  def __init__(
    self,
    width: int,
    *,
    blocks: int = 2,
    norm: Mapping[str, Any] | None = None,
    kernel_stddev: float = 0.02,
    implementation: implementations.Implementation = 'reference',
    **kwargs,
  ):
    super().__init__(**kwargs)
    if blocks < 1:
      raise ValueError(f'`blocks` of the stem is {blocks}; it must be >= 1.')
    self.width = width
    self.blocks = blocks
    self.norm = dict(norm or layers.DEFAULT_NORM)
    self.kernel_stddev = kernel_stddev
    self.implementation = implementations.get(implementation)

  def build(self, input_shape):
    # Flat lists: Keras's own file format does not look into a list of tuples.
    self._convs, self._norms = [], []
    for i in range(self.blocks):
      last = i == self.blocks - 1
      self._convs.append(
        self._make_conv(
          i,
          strides=1 if i else 2,
          use_bias=last or self.norm['kind'] != 'batch_norm',
          kernel_initializer=layers.kernel_initializer(self.kernel_stddev),
          name=f'conv{i}',
          dtype=self.dtype_policy,
        )
      )
      if not last:
        self._norms.append(
          self.implementation.norm(
            self.norm, name=f'norm{i}', dtype=self.dtype_policy
          )
        )
    super().build(input_shape)

  def _make_conv(self, i: int, **kwargs) -> tf.keras.layers.Conv2D:
    """Makes convolution `i`, 3x3."""
    del i  # All are as wide.
    return self.implementation.conv(self.width, 3, **kwargs)

  def call(self, x, training=None):
    for conv, norm in zip(self._convs, self._norms):
      x = self.implementation.norm_and_gelu(norm, conv(x), training=training)
    return self._convs[-1](x)

  def get_config(self):
    return {
      **super().get_config(),
      'width': self.width,
      'blocks': self.blocks,
      'norm': self.norm,
      'kernel_stddev': self.kernel_stddev,
      'implementation': self.implementation.name,
    }


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class PatchStem(tf.keras.layers.Layer):
  """Stage S0 of ViT_REL (Sec. 2.2): ViT's embedding of 16x16 patches.

  One convolution whose stride is its size, and nothing after. [batch, H, W, 3]
  becomes [batch, ceil(H/16), ceil(W/16), width]. An image whose sides are no
  multiples of 16 is padded with zeros all around, as TensorFlow's SAME does, so
  that its outer patches are partly empty; no pixel is lost.
  """

  def __init__(
    self,
    width: int,
    *,
    patch_size: int = 16,
    kernel_stddev: float = 0.02,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.width = width
    self.patch_size = patch_size
    self.kernel_stddev = kernel_stddev

  def build(self, input_shape):
    self.conv = tf.keras.layers.Conv2D(
      self.width,
      self.patch_size,
      strides=self.patch_size,
      padding='same',
      kernel_initializer=layers.kernel_initializer(self.kernel_stddev),
      name='conv',
      dtype=self.dtype_policy,
    )
    super().build(input_shape)

  def call(self, x):
    return self.conv(x)

  def get_config(self):
    return {
      **super().get_config(),
      'width': self.width,
      'patch_size': self.patch_size,
      'kernel_stddev': self.kernel_stddev,
    }
