"""Record schemas: how an image and its labels are laid out in a tf.Example.

Two schemas are written and read, one further one is only read:

*   `imagenet`: the form of the TPU and Model Garden ImageNet builders. One
    label an image, stored 1-based (0 was once kept for a background class that
    no image has), hence a `label_offset` of -1.
*   `multilabel`: any number of 0-based labels an image, each with an optional
    confidence: the form for JFT-like, weakly labelled corpora.
*   `automl`: the ImageNet-21K records of google/automl's EfficientNetV2 (keys
    `id`, `image`, `labels`).

Records of others often differ in no more than the names of their features:
`feature_keys` puts other names in the place of a schema's own.
"""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
from google.protobuf import message

# Of what `get_schema` takes: pairs of role and key, which can be hashed.
FeatureKeys: TypeAlias = tuple[tuple[str, str], ...]
# What a key can be set for.
ROLES = ('encoded', 'labels', 'confidences')


@dataclasses.dataclass(frozen=True)
class Schema:
  """Names of the features of one form of records.

  Attributes:
    name: the name by which configurations call the schema.
    encoded: key of the encoded image, a single byte string.
    labels: key of the int64 label or labels.
    confidences: key of the float confidences, as many as labels, or None.
    single_label: whether a record has exactly one label.
    label_offset: what to add to a stored label to get a class in
      [0, num_classes).
  """

  name: str
  encoded: str
  labels: str
  confidences: str | None
  single_label: bool
  label_offset: int


SCHEMAS: Mapping[str, Schema] = types.MappingProxyType(
  {
    'imagenet': Schema(
      name='imagenet',
      encoded='image/encoded',
      labels='image/class/label',
      confidences=None,
      single_label=True,
      label_offset=-1,
    ),
    'multilabel': Schema(
      name='multilabel',
      encoded='image/encoded',
      labels='image/class/label',
      confidences='image/class/confidence',
      single_label=False,
      label_offset=0,
    ),
    'automl': Schema(
      name='automl',
      encoded='image',
      labels='labels',
      confidences=None,
      single_label=False,
      label_offset=0,
    ),
  }
)


def get_schema(
  name: str, feature_keys: Mapping[str, str] | FeatureKeys | None = None
) -> Schema:
  """Returns a schema.

  Args:
    name: name of the schema.
    feature_keys: keys to read in the place of its own, by 'encoded', 'labels'
      or 'confidences', as a mapping or as pairs.

  Raises:
    ValueError: if there is no such schema; if a key is set for something else,
      or is no name, or two are the same.
  """
  if name not in SCHEMAS:
    raise ValueError(
      f'schema is {name!r}, but must be one of {sorted(SCHEMAS)}; use '
      "'imagenet' for one label an image, 'multilabel' for several."
    )
  if not feature_keys:
    return SCHEMAS[name]
  keys = dict(_pairs(feature_keys))
  changes: dict[str, Any] = dict(keys)
  schema = dataclasses.replace(SCHEMAS[name], **changes)
  if schema.single_label and 'confidences' in keys:
    raise ValueError(
      f"feature_keys is {keys}, but schema {name!r} has no 'confidences': its "
      'records have one label each; leave them out, or set schema to '
      "'multilabel'."
    )
  used = [getattr(schema, role) for role in ROLES if getattr(schema, role)]
  if len(set(used)) < len(used):
    raise ValueError(
      f'feature_keys is {keys}, so that schema {name!r} would read {used}: '
      'each must be a feature of its own; correct the keys.'
    )
  return schema


def _pairs(feature_keys: Mapping[str, str] | FeatureKeys) -> FeatureKeys:
  """Returns roles and keys, checked and in order; see `get_schema`."""
  rule = (
    f'but must map some of {list(ROLES)} to names of features, as in '
    "{'encoded': 'image', 'labels': 'label'}"
  )
  try:
    pairs = tuple(sorted(dict(feature_keys).items()))
  except (TypeError, ValueError) as error:
    raise ValueError(f'feature_keys is {feature_keys!r}, {rule}.') from error
  for role, key in pairs:
    if role not in ROLES:
      raise ValueError(
        f'feature_keys is {dict(pairs)}, {rule}; {role!r} is none of them.'
      )
    if not isinstance(key, str) or not key:
      raise ValueError(
        f'feature_keys is {dict(pairs)}, {rule}; {key!r} is no name.'
      )
  return pairs


def normalize_keys(
  feature_keys: Mapping[str, str] | FeatureKeys | None,
) -> FeatureKeys | None:
  """Returns keys in a form that can be hashed and compared; None for none."""
  return _pairs(feature_keys) if feature_keys else None


def serialize_imagenet(
  encoded: bytes,
  *,
  label: int,
  height: int,
  width: int,
  channels: int = 3,
  colorspace: str = 'RGB',
  image_format: str = 'JPEG',
  filename: str = '',
  synset: str = '',
  text: str = '',
) -> bytes:
  """Returns one record of the `imagenet` schema.

  Args:
    encoded: the image file, normally an RGB JPEG.
    label: class, 1-based.
    height: height of the image in pixels.
    width: width of the image in pixels.
    channels: channels of the image.
    colorspace: colour space of `encoded`.
    image_format: format of `encoded`.
    filename: name of the image, for people.
    synset: WordNet id of the class; left out if empty.
    text: readable name of the class; left out if empty.

  Returns:
    A serialised tf.train.Example; equal arguments give equal bytes.

  Raises:
    ValueError: if `label` is below 1.
  """
  if label < 1:
    raise ValueError(
      f'serialize_imagenet: label is {label}, but labels of this schema start '
      'at 1; add 1 to a 0-based class.'
    )
  features = {
    'image/encoded': _bytes(encoded),
    'image/height': _ints([height]),
    'image/width': _ints([width]),
    'image/channels': _ints([channels]),
    'image/colorspace': _bytes(colorspace.encode()),
    'image/format': _bytes(image_format.encode()),
    'image/filename': _bytes(filename.encode()),
    'image/class/label': _ints([label]),
  }
  if synset:
    features['image/class/synset'] = _bytes(synset.encode())
  if text:
    features['image/class/text'] = _bytes(text.encode())
  return _serialize(features)


def serialize_multilabel(
  encoded: bytes,
  *,
  labels: Sequence[int],
  confidences: Sequence[float] | None = None,
  key: str = '',
) -> bytes:
  """Returns one record of the `multilabel` schema.

  Args:
    encoded: the image file.
    labels: classes, 0-based, in any number, none included.
    confidences: one confidence a label in [0, 1], or None.
    key: what identifies the image in the corpus.

  Returns:
    A serialised tf.train.Example; equal arguments give equal bytes.

  Raises:
    ValueError: if a label is negative, or the confidences are not as many as
      the labels.
  """
  if any(label < 0 for label in labels):
    raise ValueError(
      f'serialize_multilabel: labels are {list(labels)}, but must not be '
      'negative; this schema is 0-based.'
    )
  features = {
    'image/encoded': _bytes(encoded),
    'image/class/label': _ints(labels),
    'image/key': _bytes(key.encode()),
  }
  if confidences is not None:
    if len(confidences) != len(labels):
      raise ValueError(
        f'serialize_multilabel: {len(confidences)} confidences for '
        f'{len(labels)} labels, but each label needs one; give None if there '
        'are none.'
      )
    features['image/class/confidence'] = tf.train.Feature(
      float_list=tf.train.FloatList(value=confidences)
    )
  return _serialize(features)


def parse(
  serialized: tf.Tensor, *, schema: str | Schema
) -> dict[str, tf.Tensor]:
  """Reads one record, in graph operations.

  A missing key is no error here, where the file's name is not known: it comes
  out as an empty string or vector, for the caller to judge.

  Args:
    serialized: scalar string tensor, a serialised tf.train.Example.
    schema: the schema, or its name.

  Returns:
    'encoded', a scalar string; 'labels', int64 [n] as stored, no offset
    applied; and, where the schema has them, 'confidences', float32 [m], with m
    either n or, in a record that has none, 0.
  """
  keys = schema if isinstance(schema, Schema) else get_schema(schema)
  spec = {
    keys.encoded: tf.io.FixedLenFeature([], tf.string, default_value=''),
    # Of a single example, a ragged feature is a plain vector: no SparseTensor.
    keys.labels: tf.io.RaggedFeature(tf.int64),
  }
  if keys.confidences:
    spec[keys.confidences] = tf.io.RaggedFeature(tf.float32)
  features = tf.io.parse_single_example(serialized, spec)
  example = {
    'encoded': features[keys.encoded],
    'labels': features[keys.labels],
  }
  if keys.confidences:
    example['confidences'] = features[keys.confidences]
  return example


def find_image(serialized: bytes) -> bytes:
  """Returns the image of a record of any schema; b'' if there is none."""
  try:
    features = tf.train.Example.FromString(serialized).features.feature
  except message.DecodeError:
    return b''
  for keys in SCHEMAS.values():
    if keys.encoded in features:
      return next(iter(features[keys.encoded].bytes_list.value), b'')
  return b''


def _bytes(value: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(values: Sequence[int]) -> tf.train.Feature:
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _serialize(features: dict[str, tf.train.Feature]) -> bytes:
  example = tf.train.Example(features=tf.train.Features(feature=features))
  # Features is a map, whose order protobuf leaves open unless asked.
  return example.SerializeToString(deterministic=True)
