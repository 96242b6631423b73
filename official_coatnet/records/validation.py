"""Whether records are what they should be, looked at one by one.

Of each file: frames and their checksums, that records are tf.Examples with an
image that can be decoded to its end and with labels in range, that nothing is
there twice, and that counts and checksums are those of the manifest. Each
problem is a sentence with file and offset.
"""

import collections
import dataclasses
import functools
import hashlib
import io
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import message
from PIL import Image

from official_coatnet import files
from official_coatnet.data import schema as schema_lib, split_files
from official_coatnet.data.manifest import FileEntry, Manifest, printable
from official_coatnet.records import framing, processes

# What TensorFlow decodes; Pillow knows many more.
_FORMATS = ('JPEG', 'MPO', 'PNG', 'GIF', 'BMP')
# Problems of one file that are spelt out; the rest is counted.
_MAX_LISTED = 100
_NAME_KEYS = ('image/key', 'image/filename', 'id')


@dataclasses.dataclass(frozen=True)
class Rules:
  """What the records of a split must be.

  Attributes:
    schema: name of the record schema.
    num_classes: number of classes; None if not known.
    label_offset: what to add to a stored label to get a class.
    decode: whether to decode the images.
  """

  schema: str
  num_classes: int | None
  label_offset: int
  decode: bool = True


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
  """

  entry: FileEntry
  label_counts: collections.Counter
  problems: tuple[str, ...]
  offsets: np.ndarray
  image_hashes: np.ndarray
  name_hashes: np.ndarray


def validate_split(
  split: split_files.SplitFiles,
  *,
  rules: Rules,
  allow_duplicates: bool = False,
  progress: processes.TaskProgress = lambda number: None,
  map_tasks: processes.MapTasks = processes.map_here,
) -> tuple[list[str], list[FileContents]]:
  """Looks at every record of a split.

  Args:
    split: its files.
    rules: what the records must be.
    allow_duplicates: whether images may be there twice, as a few of ImageNet
      are.
    progress: called with how many records more are done.
    map_tasks: who looks at the files.

  Returns:
    Problems, a sentence each, and what is in each file, in order.
  """
  look = functools.partial(examine_file, rules=rules)
  contents = sorted(
    map_tasks(look, split.paths, progress=progress),
    key=lambda each: each.entry.name,
  )
  problems = list(split.problems)
  for each in contents:
    problems += each.problems
  if not allow_duplicates:
    problems += find_duplicates(contents, folder=split.folder)
  if split.manifest is not None:
    problems += compare(split.manifest, contents, folder=split.folder)
  return problems, contents


def rules_for(
  split: split_files.SplitFiles,
  *,
  schema: str | None = None,
  num_classes: int | None = None,
  decode: bool = True,
) -> Rules:
  """Returns the rules of a split: those of its manifest, if it has one.

  Args:
    split: its files.
    schema: name of the schema where there is no manifest; None for imagenet.
    num_classes: number of classes where there is no manifest, if known.
    decode: whether to decode the images.
  """
  if split.manifest is not None:
    manifest = split.manifest
    return Rules(
      manifest.schema, manifest.num_classes, manifest.label_offset, decode
    )
  keys = schema_lib.get_schema(schema or 'imagenet')
  return Rules(keys.name, num_classes, keys.label_offset, decode)


def examine_file(
  path: str, progress: processes.TaskProgress, *, rules: Rules
) -> FileContents:
  """Looks at every record of a file."""
  label_counts: collections.Counter[int] = collections.Counter()
  problems, rows = [], []
  file, size = files.open_with_size(path)
  with file:
    for frame in framing.read_frames(file, size=size):
      problem = frame.problem
      if frame.data is not None:
        labels, image, name, problem = examine_record(frame.data, rules=rules)
        label_counts.update(labels)
        rows.append((frame.offset, _hash(image), _hash(name)))
      if problem:
        problems.append(f'{path} at byte {frame.offset}: {problem}')
      progress(1)
  if len(problems) > _MAX_LISTED:
    more = len(problems) - _MAX_LISTED
    problems[_MAX_LISTED:] = [f'{path}: and {more} problems more']
  columns = list(zip(*rows)) or [(), (), ()]
  return FileContents(
    FileEntry(
      name=os.path.basename(path),
      records=len(rows),
      bytes=size,
      sha256=files.sha256(path),
    ),
    label_counts,
    tuple(problems),
    np.array(columns[0], np.int64),
    np.array(columns[1], np.uint64),
    np.array(columns[2], np.uint64),
  )


def examine_record(
  data: bytes, *, rules: Rules
) -> tuple[list[int], bytes, bytes, str]:
  """Looks at a record.

  Args:
    data: the record.
    rules: what it must be.

  Returns:
    Its labels as stored, its image, the name of it, and what is wrong, or ''.
  """
  try:
    features = tf.train.Example.FromString(data).features.feature
  except message.DecodeError:
    return [], b'', b'', 'no tf.train.Example'
  keys = schema_lib.get_schema(rules.schema)
  image = next(iter(features[keys.encoded].bytes_list.value), b'')
  labels = list(features[keys.labels].int64_list.value)
  name = next(
    (
      value
      for key in _NAME_KEYS
      for value in features[key].bytes_list.value
      if value
    ),
    b'',
  )
  problem = _label_problem(labels, features, keys, rules=rules)
  if not problem:
    problem = image_problem(image, decode=rules.decode)
  if problem and name:
    problem += f' ({printable(name)})'
  return labels, image, name, problem


def _label_problem(labels, features, keys, *, rules: Rules) -> str:
  """Says what is wrong with labels and confidences, or ''."""
  if keys.single_label and len(labels) != 1:
    return f'{len(labels)} labels in {keys.labels}, but must be 1'
  first = -rules.label_offset
  end = None if rules.num_classes is None else first + rules.num_classes
  for label in labels:
    if label < first or (end is not None and label >= end):
      limit = 'more' if end is None else end - 1
      return f'label {label}, but must lie in {first} to {limit}'
  if keys.confidences:
    number = len(features[keys.confidences].float_list.value)
    if number not in (0, len(labels)):
      return f'{number} confidences for {len(labels)} labels'
  return ''


def image_problem(encoded: bytes, *, decode: bool = True) -> str:
  """Says what is wrong with an encoded image, or ''.

  Args:
    encoded: the image file.
    decode: whether to decode it, or only look at its ends.
  """
  if not encoded:
    return 'no image'
  is_jpeg = encoded[:2] == b'\xff\xd8'
  # Within scans these pairs of bytes do not occur, in thumbnails they do.
  if is_jpeg and encoded.rfind(b'\xff\xd9') <= encoded.rfind(b'\xff\xda'):
    return 'JPEG without an end, cut off'
  if not decode:
    return ''
  try:
    with Image.open(io.BytesIO(encoded)) as image:
      if image.format not in _FORMATS:
        return f'image of format {image.format}, which TensorFlow cannot decode'
      image.load()
  except Exception as error:  # Decoders raise anything.
    return f'image does not decode: {type(error).__name__}: {error}'
  return ''


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


def _hash(contents: bytes) -> int:
  """Returns 64 bits of a checksum; 0 for nothing."""
  if not contents:
    return 0
  return int.from_bytes(hashlib.sha256(contents).digest()[:8], 'big')
