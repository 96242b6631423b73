"""What stands in the way of reading a data set, found before a run begins."""

import os
import socket
from collections.abc import Iterable

import tensorflow as tf

from official_coatnet.data import samples, sources, split_files
from official_coatnet.data.config import DataConfig
from official_coatnet.data.manifest import Manifest


def examine(
  config: DataConfig, *, num_hosts: int = 1
) -> tuple[list[str], sources.Source | None]:
  """Looks for everything that would stop a run at its data.

  Args:
    config: what is to be read.
    num_hosts: number of hosts that will share it.

  Returns:
    A sentence for each problem, each with its likely fix; empty if there is
    none. And the source, for the run to read, so that a manifest is read once;
    None if it cannot be opened, or is synthetic: nothing is read for that.
  """
  if config.source == 'synthetic':
    return [], None
  problems, source, manifest = _open(config, num_hosts=num_hosts)
  if source is None:
    return problems, None
  problems = _class_problems(config, source)
  if manifest is not None:
    problems += _manifest_problems(config, manifest, source)
  if manifest is None or manifest.schema == config.schema:
    problems += samples.record_problems(
      config, source, check_labels=manifest is None
    )
  if config.num_examples is None and source.num_examples is None:
    problems.append(
      f'DataConfig.num_examples is None and {config.data_dir} has no '
      f'{split_files.manifest_path("", config.split)}, so that the '
      'length of an epoch is not known; set num_examples (ImageNet-1K: '
      '1281167 for training, 50000 for validation).'
    )
  problems += _service_problems(config, source)
  known = source.num_examples
  if None not in (config.num_examples, known) and config.num_examples != known:
    problems.append(
      f'DataConfig.num_examples is {config.num_examples}, but split '
      f'{config.split!r} has {known} examples; leave it None.'
    )
  return problems, source


def _open(
  config: DataConfig, *, num_hosts: int
) -> tuple[list[str], sources.Source | None, Manifest | None]:
  """Opens the files of a split, or says why that cannot be.

  Returns:
    Problems; and just where there are none, the source, and the manifest if
    there is one. It is read here and nowhere else.
  """
  records = None
  if config.source == 'tfrecord':
    problems = _folder_problems(config)
    if problems:
      return problems, None, None
    try:
      records = sources.find_records(config)
    except ValueError as error:
      return [str(error)], None, None
    problems = _file_problems(config, records)
    if problems:
      return problems, None, None
  try:
    source = sources.open_source(config, num_hosts=num_hosts, records=records)
    problems = _tfds_problems(source) if config.source == 'tfds' else []
  except (ValueError, ImportError, tf.errors.OpError) as error:
    return [str(error)], None, None
  if problems:
    return problems, None, None
  return [], source, records.manifest if records else None


def open_if_there(config: DataConfig) -> sources.Source | None:
  """Returns the source, or None if it cannot be opened: `examine` tells why."""
  try:
    return sources.open_source(config)
  except (ValueError, ImportError, tf.errors.OpError):
    return None


def _folder_problems(config: DataConfig) -> list[str]:
  """Looks whether a folder of records is named, and there."""
  if config.data_dir is None and config.file_pattern is None:
    return [
      'DataConfig.data_dir is None, but must be the folder of the TFRecord '
      'files; set DATA_DIR to it.'
    ]
  if config.data_dir is not None and not tf.io.gfile.isdir(config.data_dir):
    return [
      f'DataConfig.data_dir is {config.data_dir!r}, but there is no such '
      'folder; check DATA_DIR.'
    ]
  return []


def _file_problems(
  config: DataConfig, records: sources.RecordFiles
) -> list[str]:
  """Looks whether the files are there, and whole as far as is known."""
  if records.manifest is not None:
    assert config.data_dir is not None  # It was found there.
    damage = split_files.find_damage(records.manifest, config.data_dir)
    if damage:
      return samples.shorten(damage, 'more files are missing or damaged.')
    return _content_problems(config, records)
  if not records.paths:
    there = sorted(tf.io.gfile.listdir(config.data_dir or '.'))
    listing = ', '.join(there[:8]) + (', ...' if len(there) > 8 else '')
    tried = ' nor '.join(sources.patterns(config))
    return [
      f'DataConfig.data_dir is {config.data_dir!r}, but no file matches '
      f'{tried}; in the folder: {listing or "nothing"}. Check DATA_DIR, split '
      'and file_pattern.'
    ]
  problems = []
  if config.data_dir is not None and config.file_pattern is None:
    names = [os.path.basename(path) for path in records.paths]
    problems = split_files.find_mixture(
      config.data_dir, config.split, names=names
    )
  problems += _empty_files(records.paths)
  return problems or _content_problems(config, records)


def _content_problems(
  config: DataConfig, records: sources.RecordFiles
) -> list[str]:
  """Looks whether the files are TFRecords, and compressed as is configured."""
  paths = records.paths
  if records.manifest is not None:
    folder = config.data_dir or ''
    paths = tuple(
      os.path.join(folder, file.name)
      for file in records.manifest.files
      if file.bytes
    )
  return samples.file_problems(paths, compression=config.compression)


def _tfds_problems(source: sources.Source) -> list[str]:
  """Looks whether the files that TFDS lists are there, and not empty."""
  assert source.counts is not None  # TFDS knows them.
  paths = [file for file, count in zip(source.files, source.counts) if count]
  missing = [
    f'{path} is missing, but TFDS lists it; prepare the data set again.'
    for path in paths
    if not tf.io.gfile.exists(path)
  ]
  if missing:
    return samples.shorten(missing, 'more files are missing.')
  return _empty_files(paths)


def _empty_files(paths: Iterable[str]) -> list[str]:
  empty = [
    f'{path} is empty; copy or build it again, or delete it.'
    for path in paths
    if not tf.io.gfile.stat(path).length
  ]
  return samples.shorten(empty, 'more files are empty.')


def _service_problems(config: DataConfig, source: sources.Source) -> list[str]:
  """Looks whether a tf.data service answers: a run would wait for it."""
  if config.data_service is None:
    return []
  if source.counts is None:
    return [
      f'DataConfig.data_service is {config.data_service!r}, which needs the '
      'number of records of each file; write a manifest by '
      '`tools/tfrecords.py index`, or set data_service to None.'
    ]
  host, port = config.data_service.removeprefix('grpc://').rsplit(':', 1)
  try:
    socket.create_connection((host, int(port)), timeout=10).close()
  except OSError as error:
    return [
      f'DataConfig.data_service is {config.data_service!r}, but nothing '
      f'answers there ({error}); start the dispatcher, or set data_service to '
      'None.'
    ]
  return []


def _class_problems(config: DataConfig, source: sources.Source) -> list[str]:
  """Compares the number of classes with what the manifest or TFDS says."""
  if source.num_classes in (None, config.num_classes):
    return []
  origin = config.tfds_name
  if config.source == 'tfrecord':
    origin = _manifest_path(config)
  return [
    f'DataConfig.num_classes is {config.num_classes}, but {origin} has '
    f'{source.num_classes} classes; set NUM_CLASSES to {source.num_classes}.'
  ]


def _manifest_problems(
  config: DataConfig, manifest: Manifest, source: sources.Source
) -> list[str]:
  """Compares schema and labels with what the manifest says of them."""
  origin = _manifest_path(config)
  problems = []
  if manifest.schema != config.schema:
    problems.append(
      f'DataConfig.schema is {config.schema!r}, but {origin} says '
      f'{manifest.schema!r}; set it to that.'
    )
  if not manifest.num_examples:
    problems.append(f'{origin} has no examples; build the records again.')
  lowest, highest = samples.label_range(config, source)
  outside = sorted(
    label for label in manifest.label_counts if not lowest <= label <= highest
  )
  # With another number of classes, labels out of range say nothing new.
  if outside and manifest.num_classes == config.num_classes:
    problems.append(
      f'{origin} counts labels out of range, '
      f'{outside[: samples.MAX_LISTED]} among them: with num_classes = '
      f'{config.num_classes} and label_offset = '
      f'{source.label_offset}, stored labels must lie in {lowest}..{highest}; '
      'check both.'
    )
  return problems


def _manifest_path(config: DataConfig) -> str:
  """Returns where the manifest lies that has been read."""
  assert config.data_dir is not None  # It was found there.
  return split_files.manifest_path(config.data_dir, config.split)
