"""The numbers that the paper prints (arXiv 2106.04803), and nothing else.

This is the one place for them: `tools/paper.py` compares what we build with
them, and the tests read them here. What we build is written elsewhere, in the
size table and in gin/; that the two agree is what is checked.
"""

import dataclasses
import re
import types
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class PrintedSize:
  """A column of Table 3 or 11: a network's blocks L and widths D, S0 to S4."""

  table: str
  model: str
  blocks: tuple[int, ...]
  widths: tuple[int, ...]
  head_size: int


SIZES = (
  PrintedSize('3', 'coatnet_0', (2, 2, 3, 5, 2), (64, 96, 192, 384, 768), 32),
  PrintedSize('3', 'coatnet_1', (2, 2, 6, 14, 2), (64, 96, 192, 384, 768), 32),
  PrintedSize(
    '3', 'coatnet_2', (2, 2, 6, 14, 2), (128, 128, 256, 512, 1024), 32
  ),
  PrintedSize(
    '3', 'coatnet_3', (2, 2, 6, 14, 2), (192, 192, 384, 768, 1536), 32
  ),
  PrintedSize(
    '3', 'coatnet_4', (2, 2, 12, 28, 2), (192, 192, 384, 768, 1536), 32
  ),
  # The head size is in the text of A.2.
  PrintedSize(
    '11', 'coatnet_5', (2, 2, 12, 28, 2), (192, 256, 512, 1280, 2048), 64
  ),
)


# Figure 1 gives no sizes; these are ours, by layout.
FIGURE_1: Mapping[str, str] = types.MappingProxyType(
  {
    'C-C-C-C': 'figure1_cccc',
    'C-C-C-T': 'figure1_ccct',
    'C-C-T-T': 'coatnet_1',
    'C-T-T-T': 'figure1_cttt',
    'ViT_REL': 'figure1_vit_rel',
  }
)


@dataclasses.dataclass(frozen=True)
class Result:
  """What the paper prints of one network, trained and evaluated in one way.

  Attributes:
    tables: Where it is printed.
    pretrained_on: `IMAGENET1K`, `IMAGENET21K` or `JFT`. What was pre-trained on
      the larger two is fine-tuned on ImageNet-1K, unless `metric` says that the
      pre-training itself is evaluated.
    model: Row of our size table.
    image_size: Side of the images at evaluation, in pixels.
    params: In millions, or None where the table does not print it.
    multiply_adds: In 1e9 ("#FLOPs"), or None likewise.
    accuracy: In per cent.
    variant: What the table calls the row beside its model.
    settings: (field, value) pairs of `ModelConfig` that make the row; in a gin
      file `ModelConfig.<field>`. All others are at their defaults.
    metric: 'top1' on ImageNet-1K, or 'precision_at_1' of the pre-training.
    gin_file: The run that gives it; named by the rule of `_gin_file` unless
      it is an ablation.
  """

  tables: tuple[str, ...]
  pretrained_on: str
  model: str
  image_size: int
  params: float | None
  multiply_adds: float | None
  accuracy: float
  variant: str = ''
  settings: tuple[tuple[str, Any], ...] = ()
  metric: str = 'top1'
  gin_file: str = ''

  def __post_init__(self):
    if not self.gin_file:
      object.__setattr__(self, 'gin_file', _gin_file(self))

  @property
  def fine_tuned(self) -> bool:
    """Whether a run of its own followed the pre-training."""
    return self.gin_file != self.pretraining_file

  @property
  def pretraining_file(self) -> str:
    """The gin file of the pre-training: the same name without the size."""
    return _SIZE_IN_NAME.sub('', self.gin_file)


# In the name of a gin file. A file with a size fine-tunes on ImageNet-1K at
# that size what the file of the same name without it has pre-trained at 224.
_SIZE_IN_NAME = re.compile(r'_(224|384|512)(?=[_.])')


def _gin_file(result: Result) -> str:
  """Names the file of a row: <data>_<model>[_<size>][_<variant>].gin."""
  data = 'jft' if result.pretrained_on == JFT else result.pretrained_on
  parts = [data, result.model.replace('_', '')]
  pretrained_only = result.metric == 'precision_at_1' or (
    result.pretrained_on == IMAGENET1K and result.image_size == 224
  )
  if not pretrained_only:
    parts.append(str(result.image_size))
  if result.variant.startswith('PT-RA'):
    parts.append(result.variant.replace('PT-RA', 'ptra').replace('-', '_'))
  return f'gin/{"_".join(parts).lower()}.gin'


IMAGENET1K, IMAGENET21K, JFT = 'imagenet1k', 'imagenet21k', 'jft300m'
_DEPTHWISE = (('downsample', 'depthwise'),)
_NO_BIAS = (('relative_attention', 'none'),)
_V1 = (('blocks', (2, 2, 2, 18, 2)),)
_V2 = (('blocks', (2, 2, 8, 12, 2)),)
_LAYER_NORM = (('norm', 'layer_norm'),)


def _ablation(name: str) -> str:
  return f'gin/ablations/{name}.gin'


def figure_1_file(
  layout: str, *, data: str = 'imagenet1k', size: int | None = None
) -> str:
  """Returns the gin file of a curve of Figure 1, or of its fine-tuning.

  Args:
    layout: A key of `FIGURE_1`.
    data: 'imagenet1k' or 'jft'.
    size: Side of the images of the fine-tuning (Table 2); None for the
      pre-training.
  """
  parts = ['figure1', *(['jft'] if data == 'jft' else [])]
  parts += [layout.lower().replace('-', ''), *([str(size)] if size else [])]
  return _ablation('_'.join(parts))


# Tables 4, 9 and 12, and the first rows of Tables 6 to 8.
_IMAGENET1K = (
  Result(
    ('4', '9', '12'), IMAGENET1K, 'coatnet_0', 224, 25, 4.2, 81.6,
  ),
  Result(
    ('4', '9', '12'), IMAGENET1K, 'coatnet_1', 224, 42, 8.4, 83.3,
  ),
  Result(
    ('4', '6', '7', '8', '9', '12'), IMAGENET1K, 'coatnet_2', 224,
    75, 15.7, 84.1,
  ),
  Result(
    ('4', '12'), IMAGENET1K, 'coatnet_3', 224, 168, 34.7, 84.5,
  ),
  Result(('4', '12'), IMAGENET1K, 'coatnet_0', 384, 25, 13.4, 83.9),
  Result(('4', '12'), IMAGENET1K, 'coatnet_1', 384, 42, 27.4, 85.1),
  Result(('4', '6', '12'), IMAGENET1K, 'coatnet_2', 384, 75, 49.8, 85.7),
  Result(('4', '12'), IMAGENET1K, 'coatnet_3', 384, 168, 107.4, 85.8),
  Result(('4', '12'), IMAGENET1K, 'coatnet_2', 512, 75, 96.7, 85.9),
  Result(('4', '12'), IMAGENET1K, 'coatnet_3', 512, 168, 203.1, 86.0),
)  # fmt: skip

# Tables 4 and 13.
_IMAGENET21K = (
  # Table 4 alone has these two, with the numbers that it also has at 384.
  Result(('4',), IMAGENET21K, 'coatnet_2', 224, 75, 15.7, 87.1),
  Result(('4',), IMAGENET21K, 'coatnet_3', 224, 168, 34.7, 87.6),
  Result(('4', '13'), IMAGENET21K, 'coatnet_2', 384, 75, 49.8, 87.1),
  # Tables 6 and 8 have 87.9 for it, below.
  Result(('4', '7', '13'), IMAGENET21K, 'coatnet_3', 384, 168, 107.4, 87.6),
  Result(('4', '13'), IMAGENET21K, 'coatnet_4', 384, 275, 189.5, 87.9),
  Result(('4', '13'), IMAGENET21K, 'coatnet_4', 384, 275, 189.5, 88.3, 'PT-RA'),
  Result(
    ('4', '13'), IMAGENET21K, 'coatnet_4', 384, 275, 189.5, 88.4, 'PT-RA-E150'
  ),
  Result(('4', '13'), IMAGENET21K, 'coatnet_2', 512, 75, 96.7, 87.3),
  Result(('4', '13'), IMAGENET21K, 'coatnet_3', 512, 168, 203.1, 87.9),
  Result(('4', '13'), IMAGENET21K, 'coatnet_4', 512, 275, 360.9, 88.1),
  Result(('4', '13'), IMAGENET21K, 'coatnet_4', 512, 275, 360.9, 88.4, 'PT-RA'),
  Result(
    ('4', '13'), IMAGENET21K, 'coatnet_4', 512, 275, 360.9, 88.56, 'PT-RA-E150'
  ),
)

# Table 5. The dagger: the stride is in the depthwise convolution.
_JFT = (
  Result(('5',), JFT, 'coatnet_3', 384, 168, 114, 88.52, 'dagger', _DEPTHWISE),
  Result(('5',), JFT, 'coatnet_3', 512, 168, 214, 88.81, 'dagger', _DEPTHWISE),
  Result(('5',), JFT, 'coatnet_4', 512, 275, 361, 89.11),
  Result(('5',), JFT, 'coatnet_5', 512, 688, 812, 89.77),
)

# Table 9.
_STRIDED_DCONV = tuple(
  Result(
    ('9',), IMAGENET1K, f'coatnet_{i}', 224, params, multiply_adds, accuracy,
    'Strided DConv', _DEPTHWISE,
    gin_file=_ablation(f'table9_strided_dconv_coatnet{i}'),
  )
  for i, params, multiply_adds, accuracy in (
    (0, 25, 4.6, 82.0), (1, 42, 8.8, 83.5), (2, 75, 16.6, 84.1)
  )
)  # fmt: skip

# Tables 6, 7 and 8, which print no counts. Table 6 names no network either; its
# numbers are those of CoAtNet-2 (ImageNet-1K) and CoAtNet-3 (ImageNet-21K).
_ABLATION_RESULTS = (
  Result(
    ('6',), IMAGENET1K, 'coatnet_2', 224, None, None, 83.8,
    'Without Rel-Attn', _NO_BIAS,
    gin_file=_ablation('table6_no_relative_attention'),
  ),
  Result(
    ('6',), IMAGENET1K, 'coatnet_2', 384, None, None, 85.3,
    'Without Rel-Attn', _NO_BIAS,
    gin_file=_ablation('table6_no_relative_attention_384'),
  ),
  Result(
    ('6', '7'), IMAGENET21K, 'coatnet_3', 224, None, None, 53.0,
    metric='precision_at_1',
  ),
  Result(
    ('6',), IMAGENET21K, 'coatnet_3', 224, None, None, 52.8,
    'Without Rel-Attn', _NO_BIAS, 'precision_at_1',
    gin_file=_ablation('table6_no_relative_attention_imagenet21k'),
  ),
  # Tables 4, 7 and 13 have 87.6 for it, above.
  Result(('6', '8'), IMAGENET21K, 'coatnet_3', 384, None, None, 87.9),
  Result(
    ('6',), IMAGENET21K, 'coatnet_3', 384, None, None, 87.4,
    'Without Rel-Attn', _NO_BIAS,
    gin_file=_ablation('table6_no_relative_attention_imagenet21k_384'),
  ),
  Result(
    ('7',), IMAGENET1K, 'coatnet_2_v1', 224, None, None, 83.4, 'V1', _V1,
    gin_file=_ablation('table7_v1'),
  ),
  Result(
    ('7',), IMAGENET1K, 'coatnet_2_v2', 224, None, None, 84.0, 'V2', _V2,
    gin_file=_ablation('table7_v2'),
  ),
  Result(
    ('7',), IMAGENET21K, 'coatnet_3_v1', 224, None, None, 53.0, 'V1', _V1,
    'precision_at_1', gin_file=_ablation('table7_v1_imagenet21k'),
  ),
  Result(
    ('7',), IMAGENET21K, 'coatnet_3_v1', 384, None, None, 87.4, 'V1', _V1,
    gin_file=_ablation('table7_v1_imagenet21k_384'),
  ),
  Result(
    ('8',), IMAGENET1K, 'coatnet_2_head64', 224, None, None, 83.9,
    'Head size 64', (('head_size', 64),),
    gin_file=_ablation('table8_head_size_64'),
  ),
  Result(
    ('8',), IMAGENET1K, 'coatnet_2', 224, None, None, 84.1,
    'BN to LN', _LAYER_NORM,
    gin_file=_ablation('table8_layer_norm'),
  ),
  Result(
    ('8',), IMAGENET21K, 'coatnet_3', 384, None, None, 87.8,
    'BN to LN', _LAYER_NORM,
    gin_file=_ablation('table8_layer_norm_imagenet21k_384'),
  ),
)  # fmt: skip

# Table 2: networks of Figure 1 after JFT, whose sizes the paper does not give.
_TRANSFER = tuple(
  Result(
    ('2',), JFT, FIGURE_1[layout], image_size, None, None, accuracy, layout,
    metric=metric, gin_file=figure_1_file(layout, data='jft', size=size),
  )
  for layout, image_size, size, metric, accuracy in (
    ('C-C-T-T', 224, None, 'precision_at_1', 34.40),
    ('C-C-T-T', 224, 224, 'top1', 82.39),
    ('C-C-T-T', 384, 384, 'top1', 84.23),
    ('C-T-T-T', 224, None, 'precision_at_1', 34.36),
    ('C-T-T-T', 224, 224, 'top1', 81.78),
    ('C-T-T-T', 384, 384, 'top1', 84.02),
  )
)  # fmt: skip

RESULTS: tuple[Result, ...] = (
  *_IMAGENET1K,
  *_IMAGENET21K,
  *_JFT,
  *_STRIDED_DCONV,
  *_ABLATION_RESULTS,
  *_TRANSFER,
)


def results_of(table: str) -> list[Result]:
  """Returns the results that a table prints, in our order."""
  return [result for result in RESULTS if table in result.tables]
