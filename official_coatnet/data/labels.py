"""From labels as stored to the padded class ids that the device expects."""

import functools
from collections.abc import Callable

import tensorflow as tf

from official_coatnet.data import messages, schema as schema_lib


def clean_labels(
  example: dict[str, tf.Tensor],
  *,
  file: tf.Tensor,
  record: tf.Tensor,
  num_classes: int,
  label_offset: int,
  max_labels: int,
  single_label: bool,
  confidence_threshold: float | None = None,
  serialized: tf.Tensor | None = None,
  keys: schema_lib.Schema | None = None,
  labels_optional: bool = False,
) -> tf.Tensor:
  """Checks the labels of an example and brings them into the device's form.

  Args:
    example: what `schema.parse` returns: 'labels', int64 [n], and, where the
      schema has them, 'confidences', float32 [n] or [0].
    file: scalar string tensor, where the example comes from.
    record: scalar int64 tensor, its position in that file.
    num_classes: number of classes.
    label_offset: what to add to a stored label.
    max_labels: length of the result.
    single_label: whether exactly one label is required.
    confidence_threshold: labels of lower confidence are left out; None keeps
      all. A record without confidences keeps all its labels.
    serialized: scalar string tensor, the record that the example is of.
    keys: the schema by which it was parsed. The parser takes a key that is not
      there for an empty list: given both, an example without labels is looked
      at again.
    labels_optional: whether a record may lack the key of its labels.

  Returns:
    An int32 [max_labels] tensor of distinct classes in [0, num_classes), padded
    with -1.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, naming file and record,
      if there is not one label where one is required, if the key of the labels
      is not there, if confidences and labels differ in number, if a label is
      out of range or if there are too many.
  """
  where = [file, ', record ', record, ': ']
  stored = example['labels']
  held = functools.partial(_held, serialized, keys)
  if single_label:
    _check_single(stored, where=where, held=held)
  else:
    stored = _keep_confident(
      stored,
      example.get('confidences'),
      threshold=confidence_threshold,
      where=where,
    )
    stored = tf.unique(stored).y
  _check_range(
    stored, num_classes=num_classes, label_offset=label_offset, where=where
  )
  _check_number(
    stored,
    max_labels=max_labels,
    where=where,
    has_place=lambda: labels_optional or _has_place(example, serialized, keys),
    held=held,
  )
  # Cut to length, so that no other error can overtake the one above.
  classes = tf.cast(stored + label_offset, tf.int32)[:max_labels]
  padded = tf.pad(
    classes, [[0, max_labels - tf.size(classes)]], constant_values=-1
  )
  return tf.ensure_shape(padded, [max_labels])


def _check_single(
  labels: tf.Tensor,
  *,
  where: list[tf.Tensor | str],
  held: Callable[[], list[tf.Tensor | str]],
) -> None:
  """Stops the run at an image that has not one label."""
  messages.require(
    tf.equal(tf.size(labels), 1),
    lambda: [
      *where,
      tf.size(labels),
      ' labels where the schema has exactly one; if images have several, '
      "use schema = 'multilabel'.",
      *held(),
    ],
  )


def _check_range(
  labels: tf.Tensor,
  *,
  num_classes: int,
  label_offset: int,
  where: list[tf.Tensor | str],
) -> None:
  """Stops the run at a stored label that is no class."""
  lowest, highest = -label_offset, num_classes - 1 - label_offset
  outside = tf.logical_or(labels < lowest, labels > highest)
  messages.require(
    tf.logical_not(tf.reduce_any(outside)),
    lambda: [
      *where,
      'label ',
      tf.boolean_mask(labels, outside)[0],
      f' is out of range: with num_classes = {num_classes} and label_offset = '
      f'{label_offset}, stored labels must lie in {lowest}..{highest}.',
    ],
  )


def _check_number(
  labels: tf.Tensor,
  *,
  max_labels: int,
  where: list[tf.Tensor | str],
  has_place: Callable[[], tf.Tensor | bool],
  held: Callable[[], list[tf.Tensor | str]],
) -> None:
  """Stops the run at an image with too many labels, or no place for them."""
  number = tf.size(labels)

  def look_closer() -> tf.Tensor:
    messages.require(
      number <= max_labels,
      lambda: [
        *where,
        number,
        f' labels, but max_labels = {max_labels}; raise max_labels, or '
        'confidence_threshold where there are confidences.',
      ],
    )
    return messages.require(
      tf.convert_to_tensor(has_place()),
      lambda: [
        *where,
        'no labels, nor the key of them.',
        *held(),
        ' If an image may have no label, write the key with an empty list, or '
        'set DataConfig.labels_optional = True.',
      ],
    )

  # One question for nearly all images.
  tf.cond(
    tf.logical_and(number > 0, number <= max_labels),
    lambda: tf.constant(True),
    look_closer,
  )


def _has_place(
  example: dict[str, tf.Tensor],
  serialized: tf.Tensor | None,
  keys: schema_lib.Schema | None,
) -> tf.Tensor | bool:
  """Whether a record has a place for labels, be it empty."""
  if serialized is None or keys is None:
    return True
  # All labels may have been left out for their confidence.
  return tf.cond(
    tf.size(example['labels']) > 0,
    lambda: tf.constant(True),
    lambda: schema_lib.has_key(serialized, keys.labels),
  )


def _held(
  serialized: tf.Tensor | None, keys: schema_lib.Schema | None
) -> list[tf.Tensor | str]:
  """Returns what to say of what a record holds."""
  if serialized is None or keys is None:
    return []
  return [
    f' Labels are read from {keys.labels!r}; the record holds ',
    schema_lib.describe(serialized),
    '. If they are elsewhere, set DataConfig.schema or feature_keys.',
  ]


def _keep_confident(
  labels: tf.Tensor,
  confidences: tf.Tensor | None,
  *,
  threshold: float | None,
  where: list[tf.Tensor | str],
) -> tf.Tensor:
  """Leaves out the labels whose confidence is below the threshold."""
  if threshold is None or confidences is None:
    return labels
  num_confidences = tf.size(confidences)
  messages.require(
    tf.logical_or(
      tf.equal(num_confidences, tf.size(labels)), tf.equal(num_confidences, 0)
    ),
    lambda: [
      *where,
      num_confidences,
      ' confidences for ',
      tf.size(labels),
      ' labels; each label needs one, or the record has none.',
    ],
  )
  return tf.cond(
    tf.equal(num_confidences, 0),
    lambda: labels,
    lambda: tf.boolean_mask(labels, confidences >= threshold),
  )
