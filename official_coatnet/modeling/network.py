"""The network: stages of blocks as a functional `tf.keras.Model`.

    model = network.classifier(ModelConfig('coatnet_0'))
    logits = model(images)                 # images: [batch, 224, 224, 3]

    backbone = network.backbone(ModelConfig('coatnet_0'))
    features = backbone(images)            # {'1': S0, '2': S1, ... '5': S4}

Images are normalised float tensors (`official_coatnet.data.device.normalize`).
"""

from typing import Any

import tensorflow as tf

from official_coatnet.modeling import (
  blocks,
  config as config_lib,
  families,
  implementations,
  layers,
  rematerialize,
  stems,
  variants,
)
from official_coatnet.modeling.implementations import reference


def block_drop_rates(config: config_lib.ModelConfig) -> list[list[float]]:
  """Returns the stochastic depth rate of each block of S1 and on.

  Block i of N, counted from 0 over all stages but the stem, has
  `stochastic_depth` x i / N: the last one a little less than the whole rate.
  """
  counts = config.blocks[1:]
  total = sum(counts)
  rates, i = [], 0
  for count in counts:
    rates.append(
      [config.stochastic_depth * (i + j) / total for j in range(count)]
    )
    i += count
  return rates


def choose_implementation(
  config: config_lib.ModelConfig,
) -> reference.Reference:
  """Returns how blocks are written: as configured, or as suits the strategy."""
  name = config.implementation
  if name is None:
    strategy = tf.distribute.get_strategy()
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    is_paper = config.family == families.PAPER
    name = 'tpu' if on_tpu and is_paper else 'reference'
  return implementations.get(name)


def _make_block(
  config: config_lib.ModelConfig, *, kind: str, **kwargs
) -> tf.keras.layers.Layer:
  common = dict(
    expansion=config.expansion,
    shortcut_pool=config.shortcut_pool,
    kernel_stddev=config.kernel_stddev,
    dtype=config.dtype,
    **kwargs,
  )
  is_paper = config.family == families.PAPER
  if kind == 'C':
    common.update(
      downsample=config.downsample,
      se_ratio=config.se_ratio,
      norm=config.norm_settings,
    )
    if is_paper:
      return blocks.MBConvBlock(**common)
    return variants.MBConvVariant(family=config.family, **common)
  common.update(
    head_size=config.head_size,
    relative_attention=config.relative_attention,
    lookup=config.lookup,
  )
  if is_paper:
    return blocks.TransformerBlock(**common)
  return variants.TransformerVariant(
    family=config.family, norm=config.norm_settings, **common
  )


def _make_stem(
  config: config_lib.ModelConfig, *, implementation: reference.Reference
) -> tf.keras.layers.Layer:
  common: dict[str, Any] = dict(
    kernel_stddev=config.kernel_stddev, dtype=config.dtype, name='s0'
  )
  stem = config.stages[0]
  if stem.kind == 'patch_stem':
    return stems.PatchStem(
      config.widths[0], patch_size=stem.reduction, **common
    )
  common.update(
    blocks=config.blocks[0],
    norm=config.norm_settings,
    implementation=implementation,
  )
  if config.family == families.PAPER:
    return stems.Stem(config.widths[0], **common)
  return variants.StemVariant(config.widths[0], family=config.family, **common)


def _rematerialized(
  config: config_lib.ModelConfig, stage: str, block: tf.keras.layers.Layer
) -> tf.keras.layers.Layer:
  if stage in config.rematerialize:
    return rematerialize.rematerialize(block)
  return block


def _stages(
  config: config_lib.ModelConfig, *, images, draw_keys
) -> dict[str, tf.Tensor]:
  """Applies all stages and returns their outputs by level (stride 2**level).

  The last is the last stage's. Of stages at one level, the last counts.
  """
  implementation = choose_implementation(config)
  stem = _make_stem(config, implementation=implementation)
  x = _rematerialized(config, 's0', stem)(images)
  endpoints = {str(config.stages[0].level): x}
  keys = {} if draw_keys is None else {'draw_keys': draw_keys}
  salt = 0
  for i, (stage, rates) in enumerate(
    zip(config.stages[1:], block_drop_rates(config)), start=1
  ):
    for j, rate in enumerate(rates):
      block = _make_block(
        config,
        kind=stage.kind,
        name=f's{i}_block{j}',
        width=config.widths[i],
        stride=1 if j else stage.reduction,
        drop_rate=rate,
        salt=salt,
        implementation=implementation,
      )
      x = _rematerialized(config, f's{i}', block)(x, **keys)
      salt += 1
    endpoints[str(stage.level)] = x
  return endpoints


def _head(config: config_lib.ModelConfig, x: tf.Tensor) -> tf.Tensor:
  """Pools, normalises and classifies; returns float32 [batch, classes].

  Pooling and normalisation are in float32: they average hundreds of values.
  (All of it is in float64 where the network is.)
  """
  dtype = layers.wide_dtype(config.dtype)
  if config.family == families.PAPER:
    x = tf.keras.layers.GlobalAveragePooling2D(dtype=dtype, name='head_pool')(x)
    x = tf.keras.layers.LayerNormalization(
      epsilon=layers.LAYER_NORM_EPSILON, name='head_norm', dtype=dtype
    )(x)
  else:
    x = variants.pool_for_head(
      x, family=config.family, norm=config.norm_settings, dtype=dtype
    )
  size = config.representation_size
  if size is not None:
    x = tf.keras.layers.Dense(
      config.widths[-1] if size == 'width' else size,
      activation='tanh',
      kernel_initializer=layers.kernel_initializer(config.kernel_stddev),
      dtype=config.dtype,
      name='pre_logits',
    )(x)
  return tf.keras.layers.Dense(
    config.num_classes,
    kernel_initializer=layers.kernel_initializer(config.kernel_stddev),
    bias_initializer=tf.keras.initializers.Constant(config.head_bias),
    dtype=dtype,
    name='logits',
  )(x)


def _inputs(config: config_lib.ModelConfig, *, draw_keys: bool):
  height, width = config.height_width
  images = tf.keras.Input((height, width, 3), name='image')
  keys = None
  if draw_keys:
    keys = tf.keras.Input((), dtype=tf.int32, name='draw_keys')
  return images, keys


def classifier(
  config: config_lib.ModelConfig, *, draw_keys: bool = False
) -> tf.keras.Model:
  """Builds the classification network.

  Args:
    config: What to build.
    draw_keys: Whether the model takes a dict of `image` and `draw_keys`, int32
      [batch], instead of images alone. Its stochastic depth is then a function
      of the example and not of its place in the batch; the trainer uses it so.

  Returns:
    A functional model from images, float [batch, height, width, 3], to logits,
    float32 [batch, num_classes].
  """
  images, keys = _inputs(config, draw_keys=draw_keys)
  *_, features = _stages(config, images=images, draw_keys=keys).values()
  inputs = images if keys is None else {'image': images, 'draw_keys': keys}
  return tf.keras.Model(inputs, _head(config, features), name=config.name)


def cache_relative_bias(model: tf.keras.Model):
  """Looks up each layer's relative bias once, for inference.

  Call it after the weights are loaded, and build the functions that run the
  model after it: a function that is traced already keeps its look-up.

  Args:
    model: From `classifier` or `backbone`.
  """
  for layer in model.layers:
    if isinstance(layer, blocks.TransformerBlock):
      layer.attention.cache_bias()


def backbone(config: config_lib.ModelConfig) -> tf.keras.Model:
  """Builds the network without its head.

  Returns:
    A functional model from images, float [batch, height, width, 3], to a dict
    of the stage outputs by level: '1' is S0, at 1/2 of the image, to '5', S4 at
    1/32; each [batch, ceil(height / 2**level), ceil(width / 2**level), D]. The
    layout 'ViT_REL' has '4' alone, the output of its last block.
  """
  images, _ = _inputs(config, draw_keys=False)
  endpoints = _stages(config, images=images, draw_keys=None)
  return tf.keras.Model(images, endpoints, name=f'{config.name}_backbone')
