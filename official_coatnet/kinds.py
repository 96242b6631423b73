"""Kinds of rules for the fields of a configuration, see `fields`.

Each says in words what it accepts, for messages and for pages of parameters.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Collection
from typing import Any

# Beyond it a float32, which is what settings become, is infinite.
_LARGEST = 3.4028234e38
_LARGEST_INTEGER = 2**63 - 1
# What indices and sizes in graphs can be.
LARGEST_INT32 = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """What a field has to be.

  Attributes:
    none: What None stands for, such as 'for no clipping'; None where the field
      may not be None.
    fix: A sentence: what to do about a wrong value.
  """

  none: str | None = None
  fix: str | None = None

  @property
  def kind(self) -> str:
    """What it has to be, if not None."""
    raise NotImplementedError

  @property
  def words(self) -> str:
    """What it has to be, for messages and pages."""
    return (
      self.kind if self.none is None else f'{self.kind}, or None {self.none}'
    )

  def holds(self, value: Any) -> bool:
    """Whether a value that is not None is of this kind."""
    raise NotImplementedError

  def accepts(self, value: Any) -> bool:
    """Whether a field may have a value."""
    return self.none is not None if value is None else self.holds(value)

  def normal(self, value: Any) -> Any:
    """Returns an accepted value as it is kept: hashable, and comparable."""
    return value

  def choices(self) -> tuple[str, ...]:
    """The texts that are accepted, where they can be listed."""
    return ()


class Flag(Rule):
  """True or False, and not 0, 1 or a text."""

  @property
  def kind(self) -> str:
    return 'True or False'

  def holds(self, value: Any) -> bool:
    return isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class Whole(Rule):
  """An integer, and not True or False.

  Attributes:
    low: Smallest, or None.
    high: Largest.
  """

  low: int | None = None
  high: int = _LARGEST_INTEGER

  @property
  def kind(self) -> str:
    if self.low is None:
      return 'an integer'
    if self.high in (_LARGEST_INTEGER, LARGEST_INT32):
      return f'an integer of at least {self.low}'
    return f'an integer from {self.low} to {self.high}'

  def holds(self, value: Any) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
      return False
    low = -self.high if self.low is None else self.low
    return low <= value <= self.high


@dataclasses.dataclass(frozen=True)
class Number(Rule):
  """A finite number, integers included, and not True or False.

  Attributes:
    interval: Where it lies, such as '[0, 1)'; square brackets include the end.
  """

  interval: str = '(-inf, inf)'

  @property
  def ends(self) -> tuple[float, float]:
    """Lowest and highest number."""
    low, high = self.interval[1:-1].split(', ')
    return float(low), float(high)

  @property
  def kind(self) -> str:
    low, high = self.ends
    if high != math.inf:
      return f'a number in {self.interval}'
    if low == -math.inf:
      return 'a finite number'
    at_least = 'of at least' if self.interval[0] == '[' else 'above'
    return f'a finite number {at_least} {low:g}'

  def holds(self, value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
      return False
    if not -_LARGEST <= value <= _LARGEST:  # NaN is in no interval.
      return False
    low, high = self.ends
    above = value >= low if self.interval[0] == '[' else value > low
    below = value <= high if self.interval[-1] == ']' else value < high
    return above and below


@dataclasses.dataclass(frozen=True)
class Text(Rule):
  """A text that is not empty.

  Attributes:
    what: Of what it is, such as 'the name of a split'.
    pattern: Regular expression of the whole of it, or None.
  """

  what: str = 'a text'
  pattern: str | None = None

  @property
  def kind(self) -> str:
    return self.what

  def holds(self, value: Any) -> bool:
    if not isinstance(value, str) or not value.strip():
      return False
    return self.pattern is None or bool(re.fullmatch(self.pattern, value))


@dataclasses.dataclass(frozen=True)
class Path(Text):
  """A path: a text, or what Python has for paths."""

  what: str = "a path, a text in quotes such as '/data'"

  def holds(self, value: Any) -> bool:
    return super().holds(self.normal(value))

  def normal(self, value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


@dataclasses.dataclass(frozen=True)
class Choice(Rule):
  """One of several texts.

  Attributes:
    of: The texts, or what has them as keys; asked at each check, so that what
      is entered later counts.
  """

  of: Collection[str] = ()

  @property
  def kind(self) -> str:
    words = ', '.join(map(repr, self.of))
    return words if len(self.of) == 1 else f'one of {words}'

  def holds(self, value: Any) -> bool:
    return isinstance(value, str) and value in self.of

  def choices(self) -> tuple[str, ...]:
    return tuple(self.of)


@dataclasses.dataclass(frozen=True)
class Several(Rule):
  """A tuple or a list, which becomes a tuple.

  Attributes:
    of: What each of them has to be.
    what: All of them in words, such as 'two numbers, lowest first'.
    count: How many, or None for any number.
    together: What has to hold of them all, or None.
    lone: Whether one of them may stand without brackets.
  """

  of: Rule
  what: str
  count: int | None = None
  together: Callable[[tuple[Any, ...]], bool] | None = None
  lone: bool = False

  @property
  def kind(self) -> str:
    return self.what

  def holds(self, value: Any) -> bool:
    if self.lone and self.of.accepts(value):
      value = (value,)
    if not isinstance(value, tuple | list):
      return False
    if self.count is not None and len(value) != self.count:
      return False
    if not all(self.of.accepts(each) for each in value):
      return False
    return self.together is None or self.together(tuple(value))

  def normal(self, value: Any) -> Any:
    if value is None:
      return None
    return tuple(value) if isinstance(value, tuple | list) else (value,)


@dataclasses.dataclass(frozen=True)
class Either(Rule):
  """What one of several rules accepts.

  Attributes:
    of: The rules.
  """

  of: tuple[Rule, ...] = ()

  @property
  def kind(self) -> str:
    return ', or '.join(rule.kind for rule in self.of)

  def holds(self, value: Any) -> bool:
    return any(rule.holds(value) for rule in self.of)

  def normal(self, value: Any) -> Any:
    for rule in self.of:
      if value is not None and rule.holds(value):
        return rule.normal(value)
    return value

  def choices(self) -> tuple[str, ...]:
    return tuple(each for rule in self.of for each in rule.choices())


@dataclasses.dataclass(frozen=True)
class Made(Rule):
  """What a function makes something of.

  Attributes:
    make: Returns how the value is kept; a ValueError or TypeError otherwise.
    what: What it takes, in words.
    types: Of what type the value has to be.
  """

  make: Callable[[Any], Any]
  what: str
  types: tuple[type, ...] = (object,)

  @property
  def kind(self) -> str:
    return self.what

  def holds(self, value: Any) -> bool:
    if not isinstance(value, self.types):
      return False
    try:
      self.make(value)
    except (TypeError, ValueError):
      return False
    return True

  def normal(self, value: Any) -> Any:
    return None if value is None else self.make(value)


@dataclasses.dataclass(frozen=True)
class Part(Rule):
  """Another configuration.

  Attributes:
    cls: Its class.
  """

  cls: type = object

  @property
  def kind(self) -> str:
    return f'a {self.cls.__name__}'

  def holds(self, value: Any) -> bool:
    return isinstance(value, self.cls)
