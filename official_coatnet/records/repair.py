"""What can be saved of damaged records, and manifests for those of others."""

import collections
import dataclasses
import functools
import os
from collections.abc import Iterator

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import (
  manifest as manifest_lib,
  sketch,
  split_files,
)
from official_coatnet.records import (
  decompression,
  framing,
  processes,
  validation,
  writing,
)


@dataclasses.dataclass(frozen=True)
class IntactRecords:
  """The intact records of a file, and what stands between them, in order.

  Attributes:
    path: the file.
    rules: what its records are, to count their labels.
  """

  path: str
  rules: validation.Rules

  def __iter__(self) -> Iterator[writing.Record | manifest_lib.Failure]:
    name = os.path.basename(self.path)
    with decompression.open_records(self.path) as opened:
      for frame in framing.read_frames(opened.file, size=opened.size):
        if frame.data is None:
          place = f'{name} at byte {frame.offset}'
          yield manifest_lib.Failure(place, frame.problem)
          continue
        labels, _, _, _ = validation.examine_record(
          frame.data, rules=self.rules
        )
        yield writing.Record(frame.data, labels=labels)
    if opened.problem:
      yield manifest_lib.Failure(name, opened.problem)


def repair_split(
  split: split_files.SplitFiles,
  output_dir: str,
  *,
  rules: validation.Rules,
  progress: processes.TaskProgress = lambda number: None,
  map_tasks: processes.MapTasks = processes.map_here,
) -> manifest_lib.Manifest:
  """Copies the intact records of a split to another folder.

  Args:
    split: the files; those that are undamaged come out the same, and those that
      are compressed uncompressed.
    output_dir: folder to write them to, under the same names, but for the
      ending of a compressed one.
    rules: what the records are.
    progress: called with how many records more are done.
    map_tasks: who copies the files.

  Returns:
    The manifest that was written. Its failures are those of the old one and
    what was lost now, with file and offset.

  Raises:
    ValueError: if `output_dir` is the folder of the files, there are none, or
      their records are not what the rules say.
  """
  same = os.path.abspath(output_dir) == os.path.abspath(split.folder)
  if same and '://' not in output_dir:
    raise ValueError(
      f'output_dir is {output_dir!r}, where the damaged files are; give '
      'another folder, so that nothing is lost.'
    )
  if not split.names:
    raise ValueError(f'no file of split {split.split!r} is in {split.folder}.')
  rules = dataclasses.replace(rules, decode=False)
  for path in split.paths:
    with decompression.open_records(path) as opened:
      mismatch = validation.find_mismatch(opened, rules=rules)
    if mismatch:
      raise ValueError(f'{path}: {mismatch}')
  _clear(output_dir, split)
  # Whoever reads the folder before the end is told that it is not all there.
  files.make_folder(split_files.unfinished_dir(output_dir, split.split))
  copy = functools.partial(_copy_intact, output_dir=output_dir, rules=rules)
  shards = sorted(
    map_tasks(copy, split.paths, progress=progress),
    key=lambda shard: shard.entry.name,
  )
  manifest = _make_manifest(split, shards, rules=rules)
  writing.write_manifest(manifest, output_dir)
  tf.io.gfile.rmtree(split_files.unfinished_dir(output_dir, split.split))
  return manifest


def _clear(output_dir: str, split: split_files.SplitFiles) -> None:
  """Sees to it that a folder will not hold two builds of a split."""
  files.make_folder(output_dir)
  unfinished = split_files.unfinished_dir(output_dir, split.split)
  if tf.io.gfile.exists(unfinished) and not tf.io.gfile.listdir(unfinished):
    # A repair that was stopped leaves it empty, a build does not.
    tf.io.gfile.rmtree(unfinished)
  there = split_files.read_names(output_dir).shards.get(split.split, [])
  problems = split_files.find_mixture(
    output_dir, split.split, names=[*there, *split.names]
  )
  if problems:
    raise ValueError(f'{problems[0]} Or give another folder.')
  old = split_files.manifest_path(output_dir, split.split)
  if tf.io.gfile.exists(old):
    tf.io.gfile.remove(old)  # Beside other files it would say a falsehood.


def index_split(
  split: split_files.SplitFiles,
  *,
  rules: validation.Rules,
  progress: processes.TaskProgress = lambda number: None,
  map_tasks: processes.MapTasks = processes.map_here,
) -> manifest_lib.Manifest:
  """Writes the manifest of files that somebody else has built.

  Args:
    split: the files.
    rules: what their records are.
    progress: called with how many records more are done.
    map_tasks: who reads the files.

  Returns:
    The manifest, which lies beside the files now. One of version 0.1, which has
    no sketch of the images, is given one.

  Raises:
    ValueError: if there is one already, or a record is damaged.
  """
  old = split.manifest
  if old is not None and old.sketch is not None:
    path = split_files.manifest_path(split.folder, split.split)
    raise ValueError(f'{path} is there already; remove it to make a new one.')
  problems, contents = validation.validate_split(
    split,
    rules=dataclasses.replace(rules, decode=False),
    allow_duplicates=True,
    progress=progress,
    map_tasks=map_tasks,
  )
  if problems:
    raise ValueError(
      f'{problems[0]}; {len(problems) - 1} problems more. Run validate to see '
      'all, and repair to save what is intact.'
    )
  shards = [
    writing.Shard(
      each.entry,
      each.label_counts,
      (),
      each.image_hashes.astype(sketch.HASH_TYPE).tobytes(),
    )
    for each in contents
  ]
  manifest = _make_manifest(split, shards, rules=rules)
  if old is not None:
    manifest = dataclasses.replace(old, sketch=manifest.sketch)
  writing.write_manifest(manifest, split.folder)
  return manifest


def _copy_intact(
  path: str,
  progress: processes.TaskProgress,
  *,
  output_dir: str,
  rules: validation.Rules,
) -> writing.Shard:
  return writing.write_shard(
    os.path.join(
      output_dir, split_files.uncompressed_name(os.path.basename(path))
    ),
    IntactRecords(path, rules),
    progress=functools.partial(progress, 1),
  )


def _make_manifest(
  split: split_files.SplitFiles,
  shards: list[writing.Shard],
  *,
  rules: validation.Rules,
) -> manifest_lib.Manifest:
  """Makes a manifest, with what the old one knows that files do not say."""
  old = split.manifest
  manifest = writing.make_manifest(
    shards,
    split=split.split,
    schema=rules.schema,
    num_classes=rules.num_classes or 0,
    label_offset=rules.label_offset,
    class_names=None if old is None else old.class_names,
    build=None if old is None else old.build,
    exif_orientation=old is not None and old.exif_orientation,
  )
  if old is not None:
    manifest = dataclasses.replace(
      manifest, failures=old.failures + manifest.failures
    )
  if rules.num_classes is None:
    counts = manifest.label_counts or collections.Counter([0])
    manifest = dataclasses.replace(
      manifest, num_classes=max(counts) + rules.label_offset + 1
    )
  return manifest
