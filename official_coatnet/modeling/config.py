"""What a network is made of: one dataclass, validated when it is made."""

import dataclasses
import math
from typing import Any

from official_coatnet import fields, kinds
from official_coatnet.modeling import (
  attention,
  families,
  implementations,
  layers,
  relative_bias,
  sizes,
)

# Of the family's row unless they are given.
_OF_FAMILY = (
  'downsample',
  'shortcut_pool',
  'se_ratio',
  'batch_norm_epsilon',
)
# Implementations that know other families than the paper's.
_OF_ALL_FAMILIES = (None, 'reference', 'onednn')
# Stands for what the family has, where None means that there is none.
_FROM_FAMILY = 'family'
DTYPES = ('float32', 'mixed_bfloat16', 'float64')


def _field(default: Any, *, weights: bool = True, backbone: bool = True) -> Any:
  """A field of `ModelConfig` that others treat apart.

  Args:
    default: Its default.
    weights: Whether weights of one value are of no use with another.
    backbone: Whether a backbone has it, and not what it is a part of.
  """
  metadata = {'weights': weights, 'backbone': backbone}
  return dataclasses.field(default=default, metadata=metadata)


def _of_table(of: kinds.Rule) -> kinds.Rule:
  return dataclasses.replace(of, none="for the size table's")


def _of_family(of: kinds.Rule) -> kinds.Rule:
  return dataclasses.replace(of, none="for the family's")


_COUNT = kinds.Whole(1, kinds.LARGEST_INT32)
_COUNTS = kinds.Several(
  _COUNT, 'a tuple of positive integers, one for each stage'
)


@fields.rules(
  name=kinds.Choice(tuple(sizes.SIZES)),
  image_size=kinds.Either(
    (
      _COUNT,
      kinds.Several(_COUNT, 'a (height, width) pair of such', count=2),
    ),
    fix='Use 224 (IMAGE_SIZE in a gin file).',
  ),
  num_classes=_COUNT,
  layout=_of_table(kinds.Choice(tuple(sizes.LAYOUTS))),
  blocks=_of_table(_COUNTS),
  widths=_of_table(_COUNTS),
  head_size=_of_table(_COUNT),
  family=_of_table(kinds.Choice(tuple(families.FAMILIES))),
  downsample=_of_family(kinds.Choice(tuple(families.DOWNSAMPLES))),
  expansion=_COUNT,
  se_ratio=_of_family(kinds.Number('(0, inf)')),
  shortcut_pool=_of_family(kinds.Choice(tuple(layers.POOLS))),
  relative_attention=kinds.Choice(tuple(attention.RELATIVE_ATTENTION)),
  lookup=kinds.Choice(tuple(relative_bias.LOOKUPS)),
  implementation=kinds.Choice(
    implementations.IMPLEMENTATIONS,
    none="for 'tpu' on a TPU, and 'reference' elsewhere",
  ),
  rematerialize=kinds.Several(
    kinds.Text(),
    "a tuple of stages, such as ('s1', 's2'), or 'all', or () for no stage",
    lone=True,
  ),
  norm=kinds.Choice(tuple(layers.NORMS)),
  batch_norm_momentum=kinds.Number('[0, 1)'),
  batch_norm_epsilon=_of_family(kinds.Number('(0, inf)')),
  sync_batch_norm=kinds.Flag(),
  stochastic_depth=kinds.Number('[0, 1)'),
  representation_size=kinds.Either(
    (_COUNT, kinds.Choice(('width', _FROM_FAMILY))),
    none='for no tanh layer',
    fix="Use 'width' for the width of the last stage.",
  ),
  kernel_stddev=kinds.Number('[0, inf)'),
  head_bias=kinds.Number(),
  dtype=kinds.Choice(DTYPES),
)
@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Every choice that defines a CoAtNet. The defaults are the paper's network.

  Attributes:
    name: Row of the size table (`sizes.SIZES`).
    image_size: Height and width in pixels, or a (height, width) pair; from 32
      pixels a side on (16 for 'ViT_REL'). Where a stage does not divide a side
      evenly, the result is rounded up (SAME padding).
    num_classes: Number of logits.
    layout: What the stages are, in place of the size table's: the block type
      of S1 to S4, such as 'C-C-T-T', C for MBConv and T for transformer, or
      'ViT_REL', transformer blocks on ViT's stem (Sec. 2.2).
    blocks: Blocks of each stage, S0 to S4, in place of the size table's (Table
      7). For 'ViT_REL': 1 for the stem, and the number of transformer blocks.
    widths: Channels of each stage, in place of the size table's.
    head_size: Channels of an attention head, in place of the size table's
      (Table 8).
    family: How blocks differ from the paper's, a row of `families.FAMILIES`, in
      place of the size table's. It gives the defaults of `downsample`,
      `shortcut_pool`, `se_ratio`, `batch_norm_epsilon` and
      `representation_size`; what is said of them below is the paper's.
    downsample: Where a MBConv block has its stride: 'expand_conv' (Eq. 5),
      'depthwise' (Table 9, and the dagger rows of Table 5), or 'pool', of other
      families alone.
    expansion: Expansion rate of the inverted bottlenecks (Table 3).
    se_ratio: Shrink rate of the squeeze-and-excitation (Table 3), relative to
      the block's output channels.
    shortcut_pool: 'max' (paper), 'avg', or 'max3', of 3x3.
    relative_attention: 'pre_softmax' (paper), 'post_softmax' (the other half of
      Eq. 3) or 'none' (Table 6).
    lookup: How the relative bias is read: 'einsum' (TPU) or 'gather' (GPU).
    implementation: How the blocks are written: 'reference'; 'tpu', the same
      mathematics in fewer passes over a TPU's memory (docs/tpu_speed.md);
      'cpu', which trains faster on a CPU; or 'onednn', which answers faster on
      one, and is for exports alone (docs/performance.md). None is 'tpu' for
      a network that is built in the scope of a `tf.distribute.TPUStrategy`, and
      'reference' elsewhere. Weights and checkpoints are the same for all;
      results differ by rounding. 'tpu' reads the bias in its own way and not by
      `lookup`, except where it is cached.
    rematerialize: Stages whose blocks (the stem is one) keep only their input
      from the forward to the backward pass and compute the rest anew, such as
      ('s1', 's2'), or 'all'. Less memory for more time; weights, gradients and
      statistics stay the same.
    norm: Of the stem and of MBConv: 'batch_norm', 'layer_norm' (Table 8; with
      a bias in the convolutions that have none before a BatchNorm), or
      'none', which is for exports alone: their convolutions have absorbed the
      BatchNorms (`export.folding`).
    batch_norm_momentum: Of the moving statistics.
    batch_norm_epsilon: Added to the variance.
    sync_batch_norm: Whether statistics are taken over all replicas.
    stochastic_depth: What Table 10 prints. Block i of N, counted from 0, has
      the rate stochastic_depth x i / N, so that the last one has x (N-1) / N:
      of 0.2 the last of CoAtNet-0's twelve has 0.1833, as in Google's code.
    representation_size: Width of the tanh layer of the head. 'width' means the
      width of the last stage, None leaves the layer out. Not in the paper's
      text; with it the parameter counts are the paper's.
    kernel_stddev: Standard deviation of kernels and bias tables at the start.
    head_bias: Bias of the logits at the start: -10 for a sigmoid loss over
      thousands of classes.
    dtype: 'float32', 'mixed_bfloat16' (activations in bfloat16, variables,
      statistics, softmax and logits in float32), or 'float64', which is for
      checking numbers: it tells an error from rounding.
  """

  name: str
  image_size: int | tuple[int, int] = _field(224, backbone=False)
  num_classes: int = _field(1000, backbone=False)
  # Their types are those of a made configuration; None becomes the table's.
  layout: str = _field(None)
  blocks: tuple[int, ...] = _field(None)
  widths: tuple[int, ...] = _field(None)
  head_size: int = _field(None)
  family: str = _field(None)
  downsample: str = _field(None)
  expansion: int = 4
  se_ratio: float = _field(None)
  shortcut_pool: str = _field(None)
  relative_attention: str = 'pre_softmax'
  lookup: str = _field('einsum', weights=False)
  implementation: str | None = _field(None, weights=False)
  rematerialize: tuple[str, ...] = _field((), weights=False)
  norm: str = 'batch_norm'
  batch_norm_momentum: float = _field(0.99, backbone=False)
  batch_norm_epsilon: float = _field(None, backbone=False)
  sync_batch_norm: bool = _field(False, weights=False, backbone=False)
  stochastic_depth: float = _field(0.0, weights=False)
  representation_size: int | str | None = _FROM_FAMILY
  kernel_stddev: float = 0.02
  head_bias: float = _field(0.0, backbone=False)
  dtype: str = _field('float32', weights=False, backbone=False)

  def __post_init__(self) -> None:
    fields.check(self)
    size = sizes.get_size(self.name)
    for field in ('layout', 'blocks', 'widths', 'head_size', 'family'):
      if getattr(self, field) is None:
        object.__setattr__(self, field, getattr(size, field))
    self._take_from_family()
    for field in ('blocks', 'widths'):
      self._check_stages(field, of_row=getattr(size, field))
    self._check_image_size()
    self._check_rematerialize()
    for stage, width in zip(self.stages, self.widths):
      if stage.kind == 'T' and width % self.head_size:
        raise ValueError(
          f'`ModelConfig.head_size` is {self.head_size}, which does not divide '
          f'the width {width} of a transformer stage.'
        )

  def _take_from_family(self) -> None:
    row = families.get_family(self.family)
    for field in _OF_FAMILY:
      if getattr(self, field) is None:
        object.__setattr__(self, field, getattr(row, field))
    if self.representation_size == _FROM_FAMILY:
      object.__setattr__(self, 'representation_size', row.representation_size)
    if self.family == families.PAPER:
      if self.downsample == 'pool':
        raise ValueError(
          "`ModelConfig.downsample` is 'pool', which the paper's family does "
          "not have; it must be 'expand_conv' or 'depthwise'."
        )
    elif self.implementation not in _OF_ALL_FAMILIES:
      raise ValueError(
        f'`ModelConfig.implementation` is {self.implementation!r}, which has '
        f'the blocks of the paper alone, and `family` is {self.family!r}; take '
        "'reference', or None."
      )
    elif self.norm == 'layer_norm':
      raise ValueError(
        "`ModelConfig.norm` is 'layer_norm' (Table 8), which is of the paper's "
        f'network alone, and `family` is {self.family!r}.'
      )

  def _check_stages(self, field: str, *, of_row: tuple[int, ...]) -> None:
    value, count = getattr(self, field), len(self.stages)
    if len(value) != count:
      names = {2: 'two', 5: 'five'}
      advice = ''
      if value == of_row:
        advice = (
          f' This is the row of {self.name!r}, which has another layout; give '
          '`blocks` and `widths` with `layout`, or take a model that has it.'
        )
      raise ValueError(
        f'`ModelConfig.{field}` is {value}; for the layout {self.layout!r} it '
        f'must be {names[count]} positive integers, one for each of the stages '
        f'S0 to S{count - 1}.{advice}'
      )
    one_convolution = self.stages[0].kind == 'patch_stem'
    if field == 'blocks' and one_convolution and value[0] != 1:
      raise ValueError(
        f'`ModelConfig.blocks` is {value}; the stem of {self.layout!r} is one '
        'convolution, so that the first number must be 1.'
      )

  def _check_image_size(self) -> None:
    # With fewer pixels the last stage would be made of padding alone.
    smallest = math.prod(stage.reduction for stage in self.stages)
    if min(self.height_width) < smallest:
      raise ValueError(
        f'`ModelConfig.image_size` is {self.image_size}; it must be an '
        'integer, or a (height, width) pair of integers, of at least '
        f'{smallest} pixels: the network reduces the image {smallest} times. '
        '(IMAGE_SIZE in a gin file.)'
      )

  def _check_rematerialize(self) -> None:
    # Of ViT's stem, one convolution, there is nothing but the input to keep.
    names = tuple(
      f's{i}'
      for i, stage in enumerate(self.stages)
      if stage.kind != 'patch_stem'
    )
    chosen = self.rematerialize
    if chosen == ('all',):
      chosen = names
    unknown = [name for name in chosen if name not in names]
    if unknown:
      raise ValueError(
        f'`ModelConfig.rematerialize` is {self.rematerialize!r}; it must be a '
        f"tuple of {', '.join(names)}, or 'all', or () for no stage."
      )
    object.__setattr__(self, 'rematerialize', chosen)

  @property
  def height_width(self) -> tuple[int, int]:
    """Height and width of the image, in pixels."""
    if isinstance(self.image_size, int):
      return (self.image_size, self.image_size)
    return self.image_size

  @property
  def stages(self) -> tuple[sizes.Stage, ...]:
    """What the layout says of each stage, S0 and on."""
    return sizes.LAYOUTS[self.layout]

  @property
  def stage_kinds(self) -> tuple[str, ...]:
    """Block type of S1 and on, 'C' or 'T'."""
    return tuple(stage.kind for stage in self.stages[1:])

  @property
  def norm_settings(self) -> dict[str, Any]:
    """Settings for `implementations.reference.Reference.norm`."""
    if self.norm != 'batch_norm':
      return {'kind': self.norm}
    return {
      'kind': 'batch_norm',
      'momentum': self.batch_norm_momentum,
      'epsilon': self.batch_norm_epsilon,
      'synchronized': self.sync_batch_norm,
    }
