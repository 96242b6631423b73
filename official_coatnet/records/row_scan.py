"""Looking at a list of rows once: where its rows are, and what they come to.

Rows are found again by their offset in the list, so that hundreds of millions
need no more memory than a number each.
"""

import array
import codecs
import dataclasses
import hashlib

import numpy as np
import tensorflow as tf

from official_coatnet import files
from official_coatnet.records import corpus, row_reader


@dataclasses.dataclass(frozen=True)
class Scan:
  """What reading a list once has told.

  Attributes:
    path: the list.
    reader: how its rows are read.
    offsets: where they begin, int64 [n].
    held_out: which of them a share holds out, bool [n].
    max_label: the largest label; -1 if there is none.
    all_single: whether each row that could be read has exactly one label, and
      there is one.
    first_uncertain: the image of the first row with a confidence other than 1,
      or None.
    checksum: of the list.
  """

  path: str
  reader: row_reader.RowReader
  offsets: np.ndarray
  held_out: np.ndarray
  max_label: int
  all_single: bool
  first_uncertain: str | None
  checksum: str


def scan(
  name: str,
  path: str,
  *,
  reader: row_reader.RowReader,
  validation_fraction: float,
  single_label: bool = False,
) -> Scan:
  """Reads a list once.

  Args:
    name: the parameter that names the list, for messages.
    path: the list; CSV if its name ends with .csv, else JSON lines.
    reader: how its rows are read, but for columns.
    validation_fraction: share of the images to hold out, by a hash of their
      names.
    single_label: whether rows of one label count alone.

  Raises:
    ValueError: if there is no list, no row in it, it is not UTF-8, or its
      columns are not those of a list.
  """
  if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
    raise ValueError(
      f'{name} is {path!r}, but there is no such file; give a file of '
      'JSON lines, or CSV.'
    )
  reader = dataclasses.replace(reader, columns=_read_columns(path))
  offsets, held_out = array.array('q'), array.array('b')
  offset, digest, tally = 0, hashlib.sha256(), _Tally(single_label=single_label)
  with files.open_binary(path) as file:
    while line := file.readline():
      # Not the length of the line: TensorFlow drops carriage returns.
      start, offset = offset, file.tell()
      digest.update(line if start else line.removeprefix(codecs.BOM_UTF8))
      if not line.strip() or (start == 0 and reader.columns is not None):
        continue
      try:
        row = reader.read(decode(line))
      except ValueError:
        # It fails again, and is counted, when its record is to be made.
        held = False
      else:
        held = corpus.hash_fraction(row.image) < validation_fraction
        tally.add(row)
      offsets.append(start)
      held_out.append(held)
  if not offsets:
    raise ValueError(f'{name} is {path!r}, but has no rows.')
  return Scan(
    path=path,
    reader=reader,
    offsets=np.frombuffer(offsets, np.int64),
    held_out=np.array(held_out, bool),
    max_label=tally.max_label,
    all_single=tally.num_single == tally.num_rows > 0,
    first_uncertain=tally.first_uncertain,
    checksum=digest.hexdigest(),
  )


def decode(line: bytes) -> str:
  """Decodes a row; a ValueError if it is not UTF-8.

  Where lists were put together any row may begin with a byte order mark.
  """
  try:
    return line.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(f'its row in the list is not UTF-8: {error}') from error


class _Tally:
  """Counts what the rows come to."""

  def __init__(self, *, single_label: bool):
    self.max_label = -1
    self.num_rows = 0
    self.num_single = 0
    self.first_uncertain: str | None = None
    self._single_label = single_label

  def add(self, row: row_reader.Row) -> None:
    """Counts a row."""
    single = len(row.labels) == 1
    self.num_rows += 1
    self.num_single += single
    if single or not self._single_label:  # Others are left out.
      self.max_label = max(self.max_label, *row.labels, -1)
    if self.first_uncertain is None and set(row.confidences or ()) - {1.0}:
      self.first_uncertain = row.image


def _read_columns(path: str) -> tuple[str, ...] | None:
  """Returns the columns of CSV, None for JSON; refuses what is not UTF-8."""
  with files.open_binary(path) as file:
    line = file.readline()
  # Of other lists a row that is not UTF-8 is left out by name.
  files.refuse_utf16(line, origin=path)
  if not path.lower().endswith('.csv'):
    return None
  text = files.decode_text(line, origin=path)
  return row_reader.read_columns(text, origin=path) if line else ()
