"""What the fields of a configuration have to be: a rule each, one engine.

A configuration is a dataclass that says its rules beside its fields,

    @fields.rules(
      decay=kinds.Choice(('cosine', 'linear')),
      clip_norm=kinds.Number('(0, inf)', none='for no clipping'),
    )
    @dataclasses.dataclass(frozen=True)
    class OptimizerConfig:

and calls `fields.check(self)` first in its `__post_init__`. Types, finiteness
and ranges are said nowhere else, neither for the check nor for a page of all
parameters (`describe`). Rules on several fields at once stay functions of the
configuration, which say what they refuse by `require`.
"""

import ast
import dataclasses
import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from official_coatnet import kinds

# Where the rules of a class are.
_RULES = '__field_rules__'
# Longest value that is shown whole.
_SHOWN = 72

_Class = TypeVar('_Class', bound=type)


class FieldError(ValueError):
  """A field that is not what its rule says.

  Attributes:
    field: Such as 'DataConfig.random_flip'.
    value: What it is.
  """

  def __init__(self, message: str, *, field: str, value: Any):
    super().__init__(message)
    self.field = field
    self.value = value


def rules(**of_fields: kinds.Rule) -> Callable[[_Class], _Class]:
  """Returns a decorator that gives a dataclass the rules of its fields.

  Args:
    **of_fields: Field to rule.

  Raises:
    TypeError: By the decorator, if a field has no rule, or a rule no field.
  """

  def decorate(cls: _Class) -> _Class:
    names = {field.name for field in dataclasses.fields(cls)}
    if odd := sorted(names ^ set(of_fields)):
      raise TypeError(
        f'{cls.__name__}: {", ".join(odd)} is a field without a rule, or a '
        'rule without a field; give each field a rule in @fields.rules.'
      )
    setattr(cls, _RULES, dict(of_fields))
    return cls

  return decorate


def rules_of(cls: type) -> Mapping[str, kinds.Rule]:
  """Returns the rules of a configuration, by field."""
  found: Mapping[str, kinds.Rule] = getattr(cls, _RULES)
  return found


def check(config: Any) -> None:
  """Holds each field to its rule, and puts values into their normal form.

  Raises:
    FieldError: With field, value, rule and likely fix.
  """
  of_fields = rules_of(type(config))
  for field in dataclasses.fields(config):
    rule, value = of_fields[field.name], getattr(config, field.name)
    if not rule.accepts(value):
      name = f'{type(config).__name__}.{field.name}'
      text = ', a text' if _is_other_text(value, rule) else ''
      raise FieldError(
        f'`{name}` is {_shown(value)}{text}; it must be {rule.words}. '
        f'{_likely_fix(field, value, rule)}',
        field=name,
        value=value,
      )
    kept = rule.normal(value)
    if kept is not value:
      object.__setattr__(config, field.name, kept)


def require(
  condition: object, field: str, *, value: object, rule: str, fix: str
) -> None:
  """Raises a FieldError unless a rule on several fields holds.

  Args:
    condition: Whether it holds.
    field: The one to change, such as 'DataConfig.batch_size'.
    value: What it is.
    rule: What it has to be, such as 'must be even with mixup'.
    fix: What to do.
  """
  if not condition:
    raise FieldError(
      f'`{field}` is {_shown(value)}, but {rule}; {fix}.',
      field=field,
      value=value,
    )


def _shown(value: Any) -> str:
  try:
    text = repr(value)
  except ValueError:  # An integer of thousands of digits.
    return f'a {type(value).__name__} that is too long to show'
  return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'


def _is_other_text(value: Any, rule: kinds.Rule) -> bool:
  """Whether this is a text where something else is expected."""
  return isinstance(value, str) and not isinstance(
    rule, kinds.Text | kinds.Choice
  )


def _likely_fix(
  field: dataclasses.Field[Any], value: Any, rule: kinds.Rule
) -> str:
  """Returns a sentence: what to write."""
  if isinstance(value, str):
    for meant in _unquoted(value):
      if rule.accepts(meant):
        return f'Write {field.name} = {meant!r}, without quotes.'
    if near := nearest(value, rule.choices()):
      return f'Did you mean {near!r}?'
  for meant in _conversions(value):
    if rule.accepts(meant):
      return f'Write {field.name} = {meant!r}.'
  if isinstance(rule, kinds.Whole) and type(value) is int and value > rule.high:
    return f'It must be {rule.high} at most.'
  if rule.fix is not None:
    return rule.fix
  if field.default is not dataclasses.MISSING:
    return f'Leave it out for its default, {field.default!r}.'
  return 'Set it.'


def nearest(
  word: str, known: Iterable[str], *, cutoff: float = 0.5
) -> str | None:
  """Returns what was probably meant by a word that is not known.

  Args:
    word: What was written.
    known: What there is.
    cutoff: How like the word it has to be, from 0 to 1.
  """
  known = list(known)
  near = [each for each in known if each.lower() == word.strip().lower()]
  near = near or difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
  return near[0] if near else None


def _unquoted(text: str) -> Iterator[Any]:
  """Yields what a text would be without its quotes."""
  text = text.strip()
  for written in (text, text.capitalize()):
    try:
      yield ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
      continue


def _conversions(value: Any) -> Iterator[Any]:
  """Yields what may have been meant by a value of another type."""
  if isinstance(value, float) and math.isfinite(value) and value == int(value):
    yield int(value)
  if type(value) is int and value in (0, 1):
    yield bool(value)
  if isinstance(value, int | float) and not isinstance(value, bool):
    yield _shown(value)
  if not isinstance(value, tuple | list | dict):
    yield (value,)
  if isinstance(value, tuple | list) and len(value) == 1:
    yield value[0]


@dataclasses.dataclass(frozen=True)
class Described:
  """A field, for a page of all parameters.

  Attributes:
    name: Of the field.
    words: What it has to be.
    default: As it would be written, or None where it has to be given.
    meaning: What the docstring of its class says of it.
  """

  name: str
  words: str
  default: str | None
  meaning: str


def describe(cls: type) -> tuple[Described, ...]:
  """Returns all fields of a configuration, in their order."""
  meanings = _meanings(cls)
  return tuple(
    Described(
      name=field.name,
      words=rules_of(cls)[field.name].words,
      default=None
      if field.default is dataclasses.MISSING
      else repr(field.default),
      meaning=meanings.get(field.name, ''),
    )
    for field in dataclasses.fields(cls)
  )


def _meanings(cls: type) -> dict[str, str]:
  """Returns what stands under 'Attributes:' of a class, by name."""
  lines = inspect.cleandoc(cls.__doc__ or '').partition('Attributes:\n')[2]
  found: dict[str, str] = {}
  for line in lines.splitlines():
    if match := re.match(r'  (\w+): (.*)', line):
      name = match.group(1)
      found[name] = match.group(2)
    elif not line.startswith('    '):
      break
    else:
      found[name] += f' {line.strip()}'
  return found
