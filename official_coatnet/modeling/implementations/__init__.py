"""The forms that the network's layers are written in, by name.

One form is chosen for a network, in `network.py`, and handed down to its layers
as an object, whose functions they call. A new one is a module beside these,
with a subclass of `reference.Reference`, and its entry here.
"""

import types
from collections.abc import Mapping

from official_coatnet.modeling.implementations import (
  cpu,
  onednn,
  reference,
  tpu,
)

_ENTRIES = {
  each.name: each
  for each in (reference.Reference(), cpu.Cpu(), onednn.OneDnn(), tpu.Tpu())
}
IMPLEMENTATIONS: Mapping[str, reference.Reference] = types.MappingProxyType(
  _ENTRIES
)


# What a layer takes: the name, or what is to be had by it.
Implementation = str | reference.Reference


def get(implementation: Implementation) -> reference.Reference:
  """Returns the implementation of a name; one that is given is handed on.

  A saved network names it, and a network that is being built has it: layers
  take either.

  Raises:
    ValueError: If there is none of that name.
  """
  if not isinstance(implementation, str):
    return implementation
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f'`implementation` is {implementation!r}; it must be one of '
      f'{tuple(IMPLEMENTATIONS)}.'
    )
  return IMPLEMENTATIONS[implementation]
