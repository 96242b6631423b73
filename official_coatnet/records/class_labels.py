"""From what a list says of an image's labels to numbers of classes.

Nothing is guessed. Where classes have names, a label is one if it is the whole
of a name; text that is not is split at `;`, or at another separator that is
asked for, since names hold blanks and commas themselves. Numbers are names,
too, then, unless it is said that they are numbers of classes. Where classes
have no names, labels are their numbers from 0, which blanks separate as well.
"""

import dataclasses
import difflib
import functools
import itertools
import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import manifest as manifest_lib

NUMERIC_LABELS = ('ids', 'names')
# A label beyond it is a mistake, and would not fit the arrays of the readers.
_MAX_CLASSES = 1 << 31
# What lists are separated by where nothing is said.
_SEPARATOR = ';'
# Numbers hold these, and JSON begins with the others.
_NO_SEPARATORS = '.+-[]{}"\\'
# Nearest matches to look for: each takes a tenth of a second among the names of
# ImageNet-21K, and a list with the wrong names has nothing else.
_MAX_NEAREST = 100


class UnknownLabelError(ValueError):
  """There is no class of that name.

  Attributes:
    label: the name.
  """

  def __init__(self, label: str):
    super().__init__(f'label {label!r} is no class name')
    self.label = label


def read_class_names(path: str) -> list[str]:
  """Reads the names of the classes, one a line, in the order of their numbers.

  Args:
    path: a text file in UTF-8. White space at the ends of a line is dropped,
      and so are blank lines at the end of the file.

  Raises:
    ValueError: if it cannot be read, a line is blank, holds a control character
      such as a tab, or is there twice; with the number of the line.
  """
  try:
    text = files.read_text(path)
  except tf.errors.OpError as error:
    raise ValueError(
      f'class_names is {path!r}, but cannot be read ({error.message}); give a '
      'text file of the names of the classes, one a line.'
    ) from error
  # Not splitlines(), which splits at rare characters, and counts other lines
  # than an editor does.
  names = [line.strip() for line in text.rstrip().split('\n')]
  lines: dict[str, int] = {}
  for line, name in enumerate(names, start=1):
    problem = ''
    first = lines.setdefault(_key(name), line)
    if not name:
      problem = 'is blank, but the place of a line is the number of its class'
    elif name != manifest_lib.printable(name):
      problem = 'holds a tab or another control character, but must be a name'
    elif first != line:
      problem = f'is the same as line {first}, but a name means one class'
    if problem:
      name = manifest_lib.printable(name)
      raise ValueError(
        f"class_names: {path}, line {line}, '{name}', {problem}."
      )
  return names


@dataclasses.dataclass(frozen=True)
class LabelReader:
  """How labels are read.

  Attributes:
    num_classes: number of classes, or None if not known.
    class_names: names of the classes in order; None if they have no names.
    separator: what separates the labels in a text, a single character; None
      for `;`, and where classes have no names for blanks as well.
    numeric: what numbers are where classes have names: 'ids' (numbers of
      classes, from 0), 'names', or None to refuse those that could be either.

  Raises:
    ValueError: if one of them is off.
  """

  num_classes: int | None
  class_names: tuple[str, ...] | None = None
  separator: str | None = None
  numeric: str | None = None

  def __post_init__(self):
    names = self.class_names
    if names and self.num_classes not in (None, len(names)):
      raise ValueError(
        f'num_classes is {self.num_classes}, but class_names has {len(names)} '
        'names; they must be as many. Leave num_classes out.'
      )
    if self.numeric not in (None, *NUMERIC_LABELS):
      raise ValueError(
        f'numeric_labels is {self.numeric!r}, but must be one of '
        f'{NUMERIC_LABELS}.'
      )
    if self.numeric == 'names' and not names:
      raise ValueError(
        "numeric_labels is 'names', but there are no names; give class_names."
      )
    separator = self.separator
    if separator is not None and (
      len(separator) != 1 or separator.isalnum() or separator in _NO_SEPARATORS
    ):
      raise ValueError(
        f'label_separator is {separator!r}, but must be a single character, '
        f'no letter or digit, and none of {_NO_SEPARATORS}; such as "|".'
      )

  def read(self, value: Any) -> tuple[int, ...]:
    """Returns the classes that a value means.

    Args:
      value: a list of labels; or text, which may be one label, a list as JSON,
        or labels with separators; or a number.

    Raises:
      UnknownLabelError: if a label is the name of no class.
      ValueError: if a label is none, or could be two.
    """
    if isinstance(value, str):
      labels = self._split(value)
    else:
      labels = value if isinstance(value, list) else [value]
    try:
      return tuple(self._class_of(label) for label in labels)
    except UnknownLabelError as error:
      error.args = (f'{error}{self._hint(value, error.label)}',)
      raise

  def _split(self, text: str) -> list[Any]:
    text = text.strip()
    if self._find(text) is not None:
      return [text]
    if text.startswith('['):
      try:
        return json.loads(text)
      except ValueError as error:
        raise ValueError(
          f'labels {text!r} begin as a JSON list, but are none: {error}'
        ) from error
    separator = self.separator or _SEPARATOR
    if not self.class_names or self.numeric == 'ids':
      numbers = split_numbers(text, self.separator)
      if not self.class_names or all(map(_is_number, numbers)):
        return numbers
    labels = _pieces(text, separator)
    if self._names_in_pieces:
      self._check_pieces(labels, separator=separator)
    return labels

  def _check_pieces(self, labels: list[str], *, separator: str) -> None:
    """Refuses a text that is labels, and a name that holds the separator."""
    for start, end in itertools.combinations(range(len(labels) + 1), 2):
      part = tuple(map(_key, labels[start:end]))
      if len(part) > 1 and part in self._names_in_pieces:
        raise ValueError(
          f'labels {labels}, or the class {separator.join(part)!r}, whose name '
          f'holds the separator {separator!r}; set another as label_separator, '
          'or write a JSON list'
        )

  def _class_of(self, label: Any) -> int:
    number = None
    ids = not self.class_names or self.numeric == 'ids'
    # Nearly all labels are text, of hundreds of millions: it is looked up.
    if (ids or not isinstance(label, str)) and _is_number(label):
      number = int(label)
    if not self.class_names or (ids and number is not None):
      return self._check_number(label, number)
    if not isinstance(label, str) and number is None:
      raise ValueError(f'label {label!r} is no class number and no class name')
    text = str(label)
    found = self._find(text)
    if found is None:
      raise UnknownLabelError(text)
    if (
      not isinstance(label, str)
      and number is not None
      and self.numeric is None
      and found != number
      and 0 <= number < len(self.class_names)
    ):
      raise ValueError(
        f'label {label} may be the class of that name, whose number is '
        f'{found}, or class number {number} from 0, '
        f'{self.class_names[number]!r}; say which by numeric_labels=names or '
        'numeric_labels=ids'
      )
    return found

  def _check_number(self, label: Any, number: int | None) -> int:
    if number is None:
      hint = '; give class_names' if isinstance(label, str) else ''
      raise ValueError(
        f'label {label!r} is no class number and no class name{hint}'
      )
    limit = self.num_classes or len(self.class_names or ()) or _MAX_CLASSES
    if not 0 <= number < limit:
      raise ValueError(f'label {number} is not in [0, {limit})')
    return number

  def _hint(self, value: Any, label: str) -> str:
    """Says what may be meant by a label in `value` that is no name."""
    hints = []
    words = label.split()
    if (
      isinstance(value, str)
      and len(words) > 1
      and self.separator is None
      and all(
        _is_number(each) or self._find(each) is not None for each in words
      )
    ):
      hints.append("label_separator=' ' if blanks separate labels")
    if self.numeric is None and words and all(map(_is_number, words)):
      hints.append('numeric_labels=ids if numbers are those of classes, from 0')
    return f'; set {" or ".join(hints)}' if hints else ''

  def _find(self, label: str) -> int | None:
    return self._numbers.get(_key(label))

  @functools.cached_property
  def _numbers(self) -> dict[str, int]:
    return {_key(name): i for i, name in enumerate(self.class_names or ())}

  @functools.cached_property
  def _names_in_pieces(self) -> frozenset[tuple[str, ...]]:
    """The names that hold the separator, as it would split them."""
    separator = self.separator or _SEPARATOR
    return frozenset(
      tuple(map(_key, _pieces(name, separator)))
      for name in self.class_names or ()
      if separator in name
    )


class NearestNames:
  """Finds the names of classes that labels were perhaps meant to be.

  It answers so many times only, as whoever has the wrong names has them
  everywhere.
  """

  def __init__(self, class_names: Sequence[str]):
    self._names = {name.casefold(): name for name in class_names}
    self._hints: dict[str, str] = {}

  def hint(self, label: str) -> str:
    """Returns the end of a sentence that names the nearest, or ''."""
    if _is_number(label):
      return ''
    if label not in self._hints and len(self._hints) < _MAX_NEAREST:
      near = difflib.get_close_matches(label.casefold(), self._names, n=1)
      self._hints[label] = (
        f'; the nearest is {self._names[near[0]]!r}' if near else ''
      )
    return self._hints.get(label, '')


def split_numbers(text: str, separator: str | None) -> list[str]:
  """Splits numbers at blanks, at `;`, and at `separator` if it is not None."""
  return text.replace(separator or ';', ' ').replace(';', ' ').split()


def _pieces(text: str, separator: str) -> list[str]:
  pieces = (piece.strip() for piece in text.split(separator))
  return [piece for piece in pieces if piece]


def _is_number(label: Any) -> bool:
  """Whether it is a whole number, or text that reads as one and no other."""
  if isinstance(label, bool) or not isinstance(label, (int, str)):
    return False
  try:
    return str(label).strip() == str(int(label))
  except ValueError:
    return False


def _key(name: str) -> str:
  # Macs write an accent as a character of its own: the same name all the same.
  return unicodedata.normalize('NFC', name.strip())
