"""The numbers that the paper prints (arXiv 2106.04803), and nothing else.

This is the one place for them: `tools/paper.py` compares what we build with
them, and the tests read them here. What we build is written elsewhere, in the
size table and in gin/; that the two agree is what is checked.
"""

import dataclasses
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
    gin_file: The run that gives it, if there is one in the project.
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
  gin_file: str | None = None


IMAGENET1K, IMAGENET21K, JFT = 'imagenet1k', 'imagenet21k', 'jft300m'
_DEPTHWISE = (('downsample', 'depthwise'),)
_NO_BIAS = (('relative_attention', 'none'),)
_V1 = (('blocks', (2, 2, 2, 18, 2)),)
_V2 = (('blocks', (2, 2, 8, 12, 2)),)
_LAYER_NORM = (('norm', 'layer_norm'),)
_ABLATIONS = 'gin/ablations'

# Tables 4, 9 and 12, and the first rows of Tables 6 to 8.
_IMAGENET1K = (
  Result(
    ('4', '9', '12'), IMAGENET1K, 'coatnet_0', 224, 25, 4.2, 81.6,
    gin_file='gin/imagenet1k_coatnet0.gin',
  ),
  Result(
    ('4', '9', '12'), IMAGENET1K, 'coatnet_1', 224, 42, 8.4, 83.3,
    gin_file='gin/imagenet1k_coatnet1.gin',
  ),
  Result(
    ('4', '6', '7', '8', '9', '12'), IMAGENET1K, 'coatnet_2', 224,
    75, 15.7, 84.1, gin_file='gin/imagenet1k_coatnet2.gin',
  ),
  Result(
    ('4', '12'), IMAGENET1K, 'coatnet_3', 224, 168, 34.7, 84.5,
    gin_file='gin/imagenet1k_coatnet3.gin',
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
    gin_file=f'{_ABLATIONS}/table9_strided_dconv_coatnet{i}.gin',
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
    gin_file=f'{_ABLATIONS}/table6_no_relative_attention.gin',
  ),
  Result(
    ('6',), IMAGENET1K, 'coatnet_2', 384, None, None, 85.3,
    'Without Rel-Attn', _NO_BIAS,
  ),
  Result(
    ('6', '7'), IMAGENET21K, 'coatnet_3', 224, None, None, 53.0,
    metric='precision_at_1', gin_file='gin/imagenet21k_coatnet3.gin',
  ),
  Result(
    ('6',), IMAGENET21K, 'coatnet_3', 224, None, None, 52.8,
    'Without Rel-Attn', _NO_BIAS, 'precision_at_1',
  ),
  # Tables 4, 7 and 13 have 87.6 for it, above.
  Result(('6', '8'), IMAGENET21K, 'coatnet_3', 384, None, None, 87.9),
  Result(
    ('6',), IMAGENET21K, 'coatnet_3', 384, None, None, 87.4,
    'Without Rel-Attn', _NO_BIAS,
  ),
  Result(
    ('7',), IMAGENET1K, 'coatnet_2', 224, None, None, 83.4, 'V1', _V1,
    gin_file=f'{_ABLATIONS}/table7_v1.gin',
  ),
  Result(
    ('7',), IMAGENET1K, 'coatnet_2', 224, None, None, 84.0, 'V2', _V2,
    gin_file=f'{_ABLATIONS}/table7_v2.gin',
  ),
  Result(
    ('7',), IMAGENET21K, 'coatnet_3', 224, None, None, 53.0, 'V1', _V1,
    'precision_at_1',
  ),
  Result(('7',), IMAGENET21K, 'coatnet_3', 384, None, None, 87.4, 'V1', _V1),
  Result(
    ('8',), IMAGENET1K, 'coatnet_2', 224, None, None, 83.9,
    'Head size 64', (('head_size', 64),),
    gin_file=f'{_ABLATIONS}/table8_head_size_64.gin',
  ),
  Result(
    ('8',), IMAGENET1K, 'coatnet_2', 224, None, None, 84.1,
    'BN to LN', _LAYER_NORM,
    gin_file=f'{_ABLATIONS}/table8_layer_norm.gin',
  ),
  Result(
    ('8',), IMAGENET21K, 'coatnet_3', 384, None, None, 87.8,
    'BN to LN', _LAYER_NORM,
  ),
)  # fmt: skip

# Table 2: networks of Figure 1 after JFT, whose sizes the paper does not give.
_TRANSFER = tuple(
  Result(
    ('2',), JFT, FIGURE_1[layout], image_size, None, None, accuracy, layout,
    metric=metric,
  )
  for layout, image_size, metric, accuracy in (
    ('C-C-T-T', 224, 'precision_at_1', 34.40),
    ('C-C-T-T', 224, 'top1', 82.39),
    ('C-C-T-T', 384, 'top1', 84.23),
    ('C-T-T-T', 224, 'precision_at_1', 34.36),
    ('C-T-T-T', 224, 'top1', 81.78),
    ('C-T-T-T', 384, 'top1', 84.02),
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
