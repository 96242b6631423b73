"""What a network is made of: the layouts, and the table of named sizes.

Layouts are those that the paper compares (Sec. 2.2, Figure 1). This is the one
place that knows what a layout is made of: the configuration checks its numbers
against it, the network is built from it, and summaries take the names of the
stages from it.

The size table has the networks of Tables 3, 7, 8 and 11 and Figure 1, and
others. It is the one place where the layout, the number of blocks, the widths
and the head size of a named network are written. Everything else refers to a
row by its name.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping

from official_coatnet.modeling import families


@dataclasses.dataclass(frozen=True)
class Stage:
  """One stage of a layout.

  Attributes:
    kind: What its blocks are: 'C' (MBConv), 'T' (transformer), or, in S0,
      'conv_stem' or 'patch_stem'.
    reduction: By how much it reduces height and width, in its first block.
    level: Its output is at 1/2**level of the image.
  """

  kind: str
  reduction: int
  level: int


def _multi_stage(layout: str) -> tuple[Stage, ...]:
  """S0 to S4, each of which halves height and width."""
  kinds = ('conv_stem', *layout.split('-'))
  return tuple(Stage(kind, 2, level) for level, kind in enumerate(kinds, 1))


LAYOUTS: Mapping[str, tuple[Stage, ...]] = types.MappingProxyType(
  {
    **{
      layout: _multi_stage(layout)
      for layout in ('C-C-C-C', 'C-C-C-T', 'C-C-T-T', 'C-T-T-T')
    },
    # ViT's stem, and then L transformer blocks at 1/16.
    'ViT_REL': (Stage('patch_stem', 16, 4), Stage('T', 1, 4)),
  }
)


@dataclasses.dataclass(frozen=True)
class Size:
  """One row of the size table.

  Attributes:
    blocks: Number of blocks L in each stage. S0 counts convolutions.
    widths: Number of channels D in each stage.
    head_size: Channels of one attention head.
    origin: Where the row comes from.
    layout: One of `LAYOUTS`, which says what the stages are.
    family: One of `families.FAMILIES`, which says how its blocks differ from
      the paper's.
  """

  blocks: tuple[int, ...]
  widths: tuple[int, ...]
  head_size: int
  origin: str
  layout: str = 'C-C-T-T'
  family: str = families.PAPER


_TABLE_3 = 'Table 3'
_TABLE_11 = 'Table 11'
_FIGURE_1 = 'Figure 1'
_TABLE_7 = 'Table 7'
_TABLE_8 = 'Table 8'
_WIDTHS_OF_COATNET_1 = (64, 96, 192, 384, 768)
_WIDTHS_OF_COATNET_2 = (128, 128, 256, 512, 1024)
_WIDTHS_OF_COATNET_3 = (192, 192, 384, 768, 1536)


def _published() -> dict[str, Size]:
  """Rows of networks that others have published weights of, or train."""
  nano = ((2, 3, 4, 6, 3), (64, 64, 128, 256, 512))
  zero = ((2, 2, 3, 7, 2), _WIDTHS_OF_COATNET_1)
  one = ((2, 2, 6, 14, 2), _WIDTHS_OF_COATNET_1)
  two = ((2, 2, 6, 14, 2), _WIDTHS_OF_COATNET_2)
  three = ((2, 2, 6, 14, 2), _WIDTHS_OF_COATNET_3)
  own = {
    'nano_rw': nano,
    'rmlp_nano_rw': nano,
    '0_rw': zero,
    '1_rw': one,
    'bn_0_rw': zero,
    '2_rw': two,
    '3_rw': three,
    'rmlp_1_rw': one,
    'rmlp_1_rw2': one,
    'rmlp_2_rw': two,
  }
  rows = {
    f'timm_coatnet_{name}': Size(*row, 32, 'timm', family=f'timm_{name}')
    for name, row in own.items()
  }
  plain = {
    '0': ((2, 2, 3, 5, 2), _WIDTHS_OF_COATNET_1),
    '1': one,
    '2': two,
    '3': three,
    '4': ((2, 2, 12, 28, 2), _WIDTHS_OF_COATNET_3),
    '5': ((2, 2, 12, 28, 2), (192, 256, 512, 1280, 2048)),
  }
  for name, row in plain.items():
    rows[f'timm_coatnet_{name}'] = Size(*row, 32, 'timm', family='timm')
  rows['kecam_coatnet_0'] = Size(*plain['0'], 32, 'kecam', family='kecam')
  return rows


SIZES: Mapping[str, Size] = types.MappingProxyType(
  {
    'coatnet_0': Size((2, 2, 3, 5, 2), (64, 96, 192, 384, 768), 32, _TABLE_3),
    'coatnet_1': Size((2, 2, 6, 14, 2), _WIDTHS_OF_COATNET_1, 32, _TABLE_3),
    'coatnet_2': Size((2, 2, 6, 14, 2), _WIDTHS_OF_COATNET_2, 32, _TABLE_3),
    'coatnet_3': Size((2, 2, 6, 14, 2), _WIDTHS_OF_COATNET_3, 32, _TABLE_3),
    'coatnet_4': Size((2, 2, 12, 28, 2), _WIDTHS_OF_COATNET_3, 32, _TABLE_3),
    'coatnet_5': Size(
      (2, 2, 12, 28, 2), (192, 256, 512, 1280, 2048), 64, _TABLE_11
    ),
    # Ablations of sizes. They are rows, and no settings of a gin file, so that
    # another MODEL replaces all of them.
    'coatnet_2_v1': Size((2, 2, 2, 18, 2), _WIDTHS_OF_COATNET_2, 32, _TABLE_7),
    'coatnet_2_v2': Size((2, 2, 8, 12, 2), _WIDTHS_OF_COATNET_2, 32, _TABLE_7),
    'coatnet_3_v1': Size((2, 2, 2, 18, 2), _WIDTHS_OF_COATNET_3, 32, _TABLE_7),
    'coatnet_2_head64': Size(
      (2, 2, 6, 14, 2), _WIDTHS_OF_COATNET_2, 64, _TABLE_8
    ),
    # Figure 1 compares layouts of "similar parameter size and computational
    # cost", and prints neither. Ours are CoAtNet-1, which stands for C-C-T-T,
    # and four that are within 5 % of it and of each other at 224, in parameters
    # and in multiply-adds. Only the depths of S2 and S3 differ, which are what
    # the paper scales; ViT_REL has one width, a multiple of 128.
    'figure1_cccc': Size(
      (2, 2, 13, 17, 2), _WIDTHS_OF_COATNET_1, 32, _FIGURE_1, 'C-C-C-C'
    ),
    'figure1_ccct': Size(
      (2, 2, 14, 15, 2), _WIDTHS_OF_COATNET_1, 32, _FIGURE_1, 'C-C-C-T'
    ),
    'figure1_cttt': Size(
      (2, 2, 2, 15, 2), _WIDTHS_OF_COATNET_1, 32, _FIGURE_1, 'C-T-T-T'
    ),
    'figure1_vit_rel': Size((1, 13), (512, 512), 32, _FIGURE_1, 'ViT_REL'),
    # Ours. `coatnet_demo` is what `make demo` trains; `coatnet_test` has one
    # block a stage, so that any recipe can be run through quickly.
    'coatnet_demo': Size((2, 1, 1, 2, 1), (16, 24, 48, 96, 128), 16, 'demo'),
    'coatnet_test': Size((2, 1, 1, 1, 1), (16, 16, 16, 32, 32), 16, 'tests'),
    **_published(),
  }
)


def get_size(name: str) -> Size:
  """Returns the row called `name`.

  Raises:
    ValueError: If there is no such row; the message names the nearest one.
  """
  if name in SIZES:
    return SIZES[name]
  near = difflib.get_close_matches(str(name), SIZES, n=1)
  hint = f' Did you mean {near[0]!r}?' if near else ''
  raise ValueError(
    f'Unknown model {name!r}: it is no row of the size table.{hint} '
    f'Known models: {", ".join(SIZES)}.'
  )
