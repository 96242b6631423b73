"""Which TFRecord files lie in a folder, and to which split they belong."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import BinaryIO

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import manifest as manifest_lib

_SHARD = re.compile(r'(?P<stem>.+?)-(?P<number>\d+)-of-(?P<total>\d+)')
# Builders disagree on the name of what readers here call 'validation'.
_VALIDATION_STEMS = ('val', 'valid', 'validation')


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
  manifest: manifest_lib.Manifest | None
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
    for split in list_splits(folder):
      if name in split.names:
        return [dataclasses.replace(split, names=(name,), problems=())]
    raise ValueError(
      f'{name!r} is in no manifest of {folder}, nor called '
      '<split>-<number>-of-<total>.'
    )
  if not tf.io.gfile.isdir(folder):
    raise ValueError(
      f'{folder!r} is not a folder, but must be one of TFRecord files.'
    )
  there = sorted(tf.io.gfile.listdir(folder))
  by_split = {}
  for name in there:
    match = _SHARD.fullmatch(name)
    if match and not name.startswith('.'):
      stem = match['stem']
      split = 'validation' if stem in _VALIDATION_STEMS else stem
      by_split.setdefault(split, []).append(match)
  with_manifest = [
    name.removeprefix('manifest-').removesuffix('.json')
    for name in there
    if name.startswith('manifest-') and name.endswith('.json')
  ]
  splits = [
    _by_manifest(folder, split, by_split.pop(split, []))
    for split in with_manifest
  ]
  splits += [_by_names(folder, *each) for each in sorted(by_split.items())]
  if not splits:
    raise ValueError(
      f'{folder!r} holds neither a manifest nor files called '
      '<split>-<number>-of-<total>; check the folder.'
    )
  return splits


def _by_manifest(
  folder: str, split: str, matches: Sequence[re.Match]
) -> SplitFiles:
  try:
    manifest = manifest_lib.read_manifest(folder, split)
  except ValueError as error:
    names = tuple(match[0] for match in matches)
    return SplitFiles(folder, split, names, None, (str(error),))
  listed = {file.name for file in manifest.files}
  problems = [
    f'{os.path.join(folder, match[0])} is not in the manifest of split '
    f'{split!r}, but looks like one of its files; remove it or build again.'
    for match in matches
    if match[0] not in listed
  ]
  problems += manifest_lib.find_damage(manifest, folder)
  there = set(tf.io.gfile.listdir(folder))
  names = tuple(sorted(listed & there))
  return SplitFiles(folder, split, names, manifest, tuple(problems))


def _by_names(
  folder: str, split: str, matches: Sequence[re.Match]
) -> SplitFiles:
  names = [match[0] for match in matches]
  problems = []
  for total in sorted({match['total'] for match in matches}, key=int):
    numbers = {int(m['number']) for m in matches if m['total'] == total}
    missing = sorted(set(range(int(total))) - numbers)
    if missing:
      problems.append(
        f'{folder}: of {total} files of split {split!r} {len(missing)} are '
        f'missing, the first of them number {missing[0]}; copy them again.'
      )
  return SplitFiles(folder, split, tuple(names), None, tuple(problems))


def open_with_size(path: str) -> tuple[BinaryIO, int]:
  """Opens a file for reading bytes, and returns its length as well."""
  return files.open_binary(path), tf.io.gfile.stat(path).length
