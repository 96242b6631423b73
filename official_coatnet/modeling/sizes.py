"""The size table: every network of Tables 3 and 11, and two small ones.

This is the one place where the number of blocks, the widths and the head size
of a named network are written. Everything else refers to a row by its name.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Size:
  """One row of the size table.

  Attributes:
    blocks: Number of blocks L in stages S0 to S4. S0 counts convolutions.
    widths: Number of channels D in stages S0 to S4.
    head_size: Channels of one attention head.
    source: Where the row comes from.
  """

  blocks: tuple[int, ...]
  widths: tuple[int, ...]
  head_size: int
  source: str


_TABLE_3 = 'Table 3'
_TABLE_11 = 'Table 11'

SIZES: Mapping[str, Size] = types.MappingProxyType(
  {
    'coatnet_0': Size((2, 2, 3, 5, 2), (64, 96, 192, 384, 768), 32, _TABLE_3),
    'coatnet_1': Size((2, 2, 6, 14, 2), (64, 96, 192, 384, 768), 32, _TABLE_3),
    'coatnet_2': Size(
      (2, 2, 6, 14, 2), (128, 128, 256, 512, 1024), 32, _TABLE_3
    ),
    'coatnet_3': Size(
      (2, 2, 6, 14, 2), (192, 192, 384, 768, 1536), 32, _TABLE_3
    ),
    'coatnet_4': Size(
      (2, 2, 12, 28, 2), (192, 192, 384, 768, 1536), 32, _TABLE_3
    ),
    'coatnet_5': Size(
      (2, 2, 12, 28, 2), (192, 256, 512, 1280, 2048), 64, _TABLE_11
    ),
    # Ours. `coatnet_demo` is what `make demo` trains; `coatnet_test` has one
    # block a stage, so that any recipe can be run through quickly.
    'coatnet_demo': Size((2, 1, 1, 2, 1), (16, 24, 48, 96, 128), 16, 'demo'),
    'coatnet_test': Size((2, 1, 1, 1, 1), (16, 16, 16, 32, 32), 16, 'tests'),
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
