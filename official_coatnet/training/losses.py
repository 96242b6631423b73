"""Losses: pure functions from targets and logits to one value an example.

Targets come smoothed (and mixed) from `data.device`; both losses are in float32
and reduce over classes only, so that padded examples can be weighted out.
"""

import tensorflow as tf

LOSSES = ('softmax', 'sigmoid')
REDUCTIONS = ('sum', 'mean')


def softmax_cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """Returns -sum_c t_c log softmax(logits)_c, float32 [batch].

  Args:
    targets: float [batch, classes], each row summing to 1.
    logits: float [batch, classes].
  """
  return tf.nn.softmax_cross_entropy_with_logits(
    tf.cast(targets, tf.float32), tf.cast(logits, tf.float32)
  )


def sigmoid_cross_entropy(
  targets: tf.Tensor, logits: tf.Tensor, *, reduction: str = 'sum'
) -> tf.Tensor:
  """Returns the binary cross-entropy over classes, float32 [batch].

  Args:
    targets: float [batch, classes] in [0, 1].
    logits: float [batch, classes].
    reduction: 'sum' over classes, as big_vision does (DESIGN's reading; the
      paper is silent), or 'mean', as EfficientNetV2's code does.

  Raises:
    ValueError: If the reduction is unknown.
  """
  if reduction not in REDUCTIONS:
    raise ValueError(
      f'`reduction` is {reduction!r}; it must be one of {REDUCTIONS}.'
    )
  losses = tf.nn.sigmoid_cross_entropy_with_logits(
    tf.cast(targets, tf.float32), tf.cast(logits, tf.float32)
  )
  if reduction == 'sum':
    return tf.reduce_sum(losses, axis=-1)
  return tf.reduce_mean(losses, axis=-1)
