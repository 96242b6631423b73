"""A build owns its folder: what is there of earlier ones is replaced, or named.

Records of an earlier build that stay beside new ones are taken for theirs: a
validation split whose images are all in the new training split, shards of
another number of files. So a build looks at its folder first (`claim`), and
refuses one that holds something else, unless it was told to replace it. Then
all old manifests go at once, before the first new file is there, for beside new
files they would say falsehoods; the old files go when the new ones are whole.
What was not finished in between is marked as such by `.building-<split>`, which
readers heed (`split_files.find_mixture`).

What the same build has left, of this or of its other splits, is none of that: a
build that was killed goes on, and one that was finished is left as it is.
"""

import dataclasses
import json
import os
from collections.abc import Collection, Iterable, Sequence

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import split_files
from official_coatnet.data.manifest import Build, Manifest
from official_coatnet.records import receipts

_OLD_FILES = 'old-files'
# Splits whose files a run takes for its own, whoever has written them.
_USUAL_SPLITS = ('train', 'validation', 'test')
# Of the files of a split that are named, where no manifest sums them up.
_MAX_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Part:
  """A split that is to be there when the build is done.

  Attributes:
    split: its name.
    num_shards: number of its files.
    fingerprint: stands for all that its records are made from.
  """

  split: str
  num_shards: int
  fingerprint: str

  @property
  def names(self) -> set[str]:
    """Names of its files."""
    return {
      split_files.shard_name(self.split, i, num_shards=self.num_shards)
      for i in range(self.num_shards)
    }


@dataclasses.dataclass(frozen=True)
class Leftover:
  """What is there of a split and belongs to another build.

  Attributes:
    split: name of the split.
    names: names of files without a manifest that says so.
    words: what it is, for people.
  """

  split: str
  names: tuple[str, ...]
  words: str


def claim(
  output_dir: str, parts: Sequence[Part], *, build: Build, overwrite: bool
) -> None:
  """Makes a folder that of a build, before anything is written to it.

  Args:
    output_dir: the folder, which need not be there yet.
    parts: the splits that are to be written to it.
    build: what they have in common. Splits that it names are left alone if
      they carry its mark.
    overwrite: whether to replace what another build has left.

  Raises:
    ValueError: if there is something, and it is not to be replaced.
  """
  leftovers = find_leftovers(output_dir, parts, build=build)
  if leftovers and not overwrite:
    listing = '; '.join(each.words for each in leftovers)
    raise ValueError(
      f'output_dir is {output_dir!r}, which holds what this build would not '
      f'write: {listing}. A run would take it for a part of the new records. '
      'Give another folder, or set overwrite (--overwrite) to replace all of '
      'this; the old files go when the new ones are whole.'
    )
  # All of them before the first new file: a training split of now must not be
  # met beside a validation split of before, not even after a power cut.
  for each in leftovers:
    withdraw(output_dir, each.split, further=each.names)


def finish(
  output_dir: str, manifests: Iterable[Manifest], *, build: Build
) -> None:
  """Removes what the build has left besides records, and what it replaces.

  Args:
    output_dir: its folder.
    manifests: those of the splits that it has written.
    build: what they have in common.
  """
  names = {each.split: {file.name for file in each.files} for each in manifests}
  for split in split_files.read_names(output_dir).unfinished:
    if split in names or not _is_sibling(output_dir, split, build=build):
      discard_unfinished(output_dir, split, keep=names.get(split, ()))


def find_leftovers(
  output_dir: str, parts: Sequence[Part], *, build: Build
) -> list[Leftover]:
  """Looks for what another build has left in a folder; see `claim`."""
  if not tf.io.gfile.isdir(output_dir):
    return []
  there = split_files.read_names(output_dir)
  known = {*_USUAL_SPLITS, *build.splits, *there.manifests, *there.unfinished}
  by_name = {part.split: part for part in parts}
  leftovers = []
  for split in sorted(known | set(by_name)):
    part = by_name.get(split)
    found, owned = _judge_manifest(output_dir, split, part=part, build=build)
    if found is None and split in there.unfinished:
      found, names = _judge_unfinished(
        output_dir, split, part=part, build=build
      )
      owned |= names
    strays = sorted(set(there.shards.get(split, ())) - owned)
    words = [] if found is None else [found]
    if strays:
      shown = ', '.join(strays[:_MAX_LISTED])
      more = len(strays) - _MAX_LISTED
      words.append(
        f'files that no manifest lists: {shown}'
        + (f' and {more} more' if more > 0 else '')
      )
    if words:
      leftovers.append(Leftover(split, tuple(strays), ', and '.join(words)))
  return leftovers


def _judge_manifest(
  output_dir: str, split: str, *, part: Part | None, build: Build
) -> tuple[str | None, set[str]]:
  """Returns what a manifest is, if it is of another build; names it lists."""
  name = os.path.basename(split_files.manifest_path('', split))
  try:
    manifest = split_files.read_manifest(output_dir, split)
  except ValueError:
    # Called like one, and perhaps something else: only what is in the way.
    return (f'{name}, which is no manifest' if part else None), set()
  if manifest is None:
    return None, set()
  names = {file.name for file in manifest.files}
  related = manifest.build is not None and manifest.build.mark == build.mark
  if part is None:
    ours = related and split in build.splits
    why = 'of an earlier build'
  else:
    ours = manifest.fingerprint == part.fingerprint
    why = 'made from something else, or in another way'
  if ours:
    return None, names
  if related and part and len(names) != part.num_shards:
    why = f'written to other files than the {part.num_shards:,} asked for'
  size = f'{manifest.num_examples:,} images in {len(names):,} files'
  return f'{name}, split {split!r} {why} ({size})', names


def _judge_unfinished(
  output_dir: str, split: str, *, part: Part | None, build: Build
) -> tuple[str | None, set[str]]:
  """The same for what a build of a split has not finished."""
  folder = split_files.unfinished_dir(output_dir, split)
  owner = receipts.find_owner(folder)
  names = _old_files(folder) | receipts.list_names(folder)
  if part is None:
    if _is_sibling(output_dir, split, build=build):
      return None, names | {*split_files.read_names(output_dir).shards[split]}
  elif owner is None or owner.fingerprint == part.fingerprint:
    return None, names | part.names
  words = f'what a build of something else as split {split!r} has not finished'
  return f'{os.path.basename(folder)}, {words}', names


def _is_sibling(output_dir: str, split: str, *, build: Build) -> bool:
  """Whether an unfinished split is of this build, which has others to write."""
  owner = receipts.find_owner(split_files.unfinished_dir(output_dir, split))
  return (
    owner is not None and owner.build == build.mark and split in build.splits
  )


def withdraw(
  output_dir: str, split: str, *, further: Iterable[str] = ()
) -> set[str]:
  """Removes the manifest of a split and returns the names of its files.

  Beside half of the new files it would say a falsehood. The names are kept on
  disk until the build is complete, so that one that is killed forgets none.

  Args:
    output_dir: folder of the records.
    split: name of the split.
    further: names of files that are to go as well when all is done.
  """
  path = split_files.manifest_path(output_dir, split)
  folder = split_files.unfinished_dir(output_dir, split)
  known = _old_files(folder)
  names = known.union(further)
  there = tf.io.gfile.exists(path)
  if there:
    try:
      if manifest := split_files.read_manifest(output_dir, split):
        names |= {file.name for file in manifest.files}
    except ValueError:
      pass  # Not one of ours: there is nothing to learn from it.
  if there or names != known:
    memory = os.path.join(folder, _OLD_FILES)
    files.write_text(memory, json.dumps(sorted(names)))
  if there:
    tf.io.gfile.remove(path)
  return names


def discard_unfinished(
  output_dir: str, split: str, *, keep: Collection[str]
) -> None:
  """Removes what builds of a split have left besides records and manifest.

  Args:
    output_dir: folder of the records.
    split: name of the split.
    keep: names of its files. Others that are known from earlier builds go.
  """
  folder = split_files.unfinished_dir(output_dir, split)
  if tf.io.gfile.exists(folder):
    old = _old_files(folder) | receipts.list_names(folder)
    remove_files(old.difference(keep), output_dir)
    tf.io.gfile.rmtree(folder)


def remove_files(names: Iterable[str], folder: str) -> None:
  """Removes those files of a folder that are there."""
  for name in names:
    path = os.path.join(folder, name)
    if tf.io.gfile.exists(path):
      tf.io.gfile.remove(path)


def _old_files(folder: str) -> set[str]:
  """Returns the names that `withdraw` has kept."""
  return set(files.read_json(os.path.join(folder, _OLD_FILES)) or ())
