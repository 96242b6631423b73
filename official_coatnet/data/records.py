"""Writing sharded TFRecord files.

A split is written shard by shard; each shard is written beside its place under
a temporary name, flushed to disk and renamed, so that a file under its final
name is always whole. The manifest comes last. Equal examples give equal bytes:
a build that was killed is simply started again.
"""

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from official_coatnet.data.manifest import (
  Failure,
  FileEntry,
  Manifest,
  manifest_path,
  read_manifest,
)

# Progress of a long job: called with examples done and examples in all (None
# if not known).
Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(frozen=True)
class Record:
  """One example, ready to write.

  Attributes:
    serialized: a serialised tf.train.Example.
    labels: its labels as stored, for the histogram of the manifest.
  """

  serialized: bytes
  labels: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Shard:
  """What came of one file.

  Attributes:
    entry: its entry in the manifest.
    label_counts: how often each stored label occurs in it.
    failures: what was left out of it.
  """

  entry: FileEntry
  label_counts: collections.Counter
  failures: tuple[Failure, ...]


def shard_name(split: str, shard: int, *, num_shards: int) -> str:
  """Returns the name of a shard, as in `train-00003-of-00128`."""
  return f'{split}-{shard:05d}-of-{num_shards:05d}'


def shard_range(shard: int, num_shards: int, *, num_examples: int) -> range:
  """Returns which examples go to a shard: an even share, in order."""
  return range(
    shard * num_examples // num_shards, (shard + 1) * num_examples // num_shards
  )


def write_shard(
  path: str,
  items: Iterable[Record | Failure],
  *,
  progress: Callable[[], None],
) -> Shard:
  """Writes one file, under a temporary name until it is whole.

  Args:
    path: where the file ends up; anything there is replaced.
    items: its records, and what could not be made one.
    progress: called after each of them.

  Returns:
    What is in it.
  """
  folder, name = os.path.split(path)
  # A leading dot keeps it out of patterns such as `train*`. The name is the
  # same in each run, so that what a killed run left is overwritten.
  temporary = os.path.join(folder, f'.{name}.tmp')
  label_counts = collections.Counter()
  num_records = 0
  failures = []
  with tf.io.TFRecordWriter(temporary) as writer:
    for item in items:
      if isinstance(item, Failure):
        failures.append(item)
      else:
        writer.write(item.serialized)
        label_counts.update(item.labels)
        num_records += 1
      progress()
  entry = FileEntry(
    name=name,
    records=num_records,
    bytes=tf.io.gfile.stat(temporary).length,
    sha256=_sha256(temporary),
  )
  _rename(temporary, path)
  return Shard(entry, label_counts, tuple(failures))


def write_split(
  make_shard: Callable[[int], Iterable[Record | Failure]],
  output_dir: str,
  *,
  split: str,
  num_shards: int,
  schema: str,
  num_classes: int,
  label_offset: int,
  class_names: Sequence[str] | None = None,
  num_examples: int | None = None,
  fingerprint: str | None = None,
  progress: Progress | None = None,
) -> Manifest:
  """Writes all shards of a split, then its manifest.

  A shard depends on nothing but its number, so that shards can be made in any
  order or by several processes.

  Args:
    make_shard: returns what is in the shard of a given number.
    output_dir: folder to write to, made if need be. Files of an earlier build
      of this split, by its manifest, are replaced or removed.
    split: name of the split.
    num_shards: number of files.
    schema: name of the record schema.
    num_classes: number of classes.
    label_offset: what to add to a stored label to get a class.
    class_names: names of the classes in order, or None.
    num_examples: number of examples, if known, for `progress`.
    fingerprint: stands for all that the records are made from.
    progress: called after each example.

  Returns:
    The manifest, as written.
  """
  tf.io.gfile.makedirs(output_dir)
  old_files = _withdraw_manifest(output_dir, split)
  step = functools.partial(
    _count_up, collections.Counter(), num_examples, progress
  )
  shards = []
  for shard in range(num_shards):
    name = shard_name(split, shard, num_shards=num_shards)
    path = os.path.join(output_dir, name)
    shards.append(write_shard(path, make_shard(shard), progress=step))
  manifest = Manifest(
    split=split,
    schema=schema,
    num_classes=num_classes,
    label_offset=label_offset,
    files=tuple(shard.entry for shard in shards),
    label_counts=dict(
      sum((shard.label_counts for shard in shards), collections.Counter())
    ),
    class_names=None if class_names is None else tuple(class_names),
    fingerprint=fingerprint,
    failures=tuple(each for shard in shards for each in shard.failures),
  )
  for name in old_files - {file.name for file in manifest.files}:
    tf.io.gfile.remove(os.path.join(output_dir, name))
  write_manifest(manifest, output_dir)
  return manifest


def write_manifest(manifest: Manifest, data_dir: str) -> None:
  """Writes the manifest of a split beside its files."""
  path = manifest_path(data_dir, manifest.split)
  temporary = os.path.join(data_dir, f'.{os.path.basename(path)}.tmp')
  with tf.io.gfile.GFile(temporary, 'w') as file:
    file.write(manifest.to_json())
  _rename(temporary, path)


def _withdraw_manifest(data_dir: str, split: str) -> set[str]:
  """Removes a manifest and returns the names of those files that are there.

  Beside half of the new files it would say a falsehood.
  """
  path = manifest_path(data_dir, split)
  if not tf.io.gfile.exists(path):
    return set()
  try:
    manifest = read_manifest(data_dir, split)
    names = {file.name for file in manifest.files}
  except ValueError:
    names = set()
  tf.io.gfile.remove(path)
  there = {os.path.basename(name) for name in tf.io.gfile.listdir(data_dir)}
  return names & there


def _count_up(
  done: collections.Counter, total: int | None, progress: Progress | None
) -> None:
  done['examples'] += 1
  if progress is not None:
    progress(done['examples'], total)


def _sha256(path: str) -> str:
  digest = hashlib.sha256()
  with tf.io.gfile.GFile(path, 'rb') as file:
    while block := file.read(1 << 22):
      digest.update(block)
  return digest.hexdigest()


def _rename(temporary: str, path: str) -> None:
  """Puts a finished file in its place, for good."""
  if '://' not in path:
    # Without it a power cut can leave the new name on empty contents. Object
    # stores have no such gap: a write is there once it is closed.
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)
  tf.io.gfile.rename(temporary, path, overwrite=True)
