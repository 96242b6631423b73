"""Which files a configuration means, and what their manifest says of them."""

import dataclasses
import os

import tensorflow as tf

from official_coatnet.data import manifest as manifest_lib, sources
from official_coatnet.data.config import DataConfig

# Images of a synthetic split where the configuration does not say.
NUM_SYNTHETIC_EXAMPLES = 64


def read_manifest(config: DataConfig) -> manifest_lib.Manifest | None:
  """Returns the manifest that describes the files, or None.

  A manifest describes all files of a split; with a `file_pattern` of the user's
  own, which may mean other ones, it is left aside.
  """
  if (
    config.source != 'tfrecord'
    or config.data_dir is None
    or config.file_pattern is not None
  ):
    return None
  return manifest_lib.read_manifest(config.data_dir, config.split)


def patterns(config: DataConfig) -> list[str]:
  """Returns the patterns by which files are looked for, the likeliest first."""
  folder = config.data_dir or ''
  if config.file_pattern is not None:
    return [os.path.join(folder, config.file_pattern)]
  # Builders of ImageNet records disagree: validation-*, valid-* or val-*.
  stem = 'val' if config.split == 'validation' else config.split
  return [
    os.path.join(folder, f'{stem}*'),
    # A folder for each split, as the TPU builder of ImageNet leaves them.
    os.path.join(folder, config.split, f'{stem}*'),
  ]


def find_files(config: DataConfig) -> list[str]:
  """Returns the paths of the TFRecord files to read, sorted.

  Args:
    config: a configuration with source 'tfrecord'.

  Returns:
    The files of the manifest, whether they are there or not; without one, the
    files that match. Empty if nothing does.
  """
  manifest = read_manifest(config)
  if manifest is not None:
    return sorted(
      os.path.join(config.data_dir, file.name) for file in manifest.files
    )
  for pattern in patterns(config):
    found = [
      path
      for path in sorted(tf.io.gfile.glob(pattern))
      if not path.endswith('.json') and not tf.io.gfile.isdir(path)
    ]
    if found:
      return found
  return []


def open_source(config: DataConfig, *, num_hosts: int = 1) -> sources.Source:
  """Returns the source that a configuration means.

  Args:
    config: the configuration.
    num_hosts: number of hosts that will share it.

  Raises:
    ValueError: if there is nothing to read, or less than a file a host.
  """
  if config.source == 'synthetic':
    # Its labels are made to fit the schema, whatever label_offset real data
    # may need: a dry run leaves that key as it is.
    return sources.synthetic_source(
      schema=config.schema,
      num_classes=config.num_classes,
      image_size=config.image_size,
      num_examples=config.num_examples or NUM_SYNTHETIC_EXAMPLES,
      num_files=num_hosts,
    )
  if config.source == 'tfds':
    source = sources.tfds_source(
      config.tfds_name, split=config.split, data_dir=config.data_dir
    )
  else:
    source = _open_tfrecords(config)
  if len(source.files) < num_hosts:
    raise ValueError(
      f'DataConfig.split is {config.split!r}, which has {len(source.files)} '
      f'files in {os.path.dirname(source.files[0])}, but each of {num_hosts} '
      'hosts reads files of its own; write the records in more shards.'
    )
  if config.label_offset is not None:
    source = dataclasses.replace(source, label_offset=config.label_offset)
  return source


def _open_tfrecords(config: DataConfig) -> sources.Source:
  if config.data_dir is None and config.file_pattern is None:
    raise ValueError(
      'DataConfig.data_dir is None, but must be the folder of the TFRecord '
      'files; set DATA_DIR.'
    )
  paths = find_files(config)
  if not paths:
    raise ValueError(
      f'DataConfig.data_dir is {config.data_dir!r}, but no file matches '
      f'{patterns(config)[0]}; check DATA_DIR, split and file_pattern.'
    )
  manifest = read_manifest(config)
  if manifest is not None:
    by_name = {file.name: file.records for file in manifest.files}
    return sources.tfrecord_source(
      paths,
      schema=config.schema,
      counts=[by_name[os.path.basename(path)] for path in paths],
      label_offset=manifest.label_offset,
    )
  if not any(tf.io.gfile.stat(path).length for path in paths):
    # An endless stream of nothing would hang.
    raise ValueError(
      f'DataConfig.data_dir is {config.data_dir!r}, but all {len(paths)} files '
      'in it are empty; write the records again.'
    )
  return sources.tfrecord_source(paths, schema=config.schema)
