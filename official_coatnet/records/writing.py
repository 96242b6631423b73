"""Writing sharded TFRecord files.

A split is written shard by shard; each shard is written beside its place under
a temporary name, flushed to disk and renamed, so that a file under its final
name is always whole. A receipt then says what is in it: a build that was killed
is simply started again, and goes on after the shards that have one. The
manifest comes last. Equal examples give equal bytes, whoever writes them.

What a build needs while it runs lies in the folder `.building-<split>`.
"""

import collections
import dataclasses
import functools
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import schema, sketch, split_files
from official_coatnet.data.manifest import (
  Build,
  Failure,
  FileEntry,
  Manifest,
  check_class_names,
)
from official_coatnet.records import builds, processes, receipts
from official_coatnet.records.receipts import Shard

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
class Task:
  """One file that is to be written.

  Attributes:
    path: where it ends up.
    items: its records, and what could not be made one.
    unfinished: folder for what is not finished, and for receipts.
    fingerprint: stands for all that the records are made from.
  """

  path: str
  items: Iterable[Record | Failure]
  unfinished: str
  fingerprint: str | None


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
  unfinished: str | None = None,
) -> Shard:
  """Writes one file, under a temporary name until it is whole.

  Args:
    path: where the file ends up; anything there is replaced.
    items: its records, and what could not be made one.
    progress: called after each of them.
    unfinished: folder for the temporary file, of the same file system; None
      for that of `path`.

  Returns:
    What is in it.
  """
  folder, name = os.path.split(path)
  # A leading dot keeps it out of patterns such as `train*`. The name is never
  # the same: a worker of a killed build may still hold the last one open.
  temporary = os.path.join(
    folder if unfinished is None else unfinished,
    f'.{name}.{uuid.uuid4().hex[:8]}.tmp',
  )
  label_counts: collections.Counter[int] = collections.Counter()
  num_records = 0
  failures = []
  hashes = []
  with tf.io.TFRecordWriter(temporary) as writer:
    for item in items:
      if isinstance(item, Failure):
        failures.append(item)
      else:
        writer.write(item.serialized)
        label_counts.update(item.labels)
        hashes.append(sketch.checksum(schema.find_image(item.serialized)))
        num_records += 1
      progress()
  entry = FileEntry(
    name=name,
    records=num_records,
    bytes=tf.io.gfile.stat(temporary).length,
    sha256=files.sha256(temporary),
  )
  files.rename(temporary, path)
  packed = np.array(hashes, sketch.HASH_TYPE).tobytes()
  return Shard(entry, label_counts, tuple(failures), packed)


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
  exif_orientation: bool = False,
  failure_limit: int | None = None,
  progress: Progress | None = None,
  map_tasks: processes.MapTasks = processes.map_here,
  build: Build | None = None,
  keep_receipts: bool = False,
) -> Manifest:
  """Writes all shards of a split, then its manifest.

  Args:
    make_shard: returns what is in the shard of a number; it depends on nothing
      else. Where `map_tasks` hands it to other processes it is pickled: an
      object whose __iter__ makes the records will do, a generator will not.
    output_dir: folder to write to, made if need be. Files of an earlier build
      of this split, by its manifest, are replaced or removed.
    split: name of the split.
    num_shards: number of files.
    schema: name of the record schema.
    num_classes: number of classes.
    label_offset: what to add to a stored label to get a class.
    class_names: names of the classes in order, or None.
    num_examples: number of examples, if known, for `progress`.
    fingerprint: stands for all that the records are made from. Shards that a
      killed build of the same fingerprint has finished are kept.
    exif_orientation: whether images were turned as their EXIF data say.
    failure_limit: most examples that may be left out; None for any number.
    progress: called with examples done, whenever there are more.
    map_tasks: who writes the shards.
    build: what it has in common with the other splits of its build, if any.
    keep_receipts: whether the caller has a use for them, and will call
      `builds.discard_unfinished`.

  Raises:
    ValueError: if a class cannot be called so, or more examples are left out
      than `failure_limit`. Shards that are finished stay for the next run.
  """
  check_class_names(class_names or ())
  owner = receipts.Owner(fingerprint, None if build is None else build.mark)
  work = _Work(output_dir, split, num_shards, owner)
  work.write_shards(
    make_shard,
    tally=_Tally(num_examples, progress, failure_limit=failure_limit),
    map_tasks=map_tasks,
  )
  manifest = work.finish(
    schema=schema,
    num_classes=num_classes,
    label_offset=label_offset,
    class_names=None if class_names is None else tuple(class_names),
    build=build,
    exif_orientation=exif_orientation,
  )
  if not keep_receipts:
    names = {file.name for file in manifest.files}
    builds.discard_unfinished(output_dir, split, keep=names)
  return manifest


class _Work:
  """A split on its way, of which an earlier run may have left shards."""

  def __init__(
    self,
    output_dir: str,
    split: str,
    num_shards: int,
    owner: receipts.Owner,
  ):
    self._output_dir = output_dir
    self._split = split
    self._fingerprint = owner.fingerprint
    self._unfinished = split_files.unfinished_dir(output_dir, split)
    files.make_folder(self._unfinished)
    self._paths = [
      os.path.join(
        output_dir, split_files.shard_name(split, i, num_shards=num_shards)
      )
      for i in range(num_shards)
    ]
    self._old_files = builds.withdraw(output_dir, split)
    self._old_files |= receipts.list_names(self._unfinished)
    self._shards = receipts.load(
      self._paths, self._unfinished, fingerprint=owner.fingerprint
    )
    receipts.save_owner(owner, self._unfinished)

  def write_shards(
    self,
    make_shard: Callable[[int], Iterable[Record | Failure]],
    *,
    tally: '_Tally',
    map_tasks: processes.MapTasks,
  ) -> None:
    """Writes the shards that are not there, as long as few images fail."""
    tally.add(sum(shard.num_items for shard in self._shards.values()))
    tasks = (
      Task(path, make_shard(i), self._unfinished, self._fingerprint)
      for i, path in enumerate(self._paths)
      if os.path.basename(path) not in self._shards
    )
    tally.check_failures(self._shards.values(), split=self._split)
    for shard in map_tasks(_finish_shard, tasks, progress=tally.add):
      self._shards[shard.entry.name] = shard
      tally.check_failures(self._shards.values(), split=self._split)

  def finish(self, **fields: Any) -> Manifest:
    """Removes what is old, then writes the manifest of these `fields`."""
    manifest = make_manifest(
      [self._shards[os.path.basename(path)] for path in self._paths],
      split=self._split,
      fingerprint=self._fingerprint,
      **fields,
    )
    builds.remove_files(self._old_files - set(self._shards), self._output_dir)
    write_manifest(manifest, self._output_dir)
    return manifest


def make_manifest(shards: Sequence[Shard], **fields: Any) -> Manifest:
  """Returns the manifest of shards, in order.

  Args:
    shards: what the files hold.
    **fields: the fields of `Manifest` that they do not say.
  """
  label_counts: collections.Counter[int] = collections.Counter()
  for shard in shards:
    label_counts.update(shard.label_counts)
  return Manifest(
    files=tuple(shard.entry for shard in shards),
    label_counts=dict(label_counts),
    failures=tuple(each for shard in shards for each in shard.failures),
    sketch=_make_sketch(shards),
    **fields,
  )


def _make_sketch(shards: Sequence[Shard]) -> sketch.Sketch | None:
  """Returns the sketch of the images of all shards; None if one is unknown."""
  hashes = []
  for shard in shards:
    if shard.image_hashes is None:
      return None
    hashes.append(np.frombuffer(shard.image_hashes, sketch.HASH_TYPE))
  if not all(each.all() for each in hashes):
    return None
  return sketch.make(hashes)


def write_manifest(manifest: Manifest, data_dir: str) -> None:
  """Writes the manifest of a split beside its files."""
  files.write_text(
    split_files.manifest_path(data_dir, manifest.split), manifest.to_json()
  )


def _finish_shard(task: Task, progress: processes.TaskProgress) -> Shard:
  """Writes a shard and its receipt."""
  shard = write_shard(
    task.path,
    task.items,
    progress=functools.partial(progress, 1),
    unfinished=task.unfinished,
  )
  receipts.save(shard, task.unfinished, fingerprint=task.fingerprint)
  return shard


class _Tally:
  """Counts examples and hands the count on; knows how many may fail."""

  def __init__(
    self,
    total: int | None,
    progress: Progress | None,
    *,
    failure_limit: int | None,
  ):
    self._done = 0
    self._total = total
    self._progress = progress
    self._failure_limit = failure_limit

  def add(self, number: int) -> None:
    """Counts so many more."""
    self._done += number
    if number and self._progress is not None:
      self._progress(self._done, self._total)

  def check_failures(self, shards: Iterable[Shard], *, split: str) -> None:
    """Raises a ValueError if too many examples were left out of shards."""
    limit = self._failure_limit
    failures = [each for shard in shards for each in shard.failures]
    if limit is not None and len(failures) > limit:
      shown = '; '.join(f'{each.name}: {each.reason}' for each in failures[:5])
      raise ValueError(
        f'max_failures allows {limit} images of split {split!r} to be left '
        f'out, but {len(failures)} could not be used: {shown}'
        f'{"; ..." if len(failures) > 5 else ""}. Mend them, and add '
        '--overwrite, as the images are others then; or raise max_failures: '
        'finished files are kept for the next run.'
      )
