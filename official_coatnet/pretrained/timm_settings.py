"""Our networks as timm builds them: the architecture, and its settings.

timm 1.0.31, timm/models/maxxvit.py: a `MaxxVitCfg` has what its CoAtNets differ
in, and `timm.create_model` takes another value of each by name ('conv_...' of
MBConv and stem, 'transformer_...'). Here each is given, those that are the
architecture's own, too, so that a later version of timm builds the same.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from official_coatnet.modeling import config as config_lib, families
from official_coatnet.pretrained import conversion, timm

# What its settings are laid over, where timm has no network of that size.
_ARCHITECTURE = 'coatnet_0_224'
# timm's plain networks, which have no weights: the paper's sizes.
_PLAIN = tuple(f'coatnet_{i}' for i in range(6))
_STRIDE_MODES = {'expand_conv': '1x1', 'depthwise': 'dw', 'pool': 'pool'}
_POOLS = {'max': 'max2', 'avg': 'avg2', 'max3': 'max'}
_NORMS = {'layer_norm': 'layernorm2d', 'batch_norm': 'batchnorm2d'}
# timm rounds the width of a bottleneck to a multiple of it.
_DIVISOR = 8
# Of our stem's first convolution, before a BatchNorm, which has no bias here.
_STEM_BIAS = 'stem.conv1.bias'
_MEAN, _COUNTER = 'running_mean', 'num_batches_tracked'


def architecture(config: config_lib.ModelConfig) -> str:
  """Returns timm's name of the network that is nearest to ours."""
  name = config.name.removeprefix('timm_')
  is_timm = config.name.startswith('timm_') or name in _PLAIN
  return f'{name}_224' if is_timm else _ARCHITECTURE


def model_args(config: config_lib.ModelConfig) -> dict[str, Any]:
  """Returns what `timm.create_model` has to be told for a network.

  Args:
    config: The network.

  Returns:
    Values for JSON by timm's names: `model_args` of a config.json.

  Raises:
    ValueError: If timm cannot build the network; the message names each field
      of `ModelConfig` that stands in the way.
  """
  problems = list(_problems(config))
  if problems:
    lines = ''.join(f'\n  {problem}' for problem in problems)
    raise ValueError(
      f'timm cannot build the network {config.name!r} as it is:{lines}'
    )
  row = families.get_family(config.family)
  return {
    'img_size': list(config.height_width),
    'embed_dim': list(config.widths[1:]),
    'depths': list(config.blocks[1:]),
    'block_type': list(config.stage_kinds),
    'stem_width': [int(config.widths[0] * row.stem_ratio), config.widths[0]],
    'stem_bias': True,
    'head_hidden_size': _representation(config),
    **{f'conv_{name}': value for name, value in _convolution(config, row)},
    **{
      f'transformer_{name}': value for name, value in _transformer(config, row)
    },
  }


def _representation(config: config_lib.ModelConfig) -> int | str | None:
  size = config.representation_size
  return config.widths[-1] if size == 'width' else size


def _convolution(
  config: config_lib.ModelConfig, row: families.Family
) -> Iterator[tuple[str, Any]]:
  """Settings of stem and MBConv."""
  yield 'expand_ratio', float(config.expansion)
  yield 'expand_output', row.base == 'output'
  yield 'pre_norm_act', row.activate_pre_norm
  yield 'output_bias', True
  yield 'stride_mode', _STRIDE_MODES[config.downsample]
  yield 'pool_type', _POOLS[config.shortcut_pool]
  yield 'downsample_pool_type', 'avg2'
  yield 'padding', '' if row.symmetric_padding else 'same'
  yield 'attn_early', row.se_before_norm
  yield 'attn_act_layer', row.se_activation
  yield 'attn_ratio', config.se_ratio
  yield 'act_layer', row.conv_activation
  yield 'norm_layer', 'batchnorm2d'
  yield 'norm_eps', config.batch_norm_epsilon


def _transformer(
  config: config_lib.ModelConfig, row: families.Family
) -> Iterator[tuple[str, Any]]:
  """Settings of transformer and head."""
  yield 'dim_head', config.head_size
  yield 'expand_ratio', float(config.expansion)
  yield 'expand_first', row.base == 'output'
  yield 'shortcut_bias', True
  yield 'pool_type', _POOLS[config.shortcut_pool]
  # A table, whatever the weights came from: it is what we train.
  yield 'rel_pos_type', 'bias'
  yield 'init_values', row.layer_scale
  yield 'act_layer', row.ffn_activation
  yield 'norm_layer', _NORMS[row.transformer_norm]
  yield 'norm_eps', row.transformer_norm_epsilon


def _problems(config: config_lib.ModelConfig) -> Iterator[str]:
  """What timm has no setting for, a sentence each."""
  if config.stages[0].kind != 'conv_stem':
    yield f'`layout` is {config.layout!r}, and its CoAtNets have five stages.'
    return
  if config.blocks[0] != 2:
    yield f'`blocks` is {config.blocks}; its stem has two convolutions.'
  yield from _unlike(config, families.get_family(config.family))
  # What it rounds down in the transformer stages, we round up.
  reduction = math.prod(stage.reduction for stage in config.stages)
  if any(side % reduction for side in config.height_width):
    yield (
      f'`image_size` is {config.image_size}; of its sides it takes multiples '
      f'of {reduction}.'
    )
  row = families.get_family(config.family)
  for i, kind in enumerate(config.stage_kinds, start=1):
    bases = {config.widths[i]}
    if row.base == 'input':
      bases = {config.widths[i - 1], *bases}
    for base in sorted(bases):
      if kind == 'C' and base * config.expansion % _DIVISOR:
        yield (
          f'`widths` is {config.widths}; {config.expansion} times {base}, the '
          f'width of a bottleneck, has to be a multiple of {_DIVISOR}.'
        )


def _unlike(
  config: config_lib.ModelConfig, row: families.Family
) -> Iterator[str]:
  """Choices of a network, or of its family, that timm does not have."""
  if config.norm != 'batch_norm':
    yield f'`norm` is {config.norm!r}; its MBConv has a BatchNorm.'
  if config.relative_attention != 'pre_softmax':
    yield (
      f'`relative_attention` is {config.relative_attention!r}; it adds the '
      'relative bias before the softmax.'
    )
  if config.shortcut_pool == 'max3' and not row.symmetric_padding:
    yield (
      "`shortcut_pool` is 'max3', which it pads by the rule of its "
      f'convolutions, and `family` is {config.family!r}.'
    )
  if (row.base == 'output') != (row.se_base == 'output'):
    yield (
      f'`family` is {config.family!r}, whose squeeze-and-excitation is a share '
      'of other channels.'
    )
  if row.head_norm == 'none':
    yield f'`family` is {config.family!r}, whose head has no norm.'
  elif (row.head_norm == 'after') != (config.representation_size is not None):
    yield (
      f'`representation_size` is {config.representation_size!r} in the family '
      f'{config.family!r}; it normalises after the pooling where there is a '
      'tanh layer, and before it where there is none.'
    )


def to_state(
  weights: Mapping[str, np.ndarray], config: config_lib.ModelConfig
) -> dict[str, np.ndarray]:
  """Arranges weights as the state of timm's network, with nothing missing.

  Args:
    weights: Ours by name, float32.
    config: The network, which `model_args` takes.

  Returns:
    Arrays by timm's names.
  """
  state = conversion.to_theirs(weights, lines=timm.lines(config))
  # timm gives both convolutions of a stem a bias, or none.
  state[_STEM_BIAS] = np.zeros_like(state[f'stem.norm1.{_MEAN}'])
  for name in list(state):
    if name.endswith(_MEAN):
      counter = name.removesuffix(_MEAN) + _COUNTER
      state[counter] = np.zeros((), np.int64)
  return state
