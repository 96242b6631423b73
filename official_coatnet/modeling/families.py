"""How published CoAtNets differ from the paper's: one row a family.

Weights are of use in the network that they were trained in alone, and no
published CoAtNet is the paper's to the letter. What differs is written here, by
name, as sizes are in `sizes.SIZES`, whose rows name theirs. `blocks`, `stems`
and `network` have the paper's network; `variants` has all others.

Sources: timm 1.0.31, `timm/models/maxxvit.py`, and keras-cv-attention-models
1.4.3, `coatnet/coatnet.py`.
"""

import dataclasses
import difflib
import types
from collections.abc import Callable, Mapping

import tensorflow as tf

PAPER = 'paper'

# Where a MBConv may have its stride; the last is of other families alone.
DOWNSAMPLES = ('expand_conv', 'depthwise', 'pool')
Activation = Callable[[tf.Tensor], tf.Tensor]

# The GELU of the paper's code is the tanh approximation; PyTorch's is exact.
ACTIVATIONS: Mapping[str, Activation] = types.MappingProxyType(
  {
    'gelu_tanh': lambda x: tf.nn.gelu(x, approximate=True),
    'gelu': lambda x: tf.nn.gelu(x, approximate=False),
    'silu': tf.nn.silu,
    'relu': tf.nn.relu,
  }
)


@dataclasses.dataclass(frozen=True)
class Family:
  """One row: the defaults are the paper's network, as `blocks` has it.

  The first five are the defaults of the fields of `ModelConfig` of the same
  names.

  Attributes:
    downsample: Where a MBConv has its stride: 'expand_conv', 'depthwise', or
      'pool', an average pooling of what its pre-norm gives.
    shortcut_pool: One of `layers.POOLS`.
    se_ratio: Hidden channels of the squeeze-and-excitation over those of
      `se_base`.
    batch_norm_epsilon: Added to the variance.
    representation_size: 'width', or None for a head without a tanh layer.
    symmetric_padding: Whether a 3x3 of stride 2 pads one pixel all around, as
      PyTorch does. TensorFlow's SAME pads an even size at its end alone.
    base: Whose channels a bottleneck multiplies, and attention has for query,
      key and value: 'output' or 'input', of the block.
    se_base: 'output', of the block, or 'bottleneck'.
    se_activation: Within the squeeze-and-excitation, one of `ACTIVATIONS`.
    se_before_norm: Whether it comes before the norm of the depthwise
      convolution, and not after its activation.
    conv_activation: In stem and MBConv.
    ffn_activation: In the feed-forward network.
    activate_pre_norm: Whether the pre-norm of a MBConv has an activation.
    layer_scale: Value at the start of a factor for each channel, at the end of
      both branches of a transformer block; None for no such factor.
    transformer_norm: 'layer_norm' or 'batch_norm', of transformer and head.
    transformer_norm_epsilon: Of that norm.
    head_norm: 'after' or 'before' the pooling of the head, or 'none'.
    stem_ratio: Channels of the stem's first convolution over those of S0.
  """

  downsample: str = 'expand_conv'
  shortcut_pool: str = 'max'
  se_ratio: float = 0.25
  batch_norm_epsilon: float = 1e-3
  representation_size: str | None = 'width'
  symmetric_padding: bool = False
  base: str = 'output'
  se_base: str = 'output'
  se_activation: str = 'silu'
  se_before_norm: bool = False
  conv_activation: str = 'gelu_tanh'
  ffn_activation: str = 'gelu_tanh'
  activate_pre_norm: bool = False
  layer_scale: float | None = None
  transformer_norm: str = 'layer_norm'
  transformer_norm_epsilon: float = 1e-5
  head_norm: str = 'after'
  stem_ratio: float = 1.0

  @property
  def unfolded(self) -> tuple[str, ...]:
    """Norms of a MBConv that no convolution can absorb at inference."""
    norms = []
    if self.activate_pre_norm:
      norms.append('pre_norm')
    if self.se_before_norm:
      norms.append('depthwise_norm')
    return tuple(norms)


# What timm's networks of its own training have in common ("rw").
_RW = Family(
  downsample='depthwise',
  shortcut_pool='avg',
  batch_norm_epsilon=1e-5,
  representation_size=None,
  symmetric_padding=True,
  base='input',
  se_base='bottleneck',
  conv_activation='silu',
  ffn_activation='gelu',
  activate_pre_norm=True,
  transformer_norm_epsilon=1e-6,
  head_norm='before',
  stem_ratio=0.5,
)


def _rw(**changes) -> Family:
  return dataclasses.replace(_RW, **changes)


_EARLY_SE = {'se_activation': 'relu', 'se_before_norm': True}

FAMILIES: Mapping[str, Family] = types.MappingProxyType(
  {
    PAPER: Family(),
    # timm's own reading of the paper, `coatnet_0_224` to `coatnet_5_224`.
    'timm': Family(
      downsample='depthwise',
      shortcut_pool='avg',
      batch_norm_epsilon=1e-5,
      symmetric_padding=True,
      conv_activation='gelu',
      ffn_activation='gelu',
      transformer_norm_epsilon=1e-6,
    ),
    'timm_nano_rw': _rw(downsample='pool', activate_pre_norm=False),
    'timm_rmlp_nano_rw': _rw(activate_pre_norm=False),
    'timm_0_rw': _rw(downsample='pool', **_EARLY_SE),
    'timm_1_rw': _rw(**_EARLY_SE),
    'timm_bn_0_rw': _rw(transformer_norm='batch_norm', **_EARLY_SE),
    'timm_2_rw': _rw(),
    'timm_3_rw': _rw(layer_scale=1e-6),
    'timm_rmlp_1_rw': _rw(downsample='pool', shortcut_pool='max3', **_EARLY_SE),
    'timm_rmlp_1_rw2': _rw(se_activation='relu'),
    'timm_rmlp_2_rw': _rw(layer_scale=1e-6),
    'kecam': Family(
      downsample='depthwise',
      # A sixteenth of the bottleneck is a quarter of the input.
      se_ratio=0.0625,
      batch_norm_epsilon=1e-5,
      representation_size=None,
      symmetric_padding=True,
      base='input',
      se_base='bottleneck',
      se_activation='gelu',
      conv_activation='gelu',
      ffn_activation='gelu',
      head_norm='none',
    ),
  }
)


def get_family(name: str) -> Family:
  """Returns the row called `name`.

  Raises:
    ValueError: If there is no such row; the message names the nearest one.
  """
  if name in FAMILIES:
    return FAMILIES[name]
  near = difflib.get_close_matches(str(name), FAMILIES, n=1)
  hint = f' Did you mean {near[0]!r}?' if near else ''
  raise ValueError(
    f'`family` is {name!r}, which is no family of networks.{hint} Known are '
    f'{", ".join(FAMILIES)}.'
  )
