"""The manifest of a split: what its files hold, written beside them.

It is written last, so that where it is, the split is complete. Readers learn
from it how many records each file has, checks find missing and shortened files,
and labels out of range, without reading a record.
"""

import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from official_coatnet.data import sketch as sketch_lib

# What has no place in a line of text: control characters, line breaks of all
# kinds, and the halves of characters that stand for bytes that are not UTF-8.
_UNPRINTABLE = ('Cc', 'Zl', 'Zp', 'Cs')
# Seen by nobody, and no part of a name.
_BYTE_ORDER_MARK = '\ufeff'


@dataclasses.dataclass(frozen=True)
class Failure:
  """An image that was left out.

  Attributes:
    name: what it is called where it comes from; made `printable`.
    reason: why it was left out; likewise.
  """

  name: str
  reason: str

  def __post_init__(self):
    # The names of files are bytes of somebody else's: whatever is in them, a
    # list of what was left out can be printed and stored.
    object.__setattr__(self, 'name', printable(self.name))
    object.__setattr__(self, 'reason', printable(self.reason))


@dataclasses.dataclass(frozen=True)
class FileEntry:
  """What the manifest says of one file.

  Attributes:
    name: file name, without folder.
    records: number of records.
    bytes: size of the file.
    sha256: checksum of the file, in hexadecimal.
  """

  name: str
  records: int
  bytes: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """Files of a source that no split has, for one reason.

  Attributes:
    reason: why they were left out.
    count: how many there are.
    names: the names of the first of them.
  """

  reason: str
  count: int
  names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Build:
  """What the splits that were made together share.

  Attributes:
    mark: stands for all that they were made from; equal in all of them, and in
      no others.
    splits: how many images each of them was made from, by name: those of its
      records, and those that could not be read.
    left_out: what was found at the source and belongs to none of them.
  """

  mark: str
  splits: Mapping[str, int]
  left_out: tuple[LeftOut, ...] = ()

  @classmethod
  def from_fields(cls, fields: Mapping[str, Any] | None) -> 'Build | None':
    """Returns what a manifest file says of it; None where it is silent."""
    if fields is None:
      return None
    left_out = (
      LeftOut(each['reason'], int(each['count']), tuple(each['names']))
      for each in fields['left_out']
    )
    splits = {name: int(count) for name, count in fields['splits'].items()}
    return cls(str(fields['mark']), splits, tuple(left_out))


@dataclasses.dataclass(frozen=True)
class Manifest:
  """Contents of one split, kept as `manifest-<split>.json` beside its files.

  Attributes:
    split: name of the split.
    schema: name of the record schema.
    num_classes: number of classes of the corpus.
    label_offset: what to add to a stored label to get a class in
      [0, num_classes).
    files: the files, sorted by name.
    label_counts: how often each stored label occurs.
    class_names: names of the classes in order, or None.
    fingerprint: stands for all that the records were made from and with, so
      that a builder can tell whether they would come out the same; or None.
    failures: images that were left out.
    exif_orientation: whether images were turned as their EXIF data say before
      they became records; who predicts has to do the same.
    build: what it has in common with the splits that were made together with
      it; None where nobody knows.
    sketch: by which images of other splits are known again; or None.
  """

  split: str
  schema: str
  num_classes: int
  label_offset: int
  files: tuple[FileEntry, ...]
  label_counts: Mapping[int, int]
  class_names: tuple[str, ...] | None = None
  fingerprint: str | None = None
  failures: tuple[Failure, ...] = ()
  exif_orientation: bool = False
  build: Build | None = None
  sketch: sketch_lib.Sketch | None = None

  @property
  def num_examples(self) -> int:
    """Number of records in all files."""
    return sum(file.records for file in self.files)

  @property
  def content(self) -> str:
    """Checksum of the checksums of all files, in hexadecimal."""
    checksums = ','.join(file.sha256 for file in self.files)
    return hashlib.sha256(checksums.encode()).hexdigest()

  def to_json(self) -> str:
    """Returns the text of the manifest file; equal manifests, equal text."""
    fields = dataclasses.asdict(self)
    if self.sketch is not None:
      fields['sketch'] = self.sketch.to_fields()
    fields['version'] = 1
    fields['num_examples'] = self.num_examples
    fields['num_failures'] = len(self.failures)
    fields['label_counts'] = {
      str(label): self.label_counts[label]
      for label in sorted(self.label_counts)
    }
    return json.dumps(fields, indent=1) + '\n'

  @classmethod
  def from_json(cls, text: str, *, origin: str) -> 'Manifest':
    """Reads the text of a manifest file.

    Args:
      text: what `to_json` wrote.
      origin: path of the file, for the error message.

    Returns:
      The manifest.

    Raises:
      ValueError: if the text is not a manifest.
    """
    try:
      fields: dict[str, Any] = json.loads(text)
      names = fields.get('class_names')
      counts = fields['label_counts']
      manifest = cls(
        split=fields['split'],
        schema=fields['schema'],
        num_classes=int(fields['num_classes']),
        label_offset=int(fields['label_offset']),
        files=tuple(FileEntry(**file) for file in fields['files']),
        label_counts={int(label): int(n) for label, n in counts.items()},
        class_names=None if names is None else tuple(names),
        fingerprint=fields.get('fingerprint'),
        failures=tuple(Failure(**each) for each in fields.get('failures', ())),
        exif_orientation=bool(fields.get('exif_orientation', False)),
        build=Build.from_fields(fields.get('build')),
        sketch=sketch_lib.Sketch.from_fields(fields.get('sketch')),
      )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise ValueError(
        f'{origin} is not a manifest of this package ({error}); delete it '
        'and build the records again, or move it away to read the files '
        'without it.'
      ) from error
    return manifest


def printable(name: str | bytes) -> str:
  """Returns a name as text that can be printed and stored.

  Args:
    name: the name of a file, as bytes or as `os.listdir` returns it, or any
      text.

  Returns:
    The name, with escapes as Python writes them in place of bytes that are not
    UTF-8, and of control characters. Any other text stays as it is.
  """
  if isinstance(name, bytes):
    name = name.decode(errors='surrogateescape')
  return ''.join(
    _escape(letter) if _is_unprintable(letter) else letter for letter in name
  )


def check_class_names(names: Sequence[str]) -> None:
  """Raises a ValueError if a class cannot be called so.

  Class names become lines of text files, which have no place for a line break,
  and whose readers drop white space at both ends.

  Args:
    names: names of the classes in order.

  Raises:
    ValueError: if a name holds a control character or is not UTF-8, is empty,
      or is that of another class; with the name and its number from 0.
  """
  numbers: dict[str, int] = {}
  for number, name in enumerate(names):
    problem = ''
    if any(map(_is_unprintable, name)):
      problem = 'holds a line break, a control character or what is not UTF-8'
    elif not name.strip():
      problem = 'is empty'
    elif (first := numbers.setdefault(name.strip(), number)) != number:
      problem = f'is the name of class number {first} as well'
      if name != names[first]:
        problem += ', but for white space at its ends'
    if problem:
      raise ValueError(
        f"class_names: '{printable(name)}', class number {number} from 0, "
        f'{problem}; each class needs a name of its own, of one line. Rename '
        'the class (or its folder), and build the records again.'
      )


def _is_unprintable(letter: str) -> bool:
  if ' ' <= letter <= '~':  # Nearly all of them: unicodedata takes longer.
    return False
  category = unicodedata.category(letter)
  return category in _UNPRINTABLE or letter == _BYTE_ORDER_MARK


def _escape(letter: str) -> str:
  number = ord(letter)
  if 0xDC80 <= number <= 0xDCFF:  # A byte, as file names have them in Python.
    return f'\\x{number - 0xDC00:02x}'
  return letter.encode('unicode_escape').decode()
