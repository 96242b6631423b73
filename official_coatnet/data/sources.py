"""Where examples come from: files of records.

A `Source` is a list of files with a way to open one and a way to parse what is
in it. TFRecord folders, TFDS data sets and the synthetic images of dry runs all
come down to it, so that order (see `streams`), sharding over hosts and restart
are the same for all of them.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import images, schema as schema_lib, split_files
from official_coatnet.data.config import DataConfig
from official_coatnet.data.manifest import Manifest

# An object store answers one request a buffer; local files need no more than
# TensorFlow's own default.
_REMOTE_BUFFER_BYTES = 8 << 20
_LOCAL_BUFFER_BYTES = 256 << 10
# Different images of the synthetic source, and images of a split where the
# configuration does not say.
_NUM_SYNTHETIC = 16
_NUM_SYNTHETIC_EXAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Source:
  """Files of records.

  Attributes:
    files: names of the files, in order.
    counts: number of records of each file; None if not known, and then
      restarting in the middle reads all that came before.
    first: the first record of each file to use; earlier ones are skipped.
    open_file: maps a scalar string tensor, the name of a file, to a dataset of
      its records, scalar strings.
    parse: maps a scalar string tensor, a record, to a dict of 'encoded', a
      scalar string, 'labels', int64 [n] as stored, and perhaps 'confidences',
      float32 [m].
    label_offset: what to add to a stored label to get a class.
    single_label: whether each record has exactly one label.
    on_disk: whether the files are TFRecords that may be damaged or cut off, and
      not made up: see `shard_reading`.
    compression: 'GZIP' or 'ZLIB' if the files are compressed, or None.
    keys: the schema by which TFRecord files are parsed; None for others, which
      know by themselves what their records hold.
    num_classes: number of classes, if known.
    class_names: names of the classes in order, if known.
    manifest: what else is known of the split, or None.
  """

  files: tuple[str, ...]
  counts: tuple[int, ...] | None
  first: tuple[int, ...]
  open_file: Callable[[tf.Tensor], tf.data.Dataset]
  parse: Callable[[tf.Tensor], dict[str, tf.Tensor]]
  label_offset: int
  single_label: bool
  on_disk: bool = False
  compression: str | None = None
  keys: schema_lib.Schema | None = None
  num_classes: int | None = None
  class_names: tuple[str, ...] | None = None
  manifest: Manifest | None = None

  @property
  def num_examples(self) -> int | None:
    """Number of examples, or None if not known."""
    return None if self.counts is None else sum(self.counts)

  def shard(self, num_hosts: int, host: int) -> 'Source':
    """Returns the files of one host: every `num_hosts`-th."""
    part = slice(host, None, num_hosts)
    return dataclasses.replace(
      self,
      files=self.files[part],
      counts=None if self.counts is None else self.counts[part],
      first=self.first[part],
    )


@dataclasses.dataclass(frozen=True)
class RecordFiles:
  """The TFRecord files that a configuration means.

  Attributes:
    paths: the files of the manifest, whether they are there or not; without
      one, the files that are found. Sorted.
    manifest: what is known of them, or None. It describes all files of a split;
      with a `file_pattern` of the user's own, which may mean other ones, it is
      left aside.
  """

  paths: tuple[str, ...]
  manifest: Manifest | None


def find_records(config: DataConfig) -> RecordFiles:
  """Reads the manifest of a split, or looks for its files where there is none.

  Args:
    config: a configuration with source 'tfrecord'.

  Raises:
    ValueError: if the manifest is not one, or the files are those of a build
      that was stopped.
  """
  folder = config.data_dir
  if folder is not None and config.file_pattern is None:
    manifest = split_files.read_manifest(folder, config.split)
    if manifest is not None:
      paths = (os.path.join(folder, file.name) for file in manifest.files)
      return RecordFiles(tuple(sorted(paths)), manifest)
  found = split_files.find_files(patterns(config))
  for parent in sorted({os.path.dirname(path) for path in found}):
    if problem := split_files.unfinished_problem(parent, config.split):
      raise ValueError(problem)
  return RecordFiles(tuple(found), None)


def patterns(config: DataConfig) -> list[str]:
  """Returns the patterns by which files are looked for, the likeliest first."""
  folder = config.data_dir or ''
  if config.file_pattern is not None:
    return [os.path.join(files.escape_pattern(folder), config.file_pattern)]
  return split_files.patterns(folder, config.split)


def open_source(
  config: DataConfig,
  *,
  num_hosts: int = 1,
  records: RecordFiles | None = None,
) -> Source:
  """Returns the source that a configuration means.

  Args:
    config: the configuration.
    num_hosts: number of hosts that will share it.
    records: what `find_records` has found already, if it has been asked.

  Raises:
    ValueError: if there is nothing to read, or less than a file a host.
  """
  if config.source == 'synthetic':
    # Its labels are made to fit the schema, whatever label_offset real data
    # may need: a dry run leaves that key as it is.
    return synthetic_source(
      schema=config.schema,
      num_classes=config.num_classes,
      image_size=config.image_size,
      num_examples=config.num_examples or _NUM_SYNTHETIC_EXAMPLES,
      num_files=num_hosts,
    )
  if config.source == 'tfds':
    # A library of its own, which few runs need.
    from official_coatnet.data import tfds_source

    assert config.tfds_name is not None  # DataConfig sees to it.
    source = tfds_source.open_tfds(
      config.tfds_name, split=config.split, data_dir=config.data_dir
    )
  else:
    source = _open_records(config, records)
  if len(source.files) < num_hosts:
    raise ValueError(
      f'DataConfig.split is {config.split!r}, which has {len(source.files)} '
      f'files in {os.path.dirname(source.files[0])}, but each of {num_hosts} '
      'hosts reads files of its own; write the records in more shards.'
    )
  if config.label_offset is not None:
    source = dataclasses.replace(source, label_offset=config.label_offset)
  return source


def _open_records(config: DataConfig, records: RecordFiles | None) -> Source:
  """Returns the source of a configuration with source 'tfrecord'."""
  if config.data_dir is None and config.file_pattern is None:
    raise ValueError(
      'DataConfig.data_dir is None, but must be the folder of the TFRecord '
      'files; set DATA_DIR.'
    )
  records = records or find_records(config)
  paths, manifest = records.paths, records.manifest
  if not paths:
    raise ValueError(
      f'DataConfig.data_dir is {config.data_dir!r}, but no file matches '
      f'{patterns(config)[0]}; check DATA_DIR, split and file_pattern.'
    )
  if manifest is not None:
    by_name = {file.name: file.records for file in manifest.files}
    source = tfrecord_source(
      paths,
      schema=config.record_schema,
      compression=config.compression,
      counts=[by_name[os.path.basename(path)] for path in paths],
      label_offset=manifest.label_offset,
    )
    return dataclasses.replace(
      source,
      num_classes=manifest.num_classes,
      class_names=manifest.class_names,
      manifest=manifest,
    )
  if not any(tf.io.gfile.stat(path).length for path in paths):
    # An endless stream of nothing would hang.
    raise ValueError(
      f'DataConfig.data_dir is {config.data_dir!r}, but all {len(paths)} files '
      'in it are empty; write the records again.'
    )
  return tfrecord_source(
    paths, schema=config.record_schema, compression=config.compression
  )


def tfrecord_source(
  paths: Sequence[str],
  *,
  schema: str | schema_lib.Schema,
  counts: Sequence[int] | None = None,
  label_offset: int | None = None,
  compression: str | None = None,
) -> Source:
  """Returns the source of TFRecord files.

  Args:
    paths: the files.
    schema: the record schema, or its name.
    counts: number of records of each file, if known.
    label_offset: what to add to a stored label, if it is not the schema's.
    compression: 'GZIP' or 'ZLIB' if the files are compressed.
  """
  keys = schema
  if not isinstance(keys, schema_lib.Schema):
    keys = schema_lib.get_schema(keys)
  return Source(
    files=tuple(paths),
    counts=None if counts is None else tuple(counts),
    first=(0,) * len(paths),
    open_file=functools.partial(open_tfrecord, compression=compression),
    parse=functools.partial(schema_lib.parse, schema=keys),
    label_offset=keys.label_offset if label_offset is None else label_offset,
    single_label=keys.single_label,
    on_disk=True,
    compression=compression,
    keys=keys,
  )


def synthetic_source(
  *,
  schema: str,
  num_classes: int,
  image_size: int | Sequence[int],
  num_examples: int,
  num_files: int = 1,
) -> Source:
  """Returns a source of made-up images, for dry runs and tests.

  A few JPEGs of coloured noise, a quarter larger than `image_size`, come again
  and again. They are records of the schema, so that a dry run goes through the
  same code as a real one.

  Args:
    schema: name of the record schema.
    num_classes: number of classes; labels are spread over all of them.
    image_size: side, or (height, width), of the images to be made from them.
    num_examples: number of examples in all files.
    num_files: number of (imaginary) files, at least one a host.
  """
  keys = schema_lib.get_schema(schema)
  height, width = images.height_width(image_size)
  serialized = [
    _synthetic_record(
      number,
      label=number * num_classes // _NUM_SYNTHETIC - keys.label_offset,
      shape=(height * 5 // 4, width * 5 // 4, 3),
      schema=schema,
    )
    for number in range(_NUM_SYNTHETIC)
  ]

  def open_file(path: tf.Tensor) -> tf.data.Dataset:
    del path  # All files are alike.
    return tf.data.Dataset.from_tensor_slices(serialized).repeat()

  counts = [
    len(range(file, num_examples, num_files)) for file in range(num_files)
  ]
  return Source(
    files=tuple(f'synthetic-{file}' for file in range(num_files)),
    counts=tuple(counts),
    first=(0,) * num_files,
    open_file=open_file,
    # Of the two schemas that are written, the one that is like it.
    parse=functools.partial(
      schema_lib.parse, schema='imagenet' if keys.single_label else 'multilabel'
    ),
    label_offset=keys.label_offset,
    single_label=keys.single_label,
  )


def _synthetic_record(
  number: int, *, label: int, shape: tuple[int, int, int], schema: str
) -> bytes:
  """Returns one record with an image of noise, the same for equal arguments."""
  noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3))
  # Enlarged, for the smoothness, and so the size in bytes, of a photograph.
  smooth = tf.image.resize(noise, shape[:2], method='bicubic')
  pixels = tf.cast(tf.clip_by_value(smooth, 0, 255), tf.uint8)
  encoded = tf.io.encode_jpeg(pixels, quality=90).numpy()
  if schema_lib.get_schema(schema).single_label:
    return schema_lib.serialize_imagenet(
      encoded, label=label, height=shape[0], width=shape[1]
    )
  return schema_lib.serialize_multilabel(
    encoded, labels=[label], confidences=[1.0], key=str(number)
  )


def open_tfrecord(
  path: tf.Tensor, *, compression: str | None = None
) -> tf.data.Dataset:
  """Opens one TFRecord file.

  Args:
    path: scalar string tensor, its name.
    compression: 'GZIP' or 'ZLIB' if it is compressed.
  """
  remote = tf.strings.regex_full_match(path, '.*://.*')
  return tf.data.TFRecordDataset(
    path,
    compression_type=compression,
    buffer_size=tf.where(
      remote, tf.constant(_REMOTE_BUFFER_BYTES, tf.int64), _LOCAL_BUFFER_BYTES
    ),
  )
