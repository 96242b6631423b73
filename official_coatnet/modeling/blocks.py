"""The MBConv block and the transformer block (appendix A.1).

Both block types are pre-activation residual blocks, x + Module(Norm(x)); the
first block of a stage halves the height and width (Eqs. 4 and 5):

    MBConv       Proj(Pool(x)) + Conv(DepthConv(Conv(Norm(x), stride=2)))
    transformer  Proj(Pool(x)) + Attention(Pool(Norm(x)))

Where the paper is silent: the pooling is 2x2, the identity branch is projected
only where the width changes, the raw x (not the normed one) goes into it, and a
convolution that a BatchNorm follows has no bias.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_coatnet.modeling import (
  attention,
  implementations,
  layers,
  squeeze_excitation,
)

DOWNSAMPLES = ('expand_conv', 'depthwise')
_PACKAGE = 'official_coatnet'


class _Block(tf.keras.layers.Layer):
  """What the two block types share: options, shortcut, stochastic depth."""

  def __init__(
    self,
    width: int,
    *,
    stride: int = 1,
    expansion: int = 4,
    shortcut_pool: str = 'max',
    drop_rate: float = 0.0,
    salt: int = 0,
    kernel_stddev: float = 0.02,
    implementation: implementations.Implementation = 'reference',
    **kwargs,
  ):
    """Creates the block.

    Args:
      width: Channels of the output.
      stride: 1, or 2 in the first block of a stage.
      expansion: Width of the inverted bottleneck over `width`.
      shortcut_pool: Pooling of the identity branch (and of the transformer's
        residual branch), one of `layers.POOLS`.
      drop_rate: Stochastic depth rate of this block.
      salt: Tells the random draws of this block from those of the others.
      kernel_stddev: Standard deviation of the kernels at the start.
      implementation: Of `implementations.get`.
      **kwargs: Of `tf.keras.layers.Layer`.

    Raises:
      ValueError: If the stride is neither 1 nor 2.
    """
    super().__init__(**kwargs)
    if stride not in (1, 2):
      raise ValueError(f'`stride` is {stride}; it must be 1 or 2.')
    self.width = width
    self.stride = stride
    self.expansion = expansion
    self.shortcut_pool = shortcut_pool
    self.drop_rate = drop_rate
    self.salt = salt
    self.kernel_stddev = kernel_stddev
    self.implementation = implementations.get(implementation)

  def _product_options(self):
    """What all layers that have a kernel are made with."""
    return {
      'kernel_initializer': layers.kernel_initializer(self.kernel_stddev),
      'dtype': self.dtype_policy,
    }

  def _build_shortcut(self, input_width: int):
    self._pool = self._projection = None
    if self.stride == 2:
      self._pool = layers.make_pool(
        self.shortcut_pool, name='shortcut_pool', dtype=self.dtype_policy
      )
    if input_width != self.width:
      self._projection = self.implementation.conv(
        self.width, 1, name='shortcut_projection', **self._product_options()
      )

  def _shortcut(self, x):
    if self._pool is not None:
      x = self._pool(x)
    return x if self._projection is None else self._projection(x)

  def _drop(self, name: str, *, branch: int) -> layers.StochasticDepth:
    return layers.StochasticDepth(
      self.drop_rate,
      salt=2 * self.salt + branch,
      name=name,
      dtype=self.dtype_policy,
    )

  def get_config(self):
    return {
      **super().get_config(),
      'width': self.width,
      'stride': self.stride,
      'expansion': self.expansion,
      'shortcut_pool': self.shortcut_pool,
      'drop_rate': self.drop_rate,
      'salt': self.salt,
      'kernel_stddev': self.kernel_stddev,
      'implementation': self.implementation.name,
    }


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class MBConvBlock(_Block):
  """Inverted bottleneck with squeeze-and-excitation (Eq. 5).

  norm - 1x1 conv to expansion * width - norm - GELU - 3x3 depthwise conv -
  norm - GELU - squeeze-and-excitation - 1x1 conv to width. The bottleneck
  expands the output's channels, not the input's: with that the counts are the
  paper's. [batch, H, W, channels] becomes [batch, ceil(H/stride),
  ceil(W/stride), width].
  """

  downsamples: tuple[str, ...] = DOWNSAMPLES

  def __init__(
    self,
    width: int,
    *,
    downsample: str = 'expand_conv',
    se_ratio: float = 0.25,
    norm: Mapping[str, Any] | None = None,
    **kwargs,
  ):
    """Creates the block.

    Args:
      width: Channels of the output.
      downsample: Which convolution has the stride: 'expand_conv', the first
        1x1 (Eq. 5), or 'depthwise' (Table 9 and the dagger rows of Table 5).
      se_ratio: Hidden channels of the squeeze-and-excitation over `width`.
      norm: Settings such as `layers.DEFAULT_NORM`.
      **kwargs: Of `_Block`.

    Raises:
      ValueError: If `downsample` is unknown.
    """
    super().__init__(width, **kwargs)
    if downsample not in self.downsamples:
      raise ValueError(
        f'`downsample` is {downsample!r}; it must be one of {self.downsamples}.'
      )
    self.downsample = downsample
    self.se_ratio = se_ratio
    self.norm = dict(norm or layers.DEFAULT_NORM)

  def _norm(self, name):
    return self.implementation.norm(
      self.norm, name=name, dtype=self.dtype_policy
    )

  def _make_depthwise(self, strides: int, **kwargs):
    return tf.keras.layers.DepthwiseConv2D(
      3,
      strides=strides,
      depthwise_initializer=layers.kernel_initializer(self.kernel_stddev),
      name='depthwise_conv',
      dtype=self.dtype_policy,
      **{'padding': 'same', **kwargs},
    )

  def _make_squeeze_excitation(self, channels: int, **kwargs):
    return squeeze_excitation.SqueezeExcitation(
      max(1, int(self.se_ratio * channels)),
      implementation=self.implementation,
      kernel_stddev=self.kernel_stddev,
      name='squeeze_excitation',
      dtype=self.dtype_policy,
      **kwargs,
    )

  def build(self, input_shape):
    expand_stride = depthwise_stride = 1
    if self.downsample == 'expand_conv':
      expand_stride = self.stride
    else:
      depthwise_stride = self.stride
    use_bias = self.norm['kind'] != 'batch_norm'

    self._build_shortcut(input_shape[-1])
    self.pre_norm = self._norm('pre_norm')
    self.expand_conv = self.implementation.conv(
      self.expansion * self.width,
      1,
      strides=expand_stride,
      use_bias=use_bias,
      # Without a norm in between, the product itself applies the GELU.
      activate=self.norm['kind'] == 'none',
      name='expand_conv',
      **self._product_options(),
    )
    self.expand_norm = self._norm('expand_norm')
    self.depthwise_conv = self._make_depthwise(
      depthwise_stride, use_bias=use_bias
    )
    self.depthwise_norm = self._norm('depthwise_norm')
    self.squeeze_excitation = self._make_squeeze_excitation(self.width)
    self.project_conv = self.implementation.conv(
      self.width, 1, name='project_conv', **self._product_options()
    )
    self.drop = self._drop('drop', branch=0)
    super().build(input_shape)

  def call(self, x, draw_keys=None, training=None):
    shortcut = self._shortcut(x)
    form = self.implementation
    x = form.norm_and_conv(
      self.pre_norm, self.expand_conv, x, training=training
    )
    if self.norm['kind'] != 'none':
      x = form.norm_and_gelu(self.expand_norm, x, training=training)
    x = self.depthwise_conv(x)
    x = form.norm_and_gelu(self.depthwise_norm, x, training=training)
    x = form.gate_and_conv(self.squeeze_excitation, self.project_conv, x)
    return shortcut + self.drop(x, draw_keys=draw_keys, training=training)

  def get_config(self):
    return {
      **super().get_config(),
      'downsample': self.downsample,
      'se_ratio': self.se_ratio,
      'norm': self.norm,
    }


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class TransformerBlock(_Block):
  """Relative attention, then a feed-forward network (Eq. 4).

  Both residual branches start with a LayerNorm; pooling comes after it. The
  feed-forward network is Dense(expansion * width) - GELU - Dense(width).
  [batch, H, W, channels] becomes [batch, ceil(H/stride), ceil(W/stride),
  width].
  """

  def __init__(
    self,
    width: int,
    *,
    head_size: int = 32,
    relative_attention: str = 'pre_softmax',
    lookup: str = 'einsum',
    **kwargs,
  ):
    """Creates the block.

    Args:
      width: Channels of the output.
      head_size: As in `attention.RelativeAttention`.
      relative_attention: As in `attention.RelativeAttention`.
      lookup: As in `attention.RelativeAttention`.
      **kwargs: Of `_Block`.
    """
    super().__init__(width, **kwargs)
    self.head_size = head_size
    self.relative_attention = relative_attention
    self.lookup = lookup

  def build(self, input_shape):
    self._build_shortcut(input_shape[-1])
    self.attention_norm = self.implementation.layer_norm(
      name='attention_norm', dtype=self.dtype_policy
    )
    self.attention = attention.RelativeAttention(
      self.width,
      head_size=self.head_size,
      relative_attention=self.relative_attention,
      lookup=self.lookup,
      kernel_stddev=self.kernel_stddev,
      implementation=self.implementation,
      name='attention',
      dtype=self.dtype_policy,
    )
    self.attention_drop = self._drop('attention_drop', branch=0)
    self.ffn_norm = self.implementation.layer_norm(
      name='ffn_norm', dtype=self.dtype_policy
    )
    self.ffn_expand = self.implementation.dense(
      self.expansion * self.width,
      activate=True,
      name='ffn_expand',
      **self._product_options(),
    )
    self.ffn_project = self.implementation.dense(
      self.width, name='ffn_project', **self._product_options()
    )
    self.ffn_drop = self._drop('ffn_drop', branch=1)
    super().build(input_shape)

  def call(self, x, draw_keys=None, training=None):
    shortcut = self._shortcut(x)
    x = self.attention_norm(x)
    if self._pool is not None:
      x = self._pool(x)
    x = self.attention(x, training=training)
    x = shortcut + self.attention_drop(
      x, draw_keys=draw_keys, training=training
    )
    hidden = self.ffn_expand(self.ffn_norm(x))
    return x + self.ffn_drop(
      self.ffn_project(hidden), draw_keys=draw_keys, training=training
    )

  def get_config(self):
    return {
      **super().get_config(),
      'head_size': self.head_size,
      'relative_attention': self.relative_attention,
      'lookup': self.lookup,
    }
