"""The vertical layouts that the paper compares (Sec. 2.2, Figure 1).

This is the one place that knows what a layout is made of: the configuration
checks its numbers against it, the network is built from it, and summaries take
the names of the stages from it.
"""

import dataclasses
import types
from collections.abc import Mapping


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
