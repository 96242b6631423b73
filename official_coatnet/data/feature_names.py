"""What a record holds, told in graph operations.

For the one record among many in which the parser has found nothing, or at which
a run stops: the record is copied.
"""

import re

import tensorflow as tf

_HEAD_BYTES = 512


def has_key(record: tf.Tensor, key: str) -> tf.Tensor:
  """Whether a record has a feature, be it empty: a scalar bool tensor.

  Args:
    record: scalar string tensor, a serialised tf.train.Example.
    key: name of the feature.
  """
  return tf.reduce_any(tf.equal(_entries(record)[0], key))


def key_in_head(record: tf.Tensor, key: str) -> tf.Tensor:
  """Whether a feature stands before the image, where ours have their labels.

  What is found there, in a twentieth of the time, need not be looked for by
  `has_key`.

  Args:
    record: scalar string tensor, a serialised tf.train.Example.
    key: name of the feature.
  """
  # In an entry of the map, field 1 is the key, with its length, 2 the value.
  name = key.encode()
  if len(name) > 127:  # Its length would take two bytes.
    return tf.constant(False)
  pattern = f'\\C*\\x0a\\x{len(name):02x}{re.escape(key)}\\x12\\C*'
  head = tf.strings.substr(record, 0, _HEAD_BYTES)
  return tf.strings.regex_full_match(head, pattern)


def describe(record: tf.Tensor) -> tf.Tensor:
  """Returns what a record holds, in graph operations and as a scalar string.

  Args:
    record: scalar string tensor, a serialised tf.train.Example.
  """
  keys, features = _entries(record)
  kinds = tf.fill(tf.shape(keys), ' (empty)')
  # A Feature begins with the number of its list.
  for tag, kind in ((b'\x0a', 'bytes'), (b'\x12', 'float'), (b'\x1a', 'int64')):
    is_kind = tf.equal(tf.strings.substr(features, 0, 1), tag)
    kinds = tf.where(is_kind, f' ({kind})', kinds)
  listed = tf.strings.reduce_join(
    tf.strings.join([keys, kinds]), separator=', '
  )
  return tf.where(tf.equal(listed, ' (empty)'), 'nothing', listed)


def _entries(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns keys and serialised features of a record, string [n] each.

  Of a record without any, one empty key.
  """
  (features,) = _fields(record, 'Example', 'features')
  (entries,) = _fields(features[0], 'Features', 'feature')
  keys, features = _fields(entries, 'Features.FeatureEntry', 'key', 'value')
  return tf.reshape(keys, [-1]), tf.reshape(features, [-1])


def _fields(message: tf.Tensor, name: str, *fields: str) -> list[tf.Tensor]:
  values: list[tf.Tensor] = tf.io.decode_proto(
    message, f'tensorflow.{name}', fields, [tf.string] * len(fields)
  ).values
  return values
