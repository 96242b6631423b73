"""Metrics: pure functions from label ids and logits to (values, weights).

Both are float32 [batch]; a metric is sum(values * weights) / sum(weights), so
that padded batches and examples without labels average exactly.
"""

import tensorflow as tf


def precision_at_k(
  labels: tf.Tensor, logits: tf.Tensor, *, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Whether one of the k highest logits is among the labels of the example.

  With one label an example this is top-k accuracy; with several and k = 1 it is
  the paper's Precision@1 (Tables 2 and 6).

  Args:
    labels: int32 [batch, max_labels], padded with -1.
    logits: [batch, classes].
    k: Number of predictions looked at; at most the number of classes counts.

  Returns:
    Values (0 or 1) and weights (0 for an example without labels).
  """
  k = min(k, logits.shape[-1])
  # [batch, k]
  predictions = tf.math.top_k(tf.cast(logits, tf.float32), k).indices
  # [batch, max_labels, 1] == [batch, 1, k] -> [batch, max_labels, k]. The
  # padding, -1, equals no prediction.
  hits = labels[:, :, None] == predictions[:, None, :]
  values = tf.cast(tf.reduce_any(hits, axis=[1, 2]), tf.float32)
  weights = tf.cast(tf.reduce_any(labels >= 0, axis=1), tf.float32)
  return values, weights


def metric_names(schema: str) -> dict[str, int]:
  """Returns the metrics of a data set: name to k of `precision_at_k`."""
  if schema == 'multilabel':
    return {'precision_at_1': 1, 'precision_at_5': 5}
  return {'top1': 1, 'top5': 5}
