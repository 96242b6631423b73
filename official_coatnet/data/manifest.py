"""The manifest of a split: what its files hold, written beside them.

It is written last, so that where it is, the split is complete. Readers learn
from it how many records each file has, checks find missing and shortened files,
and labels out of range, without reading a record.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Failure:
  """An image that was left out.

  Attributes:
    name: what it is called where it comes from.
    reason: why it was left out.
  """

  name: str
  reason: str


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
      )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise ValueError(
        f'{origin} is not a manifest of this package ({error!r}); delete it '
        'and build the records again, or move it away to read the files '
        'without it.'
      ) from error
    return manifest
