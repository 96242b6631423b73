"""Reading a row of a list of images with several labels.

A row names an image and its labels, with or without confidences:

    {"image": "3/17.jpg", "labels": [4, 20], "confidences": [0.9, 0.25]}

The names of COYO-Labeled do as well: `label_probs` for the confidences, and
where there is no `image` (or `path`, `file_name`) the image is `<id>.jpg`. In
CSV, whose first line names the columns, lists are written as JSON or separated
by spaces or semicolons. Labels are 0-based numbers, or names if the classes are
named.
"""

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

# A label beyond it is a mistake, and would not fit the arrays of the readers.
_MAX_CLASSES = 1 << 31
_IMAGE_KEYS = ('image', 'path', 'file_name', 'filename')
_LABEL_KEYS = ('labels', 'label')
_CONFIDENCE_KEYS = ('confidences', 'label_probs', 'confidence', 'probs')


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of the list.

  Attributes:
    image: path of the image within the folder of images.
    labels: its classes, 0-based.
    confidences: as many, or None.
  """

  image: str
  labels: tuple[int, ...]
  confidences: tuple[float, ...] | None


@dataclasses.dataclass(frozen=True)
class RowReader:
  """How rows are read.

  Attributes:
    columns: names of the columns of CSV; None for JSON lines.
    num_classes: number of classes, or None if not known.
    class_numbers: number of each named class; None if they have no names.
  """

  columns: tuple[str, ...] | None
  num_classes: int | None
  class_numbers: Mapping[str, int] | None

  def read(self, line: str) -> Row:
    """Reads a line; a ValueError says what is wrong with it."""
    try:
      return self._read(line)
    except (TypeError, csv.Error, RecursionError) as error:
      raise ValueError(f'not a row of images and labels: {error}') from error

  def _read(self, line: str) -> Row:
    fields = self._fields(line)
    image = next((fields[key] for key in _IMAGE_KEYS if fields.get(key)), None)
    if image is None and fields.get('id') is not None:
      image = f'{fields["id"]}.jpg'
    if not isinstance(image, str):
      raise ValueError(
        f'no image in the row, which has {sorted(fields)}; name it by '
        f'{" or ".join(_IMAGE_KEYS)}'
      )
    labels = _as_list(_first(fields, _LABEL_KEYS))
    if labels is None:
      raise ValueError(f'{image} has no labels')
    # An empty cell of CSV is no confidence, rather than none of several.
    confidences = _as_list(_first(fields, _CONFIDENCE_KEYS)) or None
    return Row(
      _check_path(image),
      tuple(self._class_of(label) for label in labels),
      None if confidences is None else _check_confidences(confidences, labels),
    )

  def _fields(self, line: str) -> Mapping[str, Any]:
    if self.columns is None:
      fields = json.loads(line)
      if not isinstance(fields, dict):
        raise ValueError('not a JSON object')
      return fields
    (values,) = csv.reader([line])
    if len(values) != len(self.columns):
      raise ValueError(f'{len(values)} values for {len(self.columns)} columns')
    return dict(zip(self.columns, values))

  def _class_of(self, label: Any) -> int:
    if self.class_numbers is not None and label in self.class_numbers:
      return self.class_numbers[label]
    number = None if isinstance(label, bool) else _number(label)
    if number is None or str(label).strip() != str(number):
      raise ValueError(f'label {label!r} is no class number and no class name')
    limit = self.num_classes or _MAX_CLASSES
    if not 0 <= number < limit:
      raise ValueError(f'label {number} is not in [0, {limit})')
    return number


def _first(fields: Mapping[str, Any], keys: Sequence[str]) -> Any:
  return next((fields[k] for k in keys if fields.get(k) is not None), None)


def _as_list(value: Any) -> list[Any] | None:
  """Returns a list that a row holds as such, as JSON or as text."""
  if not isinstance(value, str):
    return value if value is None or isinstance(value, list) else [value]
  if value.lstrip().startswith('['):
    return json.loads(value)
  return value.replace(';', ' ').split()


def _number(value: Any) -> int | None:
  try:
    return int(value)
  except (TypeError, ValueError, OverflowError):  # The last of an infinity.
    return None


def _check_path(image: str) -> str:
  """Refuses paths that lead out of the folder of images."""
  if (
    image.startswith(('/', '\\')) or '://' in image or '..' in image.split('/')
  ):
    raise ValueError(f'{image} leads out of the folder of images')
  return image


def _check_confidences(
  confidences: Sequence[Any], labels: Sequence[Any]
) -> tuple[float, ...]:
  values = tuple(float(each) for each in confidences)
  if len(values) != len(labels):
    raise ValueError(f'{len(values)} confidences for {len(labels)} labels')
  if not all(0 <= value <= 1 for value in values):
    raise ValueError(f'confidences {values} are not all in [0, 1]')
  return values
