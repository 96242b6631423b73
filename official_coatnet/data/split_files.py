"""The files of a split: what they are called, which are there, and if whole.

    manifest-train.json, train-00000-of-00128, train-00001-of-00128, ...

This is the one place that knows these names: `records` writes files under them,
a run looks for them (see `sources`), and tools/tfrecords.py lists a folder.
"""

import dataclasses
import os
import re
from collections.abc import Sequence

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data.manifest import Manifest

# Others add what the file is, and by what it is compressed.
_SHARD = re.compile(
  r'(?P<stem>.+?)-(?P<number>\d+)-of-(?P<total>\d+)'
  r'(\.tfrecords?)?(\.gz|\.gzip|\.zlib)?'
)
_COMPRESSED = re.compile(r'\.(gz|gzip|zlib)$')
_MANIFEST = re.compile(r'manifest-(?P<split>.*)\.json')
_UNFINISHED = re.compile(r'\.building-(?P<split>.*)')
# Builders of records disagree on the name of what is called 'validation' here.
# The first is what all of them begin with.
_VALIDATION_STEMS = ('val', 'valid', 'validation')


def shard_name(split: str, shard: int, *, num_shards: int) -> str:
  """Returns the name of a shard, as in `train-00003-of-00128`."""
  return f'{split}-{shard:05d}-of-{num_shards:05d}'


def uncompressed_name(name: str) -> str:
  """Returns the name of a shard without the ending of a compression."""
  return _COMPRESSED.sub('', name)


def manifest_path(data_dir: str, split: str) -> str:
  """Returns where the manifest of a split lies."""
  return os.path.join(data_dir, f'manifest-{split}.json')


def unfinished_dir(data_dir: str, split: str) -> str:
  """Returns the folder of what a build of a split has not finished."""
  return os.path.join(data_dir, f'.building-{split}')


def read_manifest(data_dir: str, split: str) -> Manifest | None:
  """Returns the manifest of a split, or None where there is none."""
  path = manifest_path(data_dir, split)
  if not tf.io.gfile.exists(path):
    return None
  return Manifest.from_json(files.read_text(path), origin=path)


def unfinished_problem(data_dir: str, split: str) -> str | None:
  """Says that files of a split are not all there; None if they may be.

  Args:
    data_dir: folder of the files.
    split: name of a split that has no manifest, the last thing that is written.
  """
  if not tf.io.gfile.isdir(unfinished_dir(data_dir, split)):
    return None
  return (
    f'{data_dir!r} holds a part of split {split!r} only: what was writing it '
    'has not come to its end. Start it again, or remove the folder.'
  )


def patterns(data_dir: str, split: str) -> list[str]:
  """Returns how files of a split without manifest may be called.

  Args:
    data_dir: folder of the records.
    split: name of the split.

  Returns:
    Patterns of paths, the likeliest first.
  """
  stem = _VALIDATION_STEMS[0] if split == 'validation' else split
  # A folder is called as it is called: `runs [v1]` is no pattern.
  folder = files.escape_pattern(data_dir)
  return [
    os.path.join(folder, f'{stem}*'),
    # A folder for each split, as the TPU builder of ImageNet leaves them.
    os.path.join(folder, split, f'{stem}*'),
  ]


def find_files(candidates: Sequence[str]) -> list[str]:
  """Returns the sorted files of the first pattern that finds any."""
  for pattern in candidates:
    found = [
      path
      for path in sorted(tf.io.gfile.glob(pattern))
      if not path.endswith('.json') and not tf.io.gfile.isdir(path)
    ]
    if found:
      return found
  return []


def find_damage(manifest: Manifest, data_dir: str) -> list[str]:
  """Compares the files of a split with what its manifest says.

  Sizes only, one look-up a file: checksums would read the whole corpus.

  Args:
    manifest: the manifest.
    data_dir: folder of the files.

  Returns:
    One sentence for each file that is missing or has another size.
  """
  problems = []
  for entry in manifest.files:
    path = os.path.join(data_dir, entry.name)
    if not tf.io.gfile.exists(path):
      problems.append(f'{path} is missing, but its manifest lists it.')
      continue
    size = tf.io.gfile.stat(path).length
    if size != entry.bytes:
      problems.append(
        f'{path} has {size} bytes, but its manifest says {entry.bytes}: it was '
        'cut off or replaced; copy it again or rebuild the records.'
      )
  return problems


def complete_manifest(
  data_dir: str, split: str, *, fingerprint: str | None = None
) -> Manifest | None:
  """Returns the manifest of a split if it has all files that are listed.

  Args:
    data_dir: folder of the files.
    split: name of the split.
    fingerprint: if given, the one that the manifest must have.

  Returns:
    The manifest, or None where the split is to be built (again).
  """
  try:
    manifest = read_manifest(data_dir, split)
  except ValueError:
    return None
  if manifest is None or find_damage(manifest, data_dir):
    return None
  return manifest if fingerprint in (None, manifest.fingerprint) else None


def find_mixture(
  data_dir: str, split: str, *, names: Sequence[str]
) -> list[str]:
  """Looks whether files without a manifest are those of one whole build.

  Args:
    data_dir: folder of the files.
    split: name of the split.
    names: names of the files.

  Returns:
    One sentence for what speaks against it: a build of this split has not
    finished, or the files are of two.
  """
  unfinished = unfinished_problem(data_dir, split)
  problems = [unfinished] if unfinished else []
  totals = sorted(
    {int(match['total']) for match in map(_SHARD.fullmatch, names) if match}
  )
  if len(totals) > 1:
    problems.append(
      f'{data_dir} holds files of split {split!r} of several builds: of '
      f'{", ".join(map(str, totals))} files; remove those of the earlier ones.'
    )
  return problems


@dataclasses.dataclass(frozen=True)
class FolderNames:
  """Names of a folder that say something about splits, each by split.

  Attributes:
    manifests: the splits that have a manifest.
    unfinished: the splits of which a build has not finished.
    shards: names of what is called as a shard.
  """

  manifests: tuple[str, ...]
  unfinished: tuple[str, ...]
  shards: dict[str, list[str]]


def read_names(folder: str) -> FolderNames:
  """Sorts the names in a folder of records by what they stand for."""
  # Object stores end the names of folders with a slash.
  there = sorted(name.rstrip('/') for name in tf.io.gfile.listdir(folder))
  shards: dict[str, list[str]] = {}
  for name in there:
    match = _SHARD.fullmatch(name)
    if match and not name.startswith('.'):
      stem = match['stem']
      split = 'validation' if stem in _VALIDATION_STEMS else stem
      shards.setdefault(split, []).append(name)
  manifests, unfinished = (
    tuple(match['split'] for match in map(pattern.fullmatch, there) if match)
    for pattern in (_MANIFEST, _UNFINISHED)
  )
  return FolderNames(manifests, unfinished, shards)


@dataclasses.dataclass(frozen=True)
class SplitFiles:
  """The files of a split.

  Attributes:
    folder: where they lie.
    split: name of the split.
    names: their names, sorted.
    manifest: what their manifest says, or None.
    problems: what is wrong with the set of them.
  """

  folder: str
  split: str
  names: tuple[str, ...]
  manifest: Manifest | None
  problems: tuple[str, ...] = ()

  @property
  def paths(self) -> tuple[str, ...]:
    """Paths of the files."""
    return tuple(os.path.join(self.folder, name) for name in self.names)


def list_splits(folder: str) -> list[SplitFiles]:
  """Lists the splits of a folder of records.

  Args:
    folder: the folder, or a single file of one.

  Returns:
    The splits that have a manifest, then those whose files alone are there:
    files called `<split>-<number>-of-<total>`. Of a single file, its split with
    that file alone.

  Raises:
    ValueError: if there is no such folder, or nothing of the kind in it.
  """
  if tf.io.gfile.exists(folder) and not tf.io.gfile.isdir(folder):
    folder, name = os.path.split(os.path.abspath(folder))
    for each in list_splits(folder):
      if name in each.names:
        return [dataclasses.replace(each, names=(name,), problems=())]
    raise ValueError(
      f'{name!r} is in no manifest of {folder}, nor called '
      '<split>-<number>-of-<total>.'
    )
  if not tf.io.gfile.isdir(folder):
    raise ValueError(
      f'{folder!r} is not a folder, but must be one of TFRecord files.'
    )
  there = read_names(folder)
  by_split = dict(there.shards)
  splits = [
    _by_manifest(folder, split, by_split.pop(split, []))
    for split in there.manifests
  ]
  splits += [_by_names(folder, *each) for each in sorted(by_split.items())]
  if not splits:
    raise ValueError(
      f'{folder!r} holds neither a manifest nor files called '
      '<split>-<number>-of-<total>; check the folder.'
    )
  return splits


def _by_manifest(folder: str, split: str, shards: Sequence[str]) -> SplitFiles:
  try:
    manifest = read_manifest(folder, split)
  except ValueError as error:
    return SplitFiles(folder, split, tuple(shards), None, (str(error),))
  if manifest is None:  # Another build has withdrawn it since it was listed.
    return _by_names(folder, split, shards)
  listed = {file.name for file in manifest.files}
  problems = [
    f'{os.path.join(folder, name)} is not in the manifest of split '
    f'{split!r}, but looks like one of its files; remove it or build again.'
    for name in shards
    if name not in listed
  ]
  problems += find_damage(manifest, folder)
  there = set(tf.io.gfile.listdir(folder))
  names = tuple(sorted(listed & there))
  return SplitFiles(folder, split, names, manifest, tuple(problems))


def _by_names(folder: str, split: str, shards: Sequence[str]) -> SplitFiles:
  numbers: dict[str, set[int]] = {}
  for match in map(_SHARD.fullmatch, shards):
    assert match  # They were chosen so.
    numbers.setdefault(match['total'], set()).add(int(match['number']))
  problems = find_mixture(folder, split, names=shards)
  for total in sorted(numbers, key=int):
    missing = sorted(set(range(int(total))) - numbers[total])
    if missing:
      problems.append(
        f'{folder}: of {total} files of split {split!r} {len(missing)} are '
        f'missing, the first of them number {missing[0]}; copy them again.'
      )
  return SplitFiles(folder, split, tuple(shards), None, tuple(problems))
