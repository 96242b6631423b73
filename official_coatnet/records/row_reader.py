"""Reading a row of a list of images with several labels.

A row names an image and its labels, with or without confidences:

    {"image": "3/17.jpg", "labels": [4, 20], "confidences": [0.9, 0.25]}

The names of COYO-Labeled do as well: `label_probs` for the confidences, and
where there is no `image` (or `path`, `file_name`) the image is `<id>.jpg`. In
CSV, whose first line names the columns, lists are written as JSON or with
separators, of which `class_labels` has the rules.
"""

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from official_coatnet.records import class_labels

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
    labels: how their labels are read.
  """

  columns: tuple[str, ...] | None
  labels: class_labels.LabelReader

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
    _check_path(image)
    value = _first(fields, _LABEL_KEYS)
    if value is None:
      raise ValueError(f'{image} has no labels')
    try:
      labels = self.labels.read(value)
    except ValueError as error:
      error.args = (f'{image}: {error}',)
      raise
    # An empty cell of CSV is no confidence, rather than none of several.
    given = self._numbers(_first(fields, _CONFIDENCE_KEYS)) or None
    return Row(
      image,
      labels,
      None if given is None else _check_confidences(given, labels),
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

  def _numbers(self, value: Any) -> list[Any] | None:
    """Returns numbers that a row holds as a list, as JSON or as text."""
    if not isinstance(value, str):
      return value if value is None or isinstance(value, list) else [value]
    if value.lstrip().startswith('['):
      return json.loads(value)
    return class_labels.split_numbers(value, self.labels.separator)


def _first(fields: Mapping[str, Any], keys: Sequence[str]) -> Any:
  return next((fields[k] for k in keys if fields.get(k) is not None), None)


def read_columns(line: str, *, origin: str) -> tuple[str, ...]:
  """Returns the names of the columns from the first line of CSV.

  Args:
    line: the line.
    origin: path of the list, for the error message.

  Raises:
    ValueError: if none of them is that of the images, or of the labels, or one
      of these is there twice.
  """
  try:
    columns = tuple(name.strip() for name in next(csv.reader([line]), []))
  except csv.Error as error:
    raise ValueError(f'{origin}, line 1, is not CSV: {error}') from error
  for keys in ((*_IMAGE_KEYS, 'id'), _LABEL_KEYS):
    if not set(keys) & set(columns):
      raise ValueError(
        f'{origin}, line 1: the columns are {list(columns)}, but one must be '
        f'called {" or ".join(keys)}; the first line of CSV names the columns, '
        'separated by commas.'
      )
  for key in (*_IMAGE_KEYS, 'id', *_LABEL_KEYS, *_CONFIDENCE_KEYS):
    if columns.count(key) > 1:
      raise ValueError(
        f'{origin}, line 1: {columns.count(key)} columns are called {key!r}; '
        'which one counts? Several labels go into one cell: "cat;dog".'
      )
  return columns


def _check_path(image: str) -> None:
  """Refuses paths that lead out of the folder of images, or are none."""
  if '\0' in image or any('\ud800' <= letter <= '\udfff' for letter in image):
    raise ValueError(f'{image} is no name of a file in UTF-8')
  if (
    image.startswith(('/', '\\')) or '://' in image or '..' in image.split('/')
  ):
    raise ValueError(f'{image} leads out of the folder of images')


def _check_confidences(
  confidences: Sequence[Any], labels: Sequence[Any]
) -> tuple[float, ...]:
  values = tuple(float(each) for each in confidences)
  if len(values) != len(labels):
    raise ValueError(f'{len(values)} confidences for {len(labels)} labels')
  if not all(0 <= value <= 1 for value in values):
    raise ValueError(f'confidences {values} are not all in [0, 1]')
  return values
