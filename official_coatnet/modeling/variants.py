"""The blocks, stem and head of families other than the paper's.

Each does what its namesake in `blocks`, `stems` and `network` does, under the
same names of weights, and with the differences that a row of
`families.FAMILIES` names. They are written in Keras's own layers; of the other
implementations, 'onednn' alone knows them.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_coatnet.modeling import (
  attention,
  blocks,
  families,
  layers,
  stems,
)

_PACKAGE = 'official_coatnet'


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class Scale(tf.keras.layers.Layer):
  """A factor for each channel and, as an option, a term.

  LayerScale (Touvron et al., 2021) is the factor alone. With the term it is
  what remains of a BatchNorm at inference that no convolution can absorb.
  """

  def __init__(self, *, initial: float = 1.0, shift: bool = False, **kwargs):
    super().__init__(**kwargs)
    self.initial = initial
    self.shift = shift

  def build(self, input_shape):
    channels = input_shape[-1:]
    constant = tf.keras.initializers.Constant
    self.gamma = self.add_weight(
      'gamma', shape=channels, initializer=constant(self.initial)
    )
    self.beta = None
    if self.shift:
      self.beta = self.add_weight('beta', shape=channels, initializer='zeros')
    super().build(input_shape)

  def call(self, x, training=None):
    del training  # As norms have it.
    x = x * self.gamma
    return x if self.beta is None else x + self.beta

  def get_config(self):
    return {
      **super().get_config(),
      'initial': self.initial,
      'shift': self.shift,
    }


def _pad(x: tf.Tensor) -> tf.Tensor:
  """Pads [batch, height, width, channels] by a pixel of zeros all around."""
  return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class MBConvVariant(blocks.MBConvBlock):
  """`blocks.MBConvBlock` as `family` has it."""

  downsamples = families.DOWNSAMPLES

  def __init__(self, width: int, *, family: str, **kwargs):
    super().__init__(width, **kwargs)
    self.family = family

  def build(self, input_shape):
    row = families.get_family(self.family)
    at = {self.downsample: self.stride}
    pads = row.symmetric_padding and at.get('depthwise', 1) == 2
    use_bias = self.norm['kind'] != 'batch_norm'
    base = self.width if row.base == 'output' else input_shape[-1]
    bottleneck = self.expansion * base
    se_base = self.width if row.se_base == 'output' else bottleneck

    self._activate = families.ACTIVATIONS[row.conv_activation]
    self._build_shortcut(input_shape[-1])
    self.pre_norm = self._variant_norm('pre_norm')
    self._stride_pool = None
    if at.get('pool', 1) == 2:
      self._stride_pool = layers.make_pool(
        'avg', name='stride_pool', dtype=self.dtype_policy
      )
    self.expand_conv = self.implementation.conv(
      bottleneck,
      1,
      strides=at.get('expand_conv', 1),
      use_bias=use_bias,
      name='expand_conv',
      **self._product_options(),
    )
    self.expand_norm = self._variant_norm('expand_norm')
    self._before_depthwise = _pad if pads else tf.identity
    self.depthwise_conv = self._make_depthwise(
      at.get('depthwise', 1),
      use_bias=use_bias and 'depthwise_norm' not in row.unfolded,
      padding='valid' if pads else 'same',
    )
    self.depthwise_norm = self._variant_norm('depthwise_norm')
    self.squeeze_excitation = self._make_squeeze_excitation(
      se_base, activation=row.se_activation
    )
    self.project_conv = self.implementation.conv(
      self.width, 1, name='project_conv', **self._product_options()
    )
    self.drop = self._drop('drop', branch=0)
    tf.keras.layers.Layer.build(self, input_shape)

  def _variant_norm(self, name: str) -> tf.keras.layers.Layer:
    unfolded = families.get_family(self.family).unfolded
    if self.norm['kind'] == 'none' and name in unfolded:
      return Scale(shift=True, name=name, dtype=self.dtype_policy)
    return self._norm(name)

  def call(self, x, draw_keys=None, training=None):
    row = families.get_family(self.family)
    shortcut = self._shortcut(x)
    x = self.pre_norm(x, training=training)
    if row.activate_pre_norm:
      x = self._activate(x)
    if self._stride_pool is not None:
      x = self._stride_pool(x)
    x = self.expand_conv(x)
    x = self._activate(self.expand_norm(x, training=training))
    x = self.depthwise_conv(self._before_depthwise(x))
    if row.se_before_norm:
      x = self.squeeze_excitation(x)
    x = self._activate(self.depthwise_norm(x, training=training))
    if not row.se_before_norm:
      x = self.squeeze_excitation(x)
    x = self.project_conv(x)
    return shortcut + self.drop(x, draw_keys=draw_keys, training=training)

  def get_config(self):
    return {**super().get_config(), 'family': self.family}


def transformer_norm(
  family: str, settings: Mapping[str, Any], *, name: str, dtype: Any
) -> tf.keras.layers.Layer:
  """Makes the norm of transformer and head.

  Args:
    family: Its row says which norm, and its epsilon.
    settings: Of `ModelConfig.norm_settings`, for a BatchNorm: momentum, and
      over which replicas; or that products have absorbed it.
    name: Name of the layer.
    dtype: Its dtype or policy.
  """
  row = families.get_family(family)
  common = {'epsilon': row.transformer_norm_epsilon, 'name': name}
  if row.transformer_norm == 'layer_norm':
    return tf.keras.layers.LayerNormalization(dtype=dtype, **common)
  if settings['kind'] == 'none':
    return tf.keras.layers.Layer(name=name, dtype=dtype)
  return tf.keras.layers.BatchNormalization(
    momentum=settings['momentum'],
    synchronized=settings['synchronized'],
    dtype=dtype,
    **common,
  )


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class TransformerVariant(blocks.TransformerBlock):
  """`blocks.TransformerBlock` as `family` has it."""

  def __init__(
    self,
    width: int,
    *,
    family: str,
    norm: Mapping[str, Any] | None = None,
    **kwargs,
  ):
    """Creates the block.

    Args:
      width: Channels of the output.
      family: Its row says what differs.
      norm: Of `ModelConfig.norm_settings`, where the family's is a BatchNorm.
      **kwargs: Of `blocks.TransformerBlock`.
    """
    super().__init__(width, **kwargs)
    self.family = family
    self.norm = dict(norm or layers.DEFAULT_NORM)

  def _variant_norm(self, name: str) -> tf.keras.layers.Layer:
    return transformer_norm(
      self.family, self.norm, name=name, dtype=self.dtype_policy
    )

  def _scale(self, name: str) -> tf.keras.layers.Layer:
    initial = families.get_family(self.family).layer_scale
    if initial is None:
      return tf.keras.layers.Layer(name=name, dtype=self.dtype_policy)
    return Scale(initial=initial, name=name, dtype=self.dtype_policy)

  def build(self, input_shape):
    row = families.get_family(self.family)
    self._build_shortcut(input_shape[-1])
    self.attention_norm = self._variant_norm('attention_norm')
    self.attention = attention.RelativeAttention(
      self.width if row.base == 'output' else input_shape[-1],
      output_width=self.width,
      head_size=self.head_size,
      relative_attention=self.relative_attention,
      lookup=self.lookup,
      kernel_stddev=self.kernel_stddev,
      implementation=self.implementation,
      name='attention',
      dtype=self.dtype_policy,
    )
    self.attention_scale = self._scale('attention_scale')
    self.attention_drop = self._drop('attention_drop', branch=0)
    self.ffn_norm = self._variant_norm('ffn_norm')
    self.ffn_expand = self.implementation.dense(
      self.expansion * self.width,
      activation=families.ACTIVATIONS[row.ffn_activation],
      name='ffn_expand',
      **self._product_options(),
    )
    self.ffn_project = self.implementation.dense(
      self.width, name='ffn_project', **self._product_options()
    )
    self.ffn_scale = self._scale('ffn_scale')
    self.ffn_drop = self._drop('ffn_drop', branch=1)
    tf.keras.layers.Layer.build(self, input_shape)

  def call(self, x, draw_keys=None, training=None):
    shortcut = self._shortcut(x)
    x = self.attention_norm(x, training=training)
    if self._pool is not None:
      x = self._pool(x)
    x = self.attention_scale(self.attention(x, training=training))
    x = shortcut + self.attention_drop(
      x, draw_keys=draw_keys, training=training
    )
    hidden = self.ffn_expand(self.ffn_norm(x, training=training))
    hidden = self.ffn_project(hidden)
    return x + self.ffn_drop(
      self.ffn_scale(hidden), draw_keys=draw_keys, training=training
    )

  def get_config(self):
    return {
      **super().get_config(),
      'family': self.family,
      'norm': self.norm,
    }


@tf.keras.utils.register_keras_serializable(_PACKAGE)
class StemVariant(stems.Stem):
  """`stems.Stem` as `family` has it."""

  def __init__(self, width: int, *, family: str, **kwargs):
    super().__init__(width, **kwargs)
    self.family = family

  def build(self, input_shape):
    row = families.get_family(self.family)
    self._activate = families.ACTIVATIONS[row.conv_activation]
    self._before_first = _pad if row.symmetric_padding else tf.identity
    super().build(input_shape)

  def _make_conv(self, i, **kwargs):
    row = families.get_family(self.family)
    is_last = i == self.blocks - 1
    pads = row.symmetric_padding and i == 0
    return tf.keras.layers.Conv2D(
      self.width if is_last else int(self.width * row.stem_ratio),
      3,
      padding='valid' if pads else 'same',
      **kwargs,
    )

  def call(self, x, training=None):
    x = self._before_first(x)
    for conv, norm in zip(self._convs, self._norms):
      x = self._activate(norm(conv(x), training=training))
    return self._convs[-1](x)

  def get_config(self):
    return {**super().get_config(), 'family': self.family}


def pool_for_head(
  x: tf.Tensor, *, family: str, norm: Mapping[str, Any], dtype: Any
) -> tf.Tensor:
  """Pools and normalises for the head, in the order of the family.

  Args:
    x: [batch, height, width, channels].
    family: Its row says when the norm comes, and which it is.
    norm: Of `ModelConfig.norm_settings`, where it is a BatchNorm.
    dtype: Of both.

  Returns:
    [batch, channels].
  """
  order = families.get_family(family).head_norm
  pool = tf.keras.layers.GlobalAveragePooling2D(dtype=dtype, name='head_pool')
  if order == 'none':
    return pool(x)
  layer = transformer_norm(family, norm, name='head_norm', dtype=dtype)
  return pool(layer(x)) if order == 'before' else layer(pool(x))
