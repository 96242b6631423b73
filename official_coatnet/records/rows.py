"""Images with several labels, from a list of rows: JSON lines or CSV.

For JFT-like, weakly labelled corpora; `row_reader` says what a row may look
like. Rows are found again by their offset in the list, so that hundreds of
millions need no more memory than a number each.
"""

import array
import csv
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import image_files, manifest as manifest_lib, schema
from official_coatnet.records import corpus, row_reader, writing


@dataclasses.dataclass(frozen=True)
class _Scan:
  """What reading a list once has told.

  Attributes:
    path: the list.
    reader: how its rows are read.
    offsets: where they begin, int64 [n].
    held_out: which of them a share holds out, bool [n].
    max_label: the largest label; -1 if there is none.
    checksum: of the list.
  """

  path: str
  reader: row_reader.RowReader
  offsets: np.ndarray
  held_out: np.ndarray
  max_label: int
  checksum: str


def rows_splits(
  list_path: str,
  *,
  input_dir: str,
  validation_list: str | None = None,
  num_classes: int | None = None,
  class_names: Sequence[str] | None = None,
  validation_fraction: float = 0.0,
  seed: int = 0,
) -> list[corpus.Split]:
  """Returns what the splits of a list of images are made of.

  Args:
    list_path: the list; CSV if its name ends with .csv, else JSON lines.
    input_dir: folder of the images.
    validation_list: list of the images of split 'validation', or None to hold
      out `validation_fraction`.
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
  _check_held_out(validation_list, validation_fraction)
  names = class_names or ()
  reader = row_reader.RowReader(
    columns=None,
    num_classes=num_classes or len(names) or None,
    class_numbers={name: i for i, name in enumerate(names)} or None,
  )
  scan = functools.partial(
    _scan, reader=reader, validation_fraction=validation_fraction
  )
  parts = _scan_parts(scan, list_path, validation_list)
  largest = max(each.max_label for each in parts.values())
  return [
    _make_split(
      name,
      each,
      input_dir=input_dir,
      num_classes=reader.num_classes or largest + 1,
      class_names=class_names,
      validation_fraction=validation_fraction,
      seed=seed,
    )
    for name, each in parts.items()
    if len(each.offsets)
  ]


def _check_held_out(validation_list: str | None, fraction: float) -> None:
  corpus.check_fraction('validation_fraction', fraction)
  if validation_list and fraction:
    raise ValueError(
      f'validation_list is {validation_list!r} and validation_fraction '
      f'{fraction}, but one of them says what is held out; unset '
      'the other.'
    )


def _scan_parts(
  scan: Callable[[str, str], _Scan],
  list_path: str,
  validation_list: str | None,
) -> dict[str, _Scan]:
  """Scans the rows of each split, from one list or from two."""
  first = scan('list_path', list_path)
  if validation_list:
    second = scan('validation_list', validation_list)
    return {'train': first, 'validation': second}
  return {
    name: dataclasses.replace(first, offsets=first.offsets[chosen])
    for name, chosen in (
      ('train', ~first.held_out),
      ('validation', first.held_out),
    )
  }


def _make_split(
  name: str,
  scan: _Scan,
  *,
  input_dir: str,
  num_classes: int,
  class_names: Sequence[str] | None,
  validation_fraction: float,
  seed: int,
) -> corpus.Split:
  """Returns what the split of the rows in `scan` is made of."""
  mixed = scan.offsets[corpus.shuffled(len(scan.offsets), seed=seed)]
  return corpus.Split(
    name=name,
    schema='multilabel',
    num_classes=num_classes,
    num_examples=len(mixed),
    select=functools.partial(
      _select,
      scan.path,
      offsets=mixed,
      input_dir=input_dir,
      reader=dataclasses.replace(scan.reader, num_classes=num_classes),
    ),
    fingerprint=corpus.fingerprint(
      scan.checksum, validation_fraction, seed, num_classes, class_names
    ),
    label_offset=0,
    class_names=None if class_names is None else tuple(class_names),
  )


@dataclasses.dataclass(frozen=True)
class ListedImages:
  """Images of a list, as an iterable of records.

  Attributes:
    list_path: the list.
    offsets: int64 [n], where their rows begin.
    input_dir: folder of the images.
    reader: how rows are read.
    image_options: how image files are read.
  """

  list_path: str
  offsets: np.ndarray
  input_dir: str
  reader: row_reader.RowReader
  image_options: image_files.Options = image_files.Options()

  def __iter__(self) -> Iterator[writing.Record | manifest_lib.Failure]:
    with files.open_binary(self.list_path) as file:
      for offset in self.offsets:
        file.seek(int(offset))
        yield self._make_record(file.readline(), offset=int(offset))

  def _make_record(
    self, line: bytes, *, offset: int
  ) -> writing.Record | manifest_lib.Failure:
    name = f'{os.path.basename(self.list_path)} at byte {offset}'
    try:
      row = self.reader.read(line.decode())
      name = row.image
      path = os.path.join(self.input_dir, row.image)
      with tf.io.gfile.GFile(path, 'rb') as file:
        contents = file.read()
      encoded, _, _ = image_files.to_jpeg(contents, self.image_options)
    except tf.errors.NotFoundError:
      return manifest_lib.Failure(name, f'no such file in {self.input_dir}')
    except (ValueError, tf.errors.OpError) as error:
      return manifest_lib.Failure(name, str(error))
    return writing.Record(
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
  reader: row_reader.RowReader,
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
  name: str,
  path: str,
  *,
  reader: row_reader.RowReader,
  validation_fraction: float,
) -> _Scan:
  """Reads a list once; a ValueError if there is none, or no row in it."""
  if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
    raise ValueError(
      f'{name} is {path!r}, but there is no such file; give a file of '
      'JSON lines, or CSV.'
    )
  reader = dataclasses.replace(reader, columns=_read_columns(path))
  offsets, held_out = array.array('q'), array.array('b')
  max_label, offset, digest = -1, 0, hashlib.sha256()
  with files.open_binary(path) as file:
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
  if not offsets:
    raise ValueError(f'{name} is {path!r}, but has no rows.')
  return _Scan(
    path=path,
    reader=reader,
    offsets=np.frombuffer(offsets, np.int64),
    held_out=np.array(held_out, bool),
    max_label=max_label,
    checksum=digest.hexdigest(),
  )
