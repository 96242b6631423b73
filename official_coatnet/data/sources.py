"""Where examples come from: files of records.

A `Source` is a list of files with a way to open one and a way to parse what is
in it. TFRecord folders, TFDS data sets and the synthetic images of dry runs all
come down to it, so that order (see `streams`), sharding over hosts and restart
are the same for all of them.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from official_coatnet.data import images, messages, schema as schema_lib

# An object store answers one request a buffer; local files need no more than
# TensorFlow's own default.
_REMOTE_BUFFER_BYTES = 8 << 20
_LOCAL_BUFFER_BYTES = 256 << 10
# Different images of the synthetic source.
_NUM_SYNTHETIC = 16


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
      not made up: see `shards`.
  """

  files: tuple[str, ...]
  counts: tuple[int, ...] | None
  first: tuple[int, ...]
  open_file: Callable[[tf.Tensor], tf.data.Dataset]
  parse: Callable[[tf.Tensor], dict[str, tf.Tensor]]
  label_offset: int
  single_label: bool
  on_disk: bool = False

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


def tfrecord_source(
  paths: Sequence[str],
  *,
  schema: str,
  counts: Sequence[int] | None = None,
  label_offset: int | None = None,
) -> Source:
  """Returns the source of TFRecord files.

  Args:
    paths: the files.
    schema: name of the record schema.
    counts: number of records of each file, if known.
    label_offset: what to add to a stored label, if it is not the schema's.
  """
  keys = schema_lib.get_schema(schema)
  return Source(
    files=tuple(paths),
    counts=None if counts is None else tuple(counts),
    first=(0,) * len(paths),
    open_file=_open_tfrecord,
    parse=lambda record: schema_lib.parse(record, schema=schema),
    label_offset=keys.label_offset if label_offset is None else label_offset,
    single_label=keys.single_label,
    on_disk=True,
  )


def tfds_builder(
  name: str, *, data_dir: str | None = None
) -> tfds.core.DatasetBuilder:
  """Returns a TFDS data set that is there, ready to read.

  Args:
    name: name, perhaps with configuration and version: 'imagenet2012:5.1.0'.
    data_dir: folder of TFDS; None for its default.

  Raises:
    ValueError: if there is no such data set, or it has not been prepared.
  """
  try:
    builder = tfds.builder(name, data_dir=data_dir)
  except tfds.core.DatasetNotFoundError as error:
    # The error lists the hundreds of data sets there are.
    raise ValueError(
      f'tfds_name is {name!r}, but TFDS knows no such data set and data_dir = '
      f'{data_dir!r} holds none; check the spelling, and that data_dir is the '
      'folder given to TFDS when it was prepared.'
    ) from error
  if not builder.info.splits:
    raise ValueError(
      f'tfds_name is {name!r}, but it is not prepared in '
      f'{builder.data_dir}; run tfds build {name} first, or set data_dir to '
      'the folder where it lies.'
    )
  if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
    raise ValueError(
      f'tfds_name is {name!r}, whose files are of format '
      f'{builder.info.file_format.value}, but only tfrecord can be read; '
      'prepare it with --file_format=tfrecord.'
    )
  return builder


def tfds_keys(builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
  """Returns the keys of the image and of the label or labels of a data set."""
  features = builder.info.features
  keys = builder.info.supervised_keys
  if not (keys and all(isinstance(key, str) for key in keys[:2])):
    keys = [
      next((key for key, value in features.items() if is_wanted(value)), None)
      for is_wanted in (
        lambda value: isinstance(value, tfds.features.Image),
        lambda value: _class_label(value) is not None,
      )
    ]
  image, label = keys[:2]
  if (
    image is None
    or label is None
    or not isinstance(features[image], tfds.features.Image)
    or _class_label(features[label]) is None
  ):
    raise ValueError(
      f'tfds_name is {builder.name!r}, whose features are {list(features)}: '
      'none is an image with a class label, or a list of class labels; this '
      'package trains on labelled images only.'
    )
  return image, label


def tfds_class_names(
  builder: tfds.core.DatasetBuilder,
) -> tuple[int, tuple[str, ...] | None]:
  """Returns number and names (None if it has none) of the classes."""
  label = _class_label(builder.info.features[tfds_keys(builder)[1]])
  return label.num_classes, tuple(label.names) if label.names else None


def tfds_source(
  name: str, *, split: str, data_dir: str | None = None
) -> Source:
  """Returns the source of a TFDS data set.

  Its files are TFRecords, read like any others; images come as they are
  stored, to be decoded once and never encoded anew.

  Args:
    name: name, perhaps with configuration and version.
    split: split, or part of one such as 'train[:90%]'.
    data_dir: folder of TFDS; None for its default.

  Raises:
    ValueError: if the data set or the split is not there, or of another kind.
  """
  builder = tfds_builder(name, data_dir=data_dir)
  image_key, label_key = tfds_keys(builder)
  whole = split.split('[')[0]
  if whole not in builder.info.splits:
    raise ValueError(
      f'split is {split!r}, but {name} has {sorted(builder.info.splits)}.'
    )
  features = tfds.features.FeaturesDict(
    {key: builder.info.features[key] for key in (image_key, label_key)}
  )

  # TFDS insists on its features, which a message of damage has not.
  blank = tf.train.Example()
  blank.features.feature[image_key].bytes_list.value.append(b'')
  blank.features.feature[label_key].int64_list.value.append(0)
  no_image = blank.SerializeToString()

  def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
    record = tf.where(messages.is_message(record), no_image, record)
    example = features.deserialize_example(
      record, decoders={image_key: tfds.decode.SkipDecoding()}
    )
    # A scalar label -> [1]; a list of n labels stays [n].
    labels = tf.reshape(tf.cast(example[label_key], tf.int64), [-1])
    return {'encoded': example[image_key], 'labels': labels}

  pieces = builder.info.splits[split].file_instructions
  return Source(
    files=tuple(piece.filename for piece in pieces),
    counts=tuple(
      piece.examples_in_shard - piece.skip if piece.take < 0 else piece.take
      for piece in pieces
    ),
    first=tuple(piece.skip for piece in pieces),
    open_file=_open_tfrecord,
    parse=parse,
    label_offset=0,
    single_label=isinstance(
      builder.info.features[label_key], tfds.features.ClassLabel
    ),
    on_disk=True,
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
    parse=lambda record: schema_lib.parse(record, schema=schema),
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


def _class_label(
  feature: tfds.features.FeatureConnector,
) -> tfds.features.ClassLabel | None:
  """Returns the class label in a feature: itself, or what it is a list of."""
  if isinstance(feature, tfds.features.Sequence):
    feature = feature.feature
  return feature if isinstance(feature, tfds.features.ClassLabel) else None


def _open_tfrecord(path: tf.Tensor) -> tf.data.Dataset:
  """Opens one TFRecord file."""
  remote = tf.strings.regex_full_match(path, '.*://.*')
  return tf.data.TFRecordDataset(
    path,
    buffer_size=tf.where(
      remote, tf.constant(_REMOTE_BUFFER_BYTES, tf.int64), _LOCAL_BUFFER_BYTES
    ),
  )
