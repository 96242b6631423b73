"""From labels as stored to the padded class ids that the device expects."""

import re
from collections.abc import Callable

import tensorflow as tf


def require(
  condition: tf.Tensor, message: Callable[[], list[tf.Tensor | str]]
) -> tf.Tensor:
  """Stops the run with a readable sentence where a condition fails.

  Args:
    condition: scalar bool tensor.
    message: returns the parts of the sentence: strings, and scalar tensors of
      strings or numbers. Called while tracing; runs where the condition fails.

  Returns:
    A scalar tensor to make other operations wait for the check. The check runs
    in any case, but where one of them would fail as well, with a message that
    says less, it must come first.
  """

  def fail() -> tf.Tensor:
    parts = [
      part
      if isinstance(part, str) or part.dtype == tf.string
      else tf.strings.as_string(part)
      for part in message()
    ]
    # The operation itself, whose words are the same eagerly and in a graph.
    tf.raw_ops.Assert(condition=False, data=[tf.strings.join(parts)])
    return tf.constant(False)

  return tf.cond(condition, lambda: tf.constant(True), fail)


def expect(condition: tf.Tensor, parts: list[tf.Tensor | str]) -> tf.Operation:
  """Does what `require` does where all parts are there in any case.

  One operation and no branch: for the way of every image.

  Args:
    condition: scalar bool tensor.
    parts: of the sentence: strings, and scalar tensors.

  Returns:
    An operation to wait for; None eagerly.
  """
  return tf.raw_ops.Assert(
    condition=condition, data=[tf.convert_to_tensor(part) for part in parts]
  )


def sentence(error: tf.errors.OpError) -> str | None:
  """Returns the sentence with which `require` or `expect` stopped a run.

  Args:
    error: what a graph or a data set raised.

  Returns:
    The sentence without TensorFlow's words around it, or None if the error is
    of another origin.
  """
  found = re.search(
    r'assertion failed: \[(.*?)\]\s*(?:\[\[|\[Op|$)', error.message, re.DOTALL
  )
  if found is None:
    return None
  # Each part comes in brackets of its own, and escaped as in C; other letters
  # than those of ASCII come as they are or escaped, byte by byte.
  escaped = found.group(1).replace('] [', '')
  content = escaped.encode('utf-8').decode('unicode_escape')
  return content.encode('latin-1', 'replace').decode('utf-8', 'replace')


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

  Returns:
    An int32 [max_labels] tensor of distinct classes in [0, num_classes), padded
    with -1.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, naming file and record,
      if there is not one label where one is required, if confidences and labels
      differ in number, if a label is out of range or if there are too many.
  """
  where = [file, ', record ', record, ': ']
  stored = example['labels']
  if single_label:
    require(
      tf.equal(tf.size(stored), 1),
      lambda: [
        *where,
        tf.size(stored),
        ' labels where the schema has exactly one; if images have several, '
        "use schema = 'multilabel'.",
      ],
    )
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
  require(
    tf.size(stored) <= max_labels,
    lambda: [
      *where,
      tf.size(stored),
      f' labels, but max_labels = {max_labels}; raise max_labels, or '
      'confidence_threshold where there are confidences.',
    ],
  )
  # Cut to length, so that no other error can overtake the one above.
  classes = tf.cast(stored + label_offset, tf.int32)[:max_labels]
  padded = tf.pad(
    classes, [[0, max_labels - tf.size(classes)]], constant_values=-1
  )
  return tf.ensure_shape(padded, [max_labels])


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
  require(
    tf.logical_not(tf.reduce_any(outside)),
    lambda: [
      *where,
      'label ',
      tf.boolean_mask(labels, outside)[0],
      f' is out of range: with num_classes = {num_classes} and label_offset = '
      f'{label_offset}, stored labels must lie in {lowest}..{highest}.',
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
  require(
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
