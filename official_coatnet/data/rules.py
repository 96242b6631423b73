"""What values of a configuration have to be, and the words that say so.

`config` has the rules; here is what they share.
"""

from collections.abc import Sequence
from typing import Any, TypeGuard


def is_int(value: object) -> TypeGuard[int]:
  """Whether this is an integer, and not True or False."""
  return isinstance(value, int) and not isinstance(value, bool)


def is_pair(value: object) -> TypeGuard[Sequence[Any]]:
  """Whether these are two of whatever it be."""
  return isinstance(value, Sequence) and len(value) == 2


def are_shares(value: object) -> TypeGuard[Sequence[float]]:
  """Whether these are three numbers in 0..1, of red, green and blue."""
  return (
    isinstance(value, Sequence)
    and len(value) == 3
    and all(is_int(v) or isinstance(v, float) for v in value)
    and all(0 <= v <= 1 for v in value)
  )


def check_positive(name: str, value: object, fix: str) -> None:
  """Raises a ValueError unless a field is a positive integer.

  Args:
    name: Of the field of `DataConfig`.
    value: What it is.
    fix: What to do.
  """
  require(
    is_int(value) and value > 0, name, value, 'must be a positive integer', fix
  )


def require(
  condition: object, name: str, value: object, rule: str, fix: str
) -> None:
  """Raises a ValueError in the wording of the package.

  Args:
    condition: Whether the rule holds.
    name: Of the field of `DataConfig`.
    value: What it is.
    rule: What it has to be.
    fix: What to do.
  """
  if not condition:
    raise ValueError(f'DataConfig.{name} is {value!r}, but {rule}; {fix}.')
