"""What stands in the place of a record that cannot be read.

A report is a string that a parser takes for an example without features, so
that nothing has to look for reports but where an example has no image: a field
of a number that tf.Example does not have, with text in it.
"""

import tensorflow as tf

# Of a constant length, which one byte can tell.
_TEXT_BYTES = 100
# Field 15, of a type that says its length.
_HEAD = bytes([15 << 3 | 2, _TEXT_BYTES])


def make(parts: list[tf.Tensor | str]) -> tf.Tensor:
  """Returns a report, a scalar string tensor.

  Args:
    parts: of its text: scalar strings, together at most 100 bytes.
  """
  text = tf.strings.join([*parts, ' ' * _TEXT_BYTES])
  return tf.strings.join([_HEAD, tf.strings.substr(text, 0, _TEXT_BYTES)])


def is_report(record: tf.Tensor) -> tf.Tensor:
  """Whether a scalar string tensor is a report, and not a record."""
  # No example begins like this: its only field has number 1.
  return tf.equal(tf.strings.substr(record, 0, len(_HEAD)), _HEAD)


def text(report: tf.Tensor) -> tf.Tensor:
  """Returns the text of a report, a scalar string tensor."""
  padded = tf.strings.substr(report, len(_HEAD), _TEXT_BYTES)
  return tf.strings.strip(padded)
