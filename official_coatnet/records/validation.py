"""Whether records are what they should be, looked at one by one.

Of each file: frames and their checksums, that records are tf.Examples with an
image that can be decoded to its end and with labels in range, that nothing is
there twice, and that counts and checksums are those of the manifest. Each
problem is a sentence with file and offset.
"""

import collections
import dataclasses
import functools
import io
import itertools
import os

import numpy as np
import tensorflow as tf
from google.protobuf import message
from PIL import Image

from official_coatnet import files
from official_coatnet.data import (
  image_files,
  images,
  record_features,
  schema as schema_lib,
  sketch,
  split_files,
)
from official_coatnet.data.manifest import FileEntry, printable
from official_coatnet.records import (
  decompression,
  file_contents,
  framing,
  processes,
)

# What TensorFlow decodes, as Pillow calls it, which knows many more.
_FORMATS = ('MPO', *(name.upper() for name in images.DECODED))
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
    feature_keys: keys to read in the place of the schema's, or None.
    labels_optional: whether a record may lack the key of its labels.
  """

  schema: str
  num_classes: int | None
  label_offset: int
  decode: bool = True
  feature_keys: schema_lib.FeatureKeys | None = None
  labels_optional: bool = False

  @property
  def keys(self) -> schema_lib.Schema:
    """The schema, with the keys that are set."""
    return schema_lib.get_schema(self.schema, self.feature_keys)


def validate_split(
  split: split_files.SplitFiles,
  *,
  rules: Rules,
  allow_duplicates: bool = False,
  progress: processes.TaskProgress = lambda number: None,
  map_tasks: processes.MapTasks = processes.map_here,
) -> tuple[list[str], list[file_contents.FileContents]]:
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
  problems += file_contents.find_mixture(contents, folder=split.folder)
  counted = any(each.label_counts for each in contents)
  if not problems and not counted and any(c.entry.records for c in contents):
    problems.append(
      f'{split.folder}: no record of split {split.split!r} has a label in '
      f'{rules.keys.labels!r}; check --schema and --feature_keys.'
    )
  if not allow_duplicates:
    problems += file_contents.find_duplicates(contents, folder=split.folder)
  if split.manifest is not None:
    problems += file_contents.compare(
      split.manifest, contents, folder=split.folder
    )
  return problems, contents


def rules_for(
  split: split_files.SplitFiles,
  *,
  schema: str | None = None,
  num_classes: int | None = None,
  decode: bool = True,
  feature_keys: schema_lib.FeatureKeys | None = None,
  labels_optional: bool = False,
) -> Rules:
  """Returns the rules of a split: those of its manifest, if it has one.

  Args:
    split: its files.
    schema: name of the schema where there is no manifest; None for imagenet.
    num_classes: number of classes where there is no manifest, if known.
    decode: whether to decode the images.
    feature_keys: keys to read in the place of the schema's.
    labels_optional: whether a record may lack the key of its labels.
  """
  manifest = split.manifest
  keys = schema_lib.get_schema(
    manifest.schema if manifest else schema or 'imagenet', feature_keys
  )
  return Rules(
    keys.name,
    manifest.num_classes if manifest else num_classes,
    manifest.label_offset if manifest else keys.label_offset,
    decode,
    feature_keys,
    labels_optional,
  )


def find_mismatch(opened: decompression.Opened, *, rules: Rules) -> str:
  """Compares the first records of a file with the schema; '' if all is well."""
  frames = framing.read_frames(opened.file, size=opened.size)
  records = (frame.data for frame in frames if frame.data is not None)
  features = record_features.read_features(
    itertools.islice(records, record_features.RECORDS_TO_COUNT)
  )
  compare = functools.partial(
    record_features.compare,
    keys=rules.keys,
    labels_optional=rules.labels_optional,
  )
  # What is wrong with some records only is said of each.
  if not features or not all(compare([each]) for each in features):
    return ''
  mismatch = compare(features)
  return mismatch.for_flags() if mismatch else ''


def examine_file(
  path: str, progress: processes.TaskProgress, *, rules: Rules
) -> file_contents.FileContents:
  """Looks at every record of a file."""
  label_counts: collections.Counter[int] = collections.Counter()
  problems, rows = [], []
  with decompression.open_records(path) as opened:
    mismatch = find_mismatch(opened, rules=rules)
    if mismatch:
      problems.append(f'{path}: {mismatch}')
    within = ' of what it decompresses to' if opened.compression else ''
    for frame in framing.read_frames(opened.file, size=opened.size):
      problem = frame.problem
      if frame.data is not None:
        labels, image, name, problem = examine_record(frame.data, rules=rules)
        label_counts.update(labels)
        rows.append(
          (frame.offset, sketch.checksum(image), sketch.checksum(name))
        )
        if mismatch:  # Which says it once, and not of each record.
          problem = ''
      if problem:
        problems.append(f'{path} at byte {frame.offset}{within}: {problem}')
      progress(1)
  if opened.problem:
    problems.append(f'{path}: {opened.problem}')
  if len(problems) > _MAX_LISTED:
    more = len(problems) - _MAX_LISTED
    problems[_MAX_LISTED:] = [f'{path}: and {more} problems more']
  columns = list(zip(*rows)) or [(), (), ()]
  return file_contents.FileContents(
    FileEntry(
      name=os.path.basename(path),
      records=len(rows),
      bytes=tf.io.gfile.stat(path).length,
      sha256=files.sha256(path),
    ),
    label_counts,
    tuple(problems),
    np.array(columns[0], np.int64),
    np.array(columns[1], np.uint64),
    np.array(columns[2], np.uint64),
    opened.compression,
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
  keys = rules.keys
  # Here, for a map has every key that was looked up.
  faults = record_features.type_faults([features], keys)
  if keys.labels not in features and not rules.labels_optional:
    faults.append(f'no feature {keys.labels!r}')
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
  problem = '; '.join(faults) or _label_problem(
    labels, features, keys, rules=rules
  )
  if not problem:
    problem = image_problem(image, decode=rules.decode)
    fault = record_features.image_fault(image, features) if problem else None
    if image and fault:
      problem += f'; it is {fault}'
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
      if problem := image_files.raw_problem(encoded):
        return problem
      image.load()
  except Exception as error:  # Decoders raise anything.
    return f'image does not decode: {type(error).__name__}: {error}'
  return ''
