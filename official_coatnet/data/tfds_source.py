"""Data sets of TFDS as sources.

Its files are TFRecords, read like any others; images come as they are stored,
to be decoded once and never encoded anew.
"""

import tensorflow as tf
import tensorflow_datasets as tfds

from official_coatnet.data import messages
from official_coatnet.data.sources import Source, open_tfrecord


def open_builder(
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
  except AssertionError as error:
    # How TFDS says that it has no such version.
    raise ValueError(
      f'tfds_name is {name!r}, but TFDS has other versions of it: '
      f'{str(error).rpartition(": ")[2].rstrip(".")}. Name one, or none.'
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


def feature_keys(builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
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


def class_names(
  builder: tfds.core.DatasetBuilder,
) -> tuple[int, tuple[str, ...] | None]:
  """Returns number and names (None if it has none) of the classes."""
  label = _class_label(builder.info.features[feature_keys(builder)[1]])
  assert label is not None  # `feature_keys` sees to it.
  return label.num_classes, tuple(label.names) if label.names else None


def open_tfds(name: str, *, split: str, data_dir: str | None = None) -> Source:
  """Returns the source of a TFDS data set.

  Args:
    name: name, perhaps with configuration and version.
    split: split, or part of one such as 'train[:90%]'.
    data_dir: folder of TFDS; None for its default.

  Raises:
    ValueError: if the data set or the split is not there, or of another kind.
  """
  builder = open_builder(name, data_dir=data_dir)
  image_key, label_key = feature_keys(builder)
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

  num_classes, names = class_names(builder)
  pieces = builder.info.splits[split].file_instructions
  return Source(
    files=tuple(piece.filename for piece in pieces),
    counts=tuple(
      piece.examples_in_shard - piece.skip if piece.take < 0 else piece.take
      for piece in pieces
    ),
    first=tuple(piece.skip for piece in pieces),
    open_file=open_tfrecord,
    parse=parse,
    label_offset=0,
    single_label=isinstance(
      builder.info.features[label_key], tfds.features.ClassLabel
    ),
    on_disk=True,
    num_classes=num_classes,
    class_names=names,
  )


def _class_label(
  feature: tfds.features.FeatureConnector,
) -> tfds.features.ClassLabel | None:
  """Returns the class label in a feature: itself, or what it is a list of."""
  if isinstance(feature, tfds.features.Sequence):
    feature = feature.feature
  return feature if isinstance(feature, tfds.features.ClassLabel) else None
