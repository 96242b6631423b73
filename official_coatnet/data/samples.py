"""What the files of a source hold, by a look at some of them.

The beginning of a file says what kind of file it is, and its first records what
they hold. With a manifest as without: it knows numbers, and trusts the rest.
"""

import os
import re
from collections.abc import Iterator, Sequence

import tensorflow as tf

from official_coatnet.data import file_kinds, record_features, sources
from official_coatnet.data.config import DataConfig

# Files whose records are looked at, spread over all.
_FILES_TO_SAMPLE = 16
# Files whose beginnings are: a request each, of an object store.
_HEADS_TO_READ = 64
# Problems of one kind that are spelt out; the rest is counted.
MAX_LISTED = 5


def shorten(problems: list[str], what: str) -> list[str]:
  """Keeps the first few problems and counts the others."""
  if len(problems) <= MAX_LISTED:
    return problems
  return problems[:MAX_LISTED] + [f'{len(problems) - MAX_LISTED} {what}']


def file_problems(
  paths: Sequence[str], *, compression: str | None
) -> list[str]:
  """Looks for files that are no TFRecords, or compressed otherwise.

  Args:
    paths: the files, none of them empty.
    compression: what they should be compressed by, as DataConfig.compression.

  Returns:
    A sentence for each that is found.
  """
  found: dict[str, list[str]] = {}
  for path in _choose(paths):
    problem = file_kinds.problem(
      file_kinds.read_head(path), compression=compression
    )
    if problem:
      found.setdefault(f' {problem}', []).append(path)
  return _join(found)


def _join(found: dict[str, list[str]]) -> list[str]:
  """Makes sentences of problems with the files that have them."""
  problems = []
  for problem, files in found.items():
    problems.append(f'{files[0]}{problem}')
    if len(files) > 1:
      problems[-1] += (
        f' The same in {len(files) - 1} more of the files looked into.'
      )
  return shorten(problems, 'more problems of this kind.')


def _choose(paths: Sequence[str]) -> list[str]:
  """Returns the files to look at: all, or some and those with odd names.

  Shards of a split are called alike, but for numbers; what is called otherwise
  may be something else.
  """
  if len(paths) <= _HEADS_TO_READ:
    return list(paths)
  forms: dict[str, list[str]] = {}
  for path in paths:
    forms.setdefault(re.sub(r'\d+', '0', path), []).append(path)
  chosen = []
  for alike in forms.values():
    step = -(-len(alike) // _HEADS_TO_READ)
    chosen += alike[::step]
  return sorted(chosen)[: 4 * _HEADS_TO_READ]


def record_problems(
  config: DataConfig, source: sources.Source, *, check_labels: bool
) -> list[str]:
  """Compares the first records of some files with what the schema reads.

  Args:
    config: the configuration.
    source: what it means; its files are there.
    check_labels: whether to look if the labels are in range, where no manifest
      counts them.
  """
  step = -(-len(source.files) // _FILES_TO_SAMPLE)
  found: dict[str, list[str]] = {}
  sampled: list[record_features.Features] = []
  for file, first in list(zip(source.files, source.first))[::step]:
    problem, features = _look_into(
      config, source, file, first=first, check_labels=check_labels
    )
    sampled += features
    if problem is not None:
      found.setdefault(problem, []).append(file)
  if sampled and not found:
    return _missing_everywhere(config, source, sampled)
  return _join(found)


def _look_into(
  config: DataConfig,
  source: sources.Source,
  file: str,
  *,
  first: int,
  check_labels: bool,
) -> tuple[str | None, list[record_features.Features]]:
  """Returns what is wrong with the records of a file, and their features."""
  dataset = source.open_file(tf.constant(file)).skip(first)
  try:
    records = [
      record.numpy()
      for record in dataset.take(record_features.RECORDS_TO_COUNT)
    ]
    features = record_features.read_features(records)
    if source.keys is not None and features and len(features) == len(records):
      mismatch = record_features.compare(
        features, source.keys, labels_optional=config.labels_optional
      )
      if mismatch is not None:
        return f': {mismatch}', features
    problems = _problems_of_each(
      config, source, records, check_range=check_labels
    )
    return next(problems, None), features
  except tf.errors.OpError as error:
    return f' {_read_error(error)}', []


def _read_error(error: tf.errors.OpError) -> str:
  """Says in a sentence why TensorFlow cannot read a file."""
  words = re.sub(r'\{\{.*?\}\}\s*', '', error.message).split(' [Op:')[0]
  place = re.search(r'(?:corrupted|truncated) record at (\d+)', words)
  if place is not None:
    return (
      f'is damaged or cut off at byte {place[1]}; copy or build it again, or '
      'save the intact records by `tools/tfrecords.py repair`.'
    )
  return f'cannot be read ({words.strip()}); copy or build it again.'


def _problems_of_each(
  config: DataConfig,
  source: sources.Source,
  records: Sequence[bytes],
  *,
  check_range: bool,
) -> Iterator[str]:
  """Yields what is wrong with the records of a file, each after its name."""
  lowest, highest = label_range(config, source)
  for position, record in enumerate(records):
    where = f', record {position}: '
    try:
      example = source.parse(tf.constant(record))
    except tf.errors.InvalidArgumentError:
      yield f'{where}is not an example of schema {config.schema!r}.'
      return
    labels = example['labels'].numpy().tolist()
    if not example['encoded'].numpy():
      yield f'{where}the image is empty; build the records again.'
    elif source.single_label and len(labels) != 1:
      yield (
        f'{where}has {len(labels)} labels, but one is needed; if images have '
        "any number, set schema to 'multilabel'."
      )
    for label in labels if check_range else ():
      if not lowest <= label <= highest:
        yield (
          f'{where}label {label} is out of range; with num_classes = '
          f'{config.num_classes} and label_offset = {source.label_offset}, '
          f'stored labels must lie in {lowest}..{highest}. Check both.'
        )


def label_range(config: DataConfig, source: sources.Source) -> tuple[int, int]:
  """Returns the lowest and the highest stored label that are allowed."""
  return -source.label_offset, config.num_classes - 1 - source.label_offset


def _missing_everywhere(
  config: DataConfig,
  source: sources.Source,
  sampled: Sequence[record_features.Features],
) -> list[str]:
  """Looks for what a record may lack, but not all of them."""
  keys = source.keys
  if keys is None:
    return []

  def stored(key: str) -> list:
    return [
      value
      for each in sampled
      if key in each
      for value in record_features.values(each[key])
    ]

  of_sample = (
    f'the first records of the files of split {config.split!r} in '
    f'{os.path.dirname(source.files[0])}, {len(sampled)} in all,'
  )
  fault = record_features.without_images(sampled, keys)
  if fault is not None:
    return [f'None of {of_sample} has an image file: {fault}']
  if not stored(keys.labels):
    return [
      f'None of {of_sample} has a label in {keys.labels!r}: there is nothing '
      'to learn from them. Build the records with labels, or set schema or '
      'feature_keys to where they are.'
    ]
  threshold = config.confidence_threshold
  if threshold is None or keys.confidences is None:
    return []
  start = f'DataConfig.confidence_threshold is {threshold}, but'
  confidences = stored(keys.confidences)
  if not confidences:
    return [
      f'{start} none of {of_sample} has confidences in {keys.confidences!r}, '
      'so that all labels would be kept; unset it, or name their key in '
      'feature_keys.'
    ]
  if max(confidences) < threshold:
    return [
      f'{start} in {of_sample} no confidence is above {max(confidences):g}, so '
      'that no image would keep a label; lower it.'
    ]
  return []
