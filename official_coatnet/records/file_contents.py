"""What was found in the files of a split, and what is wrong between them."""

import collections
import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from official_coatnet.data.manifest import FileEntry, Manifest

# Problems of one kind that are spelt out; the rest is counted.
_MAX_LISTED = 100


@dataclasses.dataclass(frozen=True)
class FileContents:
  """What is in a file.

  Attributes:
    entry: what a manifest would say of it.
    label_counts: how often each stored label occurs.
    problems: sentences.
    offsets: int64 [n], where the records begin.
    image_hashes: uint64 [n], of the images.
    name_hashes: uint64 [n], of their names; 0 for none.
    compression: 'GZIP' or 'ZLIB' if the file is compressed, or None.
  """

  entry: FileEntry
  label_counts: collections.Counter
  problems: tuple[str, ...]
  offsets: np.ndarray
  image_hashes: np.ndarray
  name_hashes: np.ndarray
  compression: str | None = None


def find_mixture(contents: Sequence[FileContents], *, folder: str) -> list[str]:
  """Finds files that are not compressed as the others are."""
  found: dict[str | None, str] = {}
  for each in contents:
    found.setdefault(each.compression, each.entry.name)
  if len(found) < 2:
    return []
  listed = ', '.join(
    f'{name} {"is not" if kind is None else f"by {kind.lower()}"}'
    for kind, name in found.items()
  )
  return [
    f'{folder}: files are compressed in different ways ({listed}), but a run '
    'reads one kind; repair writes all of them uncompressed.'
  ]


def find_duplicates(
  contents: Sequence[FileContents], *, folder: str
) -> list[str]:
  """Finds images, and names of images, that are there more than once."""
  sizes = [len(each.offsets) for each in contents]
  of_file = np.repeat(np.arange(len(contents)), sizes)
  nothing = [np.empty(0)]
  offsets = np.concatenate([each.offsets for each in contents] or nothing)
  problems = []
  for what, column in (
    ('image', [each.image_hashes for each in contents]),
    ('name', [each.name_hashes for each in contents]),
  ):
    hashes = np.concatenate(column or nothing)
    order = np.argsort(hashes, kind='stable')
    ordered = hashes[order]
    again = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0))
    for place in again[:_MAX_LISTED].tolist():
      first, second = order[place], order[place + 1]
      problems.append(
        f'{_place(contents, of_file, offsets, second, folder)}: same {what} as '
        f'in {_place(contents, of_file, offsets, first, folder)}'
      )
    if len(again) > _MAX_LISTED:
      more = len(again) - _MAX_LISTED
      problems.append(f'{folder}: and {more} {what}s more that came before')
  return problems


def compare(
  manifest: Manifest, contents: Sequence[FileContents], *, folder: str
) -> list[str]:
  """Compares files with their manifest; sizes were compared before."""
  problems = []
  by_name = {each.entry.name: each.entry for each in contents}
  for entry in manifest.files:
    found = by_name.get(entry.name)
    path = os.path.join(folder, entry.name)
    if found is None or found == entry:
      continue
    if found.records != entry.records:
      problems.append(
        f'{path}: {found.records} intact records, but its manifest says '
        f'{entry.records}'
      )
    elif found.bytes == entry.bytes:
      problems.append(
        f'{path}: another checksum than its manifest says: it was changed or '
        'replaced'
      )
  counts: collections.Counter[int] = collections.Counter()
  for each in contents:
    counts.update(each.label_counts)
  whole = not problems and len(by_name) == len(manifest.files)
  if whole and dict(counts) != dict(manifest.label_counts):
    problems.append(
      f'{folder}: the labels of split {manifest.split!r} are not those that '
      'its manifest counts'
    )
  return problems


def _place(contents, of_file, offsets, index: int, folder: str) -> str:
  path = os.path.join(folder, contents[of_file[index]].entry.name)
  return f'{path} at byte {int(offsets[index])}'
