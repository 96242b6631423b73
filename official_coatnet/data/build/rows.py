"""Images with several labels, from a list of rows: JSON lines or CSV.

For JFT-like, weakly labelled corpora. Each row names an image and its labels,
with or without confidences:

    {"image": "3/17.jpg", "labels": [4, 20], "confidences": [0.9, 0.25]}

The names of COYO-Labeled do as well: `label_probs` for the confidences, and
where there is no `image` (or `path`, `file_name`) the image is `<id>.jpg`. In
CSV, whose first line names the columns, lists are written as JSON or separated
by spaces or semicolons. Labels are 0-based numbers, or names if the classes are
named. Rows are found again by their offset in the list, so that hundreds of
millions need no more memory than a number each.
"""

import array
import csv
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet.data import manifest as manifest_lib
from official_coatnet.data import records, schema, storage
from official_coatnet.data.build import corpus, encoding

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
    if isinstance(label, bool) or str(label).strip() != str(_number(label)):
      raise ValueError(f'label {label!r} is no class number and no class name')
    number = _number(label)
    limit = self.num_classes or _MAX_CLASSES
    if not 0 <= number < limit:
      raise ValueError(f'label {number} is not in [0, {limit})')
    return number


def rows_splits(
  list_path: str,
  *,
  input_dir: str,
  num_classes: int | None = None,
  class_names: Sequence[str] | None = None,
  validation_fraction: float = 0.0,
  seed: int = 0,
) -> list[corpus.Split]:
  """Returns what the splits of a list of images are made of.

  Args:
    list_path: the list; CSV if its name ends with .csv, else JSON lines.
    input_dir: folder of the images.
    num_classes: number of classes; None for that of `class_names`, or else one
      more than the largest label.
    class_names: names of the classes in order, or None.
    validation_fraction: share of the images to hold out as 'validation', by a
      hash of their names.
    seed: seed of the order of the images.

  Returns:
    The splits. Rows that cannot be read count as images that cannot.

  Raises:
    ValueError: if there is no list, no row in it, or an argument is off.
  """
  corpus.check_fraction('validation_fraction', validation_fraction)
  if not tf.io.gfile.exists(list_path) or tf.io.gfile.isdir(list_path):
    raise ValueError(
      f'list_path is {list_path!r}, but there is no such file; give a file of '
      'JSON lines, or CSV.'
    )
  reader = RowReader(
    columns=_read_columns(list_path),
    num_classes=num_classes or (class_names and len(class_names)),
    class_numbers=class_names
    and {name: number for number, name in enumerate(class_names)},
  )
  offsets, held_out, max_label, checksum = _scan(
    list_path, reader, validation_fraction=validation_fraction
  )
  if not len(offsets):
    raise ValueError(f'list_path is {list_path!r}, but has no rows.')
  reader = dataclasses.replace(
    reader, num_classes=reader.num_classes or max_label + 1
  )
  make = functools.partial(
    corpus.Split,
    schema='multilabel',
    num_classes=reader.num_classes,
    label_offset=0,
    fingerprint=corpus.fingerprint(
      checksum, validation_fraction, seed, reader.num_classes, class_names
    ),
    class_names=None if class_names is None else tuple(class_names),
  )
  select = functools.partial(
    _select, list_path, input_dir=input_dir, reader=reader
  )
  splits = []
  for name, chosen in (('train', ~held_out), ('validation', held_out)):
    part = offsets[chosen]
    mixed = part[corpus.shuffled(len(part), seed=seed)]
    if len(part):
      splits.append(
        make(
          name=name,
          num_examples=len(part),
          select=functools.partial(select, offsets=mixed),
        )
      )
  return splits


@dataclasses.dataclass(frozen=True)
class ListedImages:
  """Images of a list, as an iterable of records.

  Attributes:
    list_path: the list.
    offsets: int64 [n], where their rows begin.
    input_dir: folder of the images.
    reader: how rows are read.
  """

  list_path: str
  offsets: np.ndarray
  input_dir: str
  reader: RowReader

  def __iter__(self) -> Iterator[records.Record | manifest_lib.Failure]:
    with storage.open_binary(self.list_path) as file:
      for offset in self.offsets:
        file.seek(int(offset))
        yield self._make_record(file.readline(), offset=int(offset))

  def _make_record(
    self, line: bytes, *, offset: int
  ) -> records.Record | manifest_lib.Failure:
    name = f'{os.path.basename(self.list_path)} at byte {offset}'
    try:
      row = self.reader.read(line.decode())
      name = row.image
      path = os.path.join(self.input_dir, row.image)
      with tf.io.gfile.GFile(path, 'rb') as file:
        contents = file.read()
      encoded, _, _ = encoding.normalize_image(contents)
    except tf.errors.NotFoundError:
      return manifest_lib.Failure(name, f'no such file in {self.input_dir}')
    except (ValueError, tf.errors.OpError) as error:
      return manifest_lib.Failure(name, str(error))
    return records.Record(
      schema.serialize_multilabel(
        encoded, labels=row.labels, confidences=row.confidences, key=row.image
      ),
      labels=row.labels,
    )


def _select(
  list_path: str,
  examples: range,
  *,
  offsets: np.ndarray,
  input_dir: str,
  reader: RowReader,
) -> ListedImages:
  part = offsets[examples.start : examples.stop]
  return ListedImages(list_path, part, input_dir, reader)


def _read_columns(list_path: str) -> tuple[str, ...] | None:
  if not list_path.lower().endswith('.csv'):
    return None
  with tf.io.gfile.GFile(list_path, 'rb') as file:
    line = file.readline().decode('utf-8-sig')
  return tuple(name.strip() for name in next(csv.reader([line]), []))


def _scan(
  list_path: str, reader: RowReader, *, validation_fraction: float
) -> tuple[np.ndarray, np.ndarray, int, str]:
  """Reads the list once.

  Returns:
    Offsets of the rows, int64 [n]; which are held out, bool [n]; the largest
    label; a checksum of the list.
  """
  offsets, held_out = array.array('q'), array.array('b')
  max_label, offset, digest = -1, 0, hashlib.sha256()
  with storage.open_binary(list_path) as file:
    while line := file.readline():
      # Not the length of the line: TensorFlow drops carriage returns.
      start, offset = offset, file.tell()
      digest.update(line)
      if not line.strip() or (start == 0 and reader.columns is not None):
        continue
      try:
        row = reader.read(line.decode())
      except ValueError:
        # It fails again, and is counted, when its record is to be made.
        held = False
      else:
        held = corpus.hash_fraction(row.image) < validation_fraction
        max_label = max(max_label, *row.labels, -1)
      offsets.append(start)
      held_out.append(held)
  return (
    np.frombuffer(offsets, np.int64) if offsets else np.zeros(0, np.int64),
    np.array(held_out, bool),
    max_label,
    digest.hexdigest(),
  )


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
  except (TypeError, ValueError):
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
