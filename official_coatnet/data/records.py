"""Sharded TFRecord files and the manifest that describes them.

A split is written shard by shard; each shard is written beside its place under
a temporary name, flushed to disk and renamed, so that a file under its final
name is always whole. The manifest comes last: where it is, the split is
complete. Equal examples give equal bytes, so that a run that was killed is
simply started again.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

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
  """

  split: str
  schema: str
  num_classes: int
  label_offset: int
  files: tuple[FileEntry, ...]
  label_counts: Mapping[int, int]
  class_names: tuple[str, ...] | None = None

  @property
  def num_examples(self) -> int:
    """Number of records in all files."""
    return sum(file.records for file in self.files)

  def to_json(self) -> str:
    """Returns the text of the manifest file; equal manifests, equal text."""
    fields = dataclasses.asdict(self)
    fields['version'] = 1
    fields['num_examples'] = self.num_examples
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
      )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise ValueError(
        f'{origin} is not a manifest of this package ({error!r}); delete it '
        'and build the records again, or move it away to read the files '
        'without it.'
      ) from error
    return manifest


def manifest_path(data_dir: str, split: str) -> str:
  """Returns where the manifest of a split lies."""
  return os.path.join(data_dir, f'manifest-{split}.json')


def read_manifest(data_dir: str, split: str) -> Manifest | None:
  """Returns the manifest of a split, or None where there is none."""
  path = manifest_path(data_dir, split)
  if not tf.io.gfile.exists(path):
    return None
  with tf.io.gfile.GFile(path) as file:
    return Manifest.from_json(file.read(), origin=path)


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


def is_complete(data_dir: str, split: str) -> bool:
  """Whether a split has a manifest and all files that it lists."""
  manifest = read_manifest(data_dir, split)
  return manifest is not None and not find_damage(manifest, data_dir)


def shard_name(split: str, shard: int, *, num_shards: int) -> str:
  """Returns the name of a shard, as in `train-00003-of-00128`."""
  return f'{split}-{shard:05d}-of-{num_shards:05d}'


def shard_range(shard: int, num_shards: int, *, num_examples: int) -> range:
  """Returns which examples go to a shard: an even share, in order."""
  return range(
    shard * num_examples // num_shards, (shard + 1) * num_examples // num_shards
  )


def write_shard(
  path: str, records: Iterable[Record], *, progress: Callable[[], None]
) -> tuple[FileEntry, collections.Counter]:
  """Writes one file, under a temporary name until it is whole.

  Args:
    path: where the file ends up; anything there is replaced.
    records: its records.
    progress: called after each record.

  Returns:
    The file's entry in the manifest, and how often each label occurs in it.
  """
  folder, name = os.path.split(path)
  # A leading dot keeps it out of patterns such as `train*`. The name is the
  # same in each run, so that what a killed run left is overwritten.
  temporary = os.path.join(folder, f'.{name}.tmp')
  label_counts = collections.Counter()
  num_records = 0
  with tf.io.TFRecordWriter(temporary) as writer:
    for record in records:
      writer.write(record.serialized)
      label_counts.update(record.labels)
      num_records += 1
      progress()
  entry = FileEntry(
    name=name,
    records=num_records,
    bytes=tf.io.gfile.stat(temporary).length,
    sha256=_sha256(temporary),
  )
  _rename(temporary, path)
  return entry, label_counts


def write_split(
  make_shard: Callable[[int], Iterable[Record]],
  output_dir: str,
  *,
  split: str,
  num_shards: int,
  schema: str,
  num_classes: int,
  label_offset: int,
  class_names: Sequence[str] | None = None,
  num_examples: int | None = None,
  progress: Progress | None = None,
) -> Manifest:
  """Writes all shards of a split, then its manifest.

  A shard depends on nothing but its number, so that shards can be made in any
  order or by several processes.

  Args:
    make_shard: returns the records of the shard of a given number.
    output_dir: folder to write to, made if need be.
    split: name of the split.
    num_shards: number of files.
    schema: name of the record schema.
    num_classes: number of classes.
    label_offset: what to add to a stored label to get a class.
    class_names: names of the classes in order, or None.
    num_examples: number of examples, if known, for `progress`.
    progress: called after each example.

  Returns:
    The manifest, as written.
  """
  tf.io.gfile.makedirs(output_dir)
  manifest_file = manifest_path(output_dir, split)
  if tf.io.gfile.exists(manifest_file):
    # An old manifest beside half of the new files would say a falsehood.
    tf.io.gfile.remove(manifest_file)
  step = functools.partial(
    _count_up, collections.Counter(), num_examples, progress
  )
  files = []
  label_counts = collections.Counter()
  for shard in range(num_shards):
    name = shard_name(split, shard, num_shards=num_shards)
    entry, counts = write_shard(
      os.path.join(output_dir, name), make_shard(shard), progress=step
    )
    files.append(entry)
    label_counts.update(counts)
  manifest = Manifest(
    split=split,
    schema=schema,
    num_classes=num_classes,
    label_offset=label_offset,
    files=tuple(files),
    label_counts=dict(label_counts),
    class_names=None if class_names is None else tuple(class_names),
  )
  temporary = os.path.join(output_dir, f'.manifest-{split}.json.tmp')
  with tf.io.gfile.GFile(temporary, 'w') as file:
    file.write(manifest.to_json())
  _rename(temporary, manifest_file)
  return manifest


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
