"""From labels as stored to the padded class ids that the device expects."""

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from official_coatnet.data import (
  feature_names,
  messages,
  schema as schema_lib,
)


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
  stored = kept = example['labels']
  if not single_label:
    kept = _keep_confident(
      stored,
      example.get('confidences'),
      threshold=confidence_threshold,
      where=[file, ', record ', record, ': '],
    )
    kept = tf.unique(kept).y
  rules = _Rules(
    num_classes=num_classes,
    label_offset=label_offset,
    max_labels=max_labels,
    single_label=single_label,
    keys=None if serialized is None else keys,
    labels_optional=labels_optional,
  )
  serialized = tf.constant(b'') if serialized is None else serialized
  checked = _check(stored, kept, [file, record, serialized], rules=rules)
  with tf.control_dependencies([checked]):
    # Cut to length, so that no other error can overtake those of the check.
    classes = tf.cast(kept + label_offset, tf.int32)[:max_labels]
  padded = tf.pad(
    classes, [[0, max_labels - tf.size(classes)]], constant_values=-1
  )
  return tf.ensure_shape(padded, [max_labels])


@dataclasses.dataclass(frozen=True)
class _Rules:
  """What labels must be; as of `clean_labels`."""

  num_classes: int
  label_offset: int
  max_labels: int
  single_label: bool
  keys: schema_lib.Schema | None
  labels_optional: bool

  @property
  def required_key(self) -> str | None:
    """The key that must be there, be it empty, where the number is free."""
    if self.single_label or self.labels_optional or self.keys is None:
      return None
    return self.keys.labels

  def is_outside(self, labels: tf.Tensor) -> tf.Tensor:
    """Whether stored labels are no classes, bool [n]."""
    lowest, highest = self.range
    return tf.logical_or(labels < lowest, labels > highest)

  @property
  def range(self) -> tuple[int, int]:
    """The lowest and the highest stored label."""
    return -self.label_offset, self.num_classes - 1 - self.label_offset


def _check(
  stored: tf.Tensor, kept: tf.Tensor, origin: list[tf.Tensor], *, rules: _Rules
) -> tf.Tensor:
  """Stops the run at labels that break the rules.

  Args:
    stored: all labels of a record, int64 [n].
    kept: those of them that count.
    origin: file, number and contents of the record.
    rules: what they must be.

  Returns:
    A scalar tensor to wait for.
  """
  key = rules.required_key
  fewest = 1 if rules.single_label or key is not None else 0
  most = 1 if rules.single_label else rules.max_labels
  complain = functools.partial(_complain, rules=rules)

  def look_closer() -> tf.Tensor:
    if key is None:
      return messages.apart(complain, *origin, stored, kept)
    has_none = tf.logical_and(
      tf.equal(tf.size(stored), 0), feature_names.key_in_head(origin[2], key)
    )
    return tf.cond(
      has_none,
      lambda: tf.constant(True),
      lambda: messages.apart(complain, *origin, stored, kept),
    )

  # One question for nearly all images.
  is_fine = tf.logical_and(tf.size(stored) >= fewest, tf.size(kept) <= most)
  return tf.cond(
    tf.logical_and(
      is_fine, tf.logical_not(tf.reduce_any(rules.is_outside(kept)))
    ),
    lambda: tf.constant(True),
    look_closer,
  )


def _complain(
  file: tf.Tensor,
  record: tf.Tensor,
  serialized: tf.Tensor,
  stored: tf.Tensor,
  kept: tf.Tensor,
  *,
  rules: _Rules,
) -> tf.Tensor:
  """Stops the run with a sentence, if labels do break the rules; see `_check`.

  Returns:
    True.
  """
  where = [file, ', record ', record, ': ']
  held = functools.partial(_held, serialized, rules.keys)
  if rules.single_label:
    _check_single(tf.size(stored), where=where, held=held)
  _check_range(kept, rules=rules, where=where)
  if not rules.single_label:
    _check_maximum(kept, max_labels=rules.max_labels, where=where)
  if rules.required_key is not None:
    has_key = feature_names.has_key(serialized, rules.required_key)
    _check_key(
      tf.logical_or(tf.size(stored) > 0, has_key), where=where, held=held
    )
  return tf.constant(True)


def _held(
  serialized: tf.Tensor, keys: schema_lib.Schema | None
) -> list[tf.Tensor | str]:
  """Returns what to say of what a record holds."""
  if keys is None:
    return []
  return [
    f' Labels are read from {keys.labels!r}; the record holds ',
    feature_names.describe(serialized),
    '. If they are elsewhere, set DataConfig.schema or feature_keys.',
  ]


def _check_single(
  number: tf.Tensor,
  *,
  where: list[tf.Tensor | str],
  held: Callable[[], list[tf.Tensor | str]],
) -> None:
  """Stops the run at an image that has not one label."""
  messages.require(
    tf.equal(number, 1),
    lambda: [
      *where,
      number,
      ' labels where the schema has exactly one; if images have several, '
      "use schema = 'multilabel'.",
      *held(),
    ],
  )


def _check_key(
  has_place: tf.Tensor,
  *,
  where: list[tf.Tensor | str],
  held: Callable[[], list[tf.Tensor | str]],
) -> None:
  """Stops the run at an image without labels that has no place for them."""
  messages.require(
    has_place,
    lambda: [
      *where,
      'no labels, and no key for them.',
      *held(),
      ' If an image may have none, write the key with an empty list, or set '
      'DataConfig.labels_optional = True.',
    ],
  )


def _check_range(
  labels: tf.Tensor, *, rules: _Rules, where: list[tf.Tensor | str]
) -> None:
  """Stops the run at a stored label that is no class."""
  lowest, highest = rules.range
  outside = rules.is_outside(labels)
  messages.require(
    tf.logical_not(tf.reduce_any(outside)),
    lambda: [
      *where,
      'label ',
      tf.boolean_mask(labels, outside)[0],
      f' is out of range: with num_classes = {rules.num_classes} and '
      f'label_offset = {rules.label_offset}, stored labels must lie in '
      f'{lowest}..{highest}.',
    ],
  )


def _check_maximum(
  labels: tf.Tensor, *, max_labels: int, where: list[tf.Tensor | str]
) -> None:
  """Stops the run at an image of more labels than a batch has room for."""
  messages.require(
    tf.size(labels) <= max_labels,
    lambda: [
      *where,
      tf.size(labels),
      f' labels, but max_labels = {max_labels}; raise max_labels, or '
      'confidence_threshold where there are confidences.',
    ],
  )


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
