"""Tests of training.metrics against plain Python."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import metrics


class MetricsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(1, 2, 5)
  def test_equals_a_plain_loop(self, k):
    rng = np.random.default_rng(k)
    logits = rng.normal(size=(64, 9)).astype(np.float32)
    labels = rng.integers(-1, 9, size=(64, 3)).astype(np.int32)
    values, weights = metrics.precision_at_k(
      tf.constant(labels), tf.constant(logits), k=k
    )
    for row in range(64):
      true = {c for c in labels[row] if c >= 0}
      best = set(np.argsort(-logits[row])[:k])
      self.assertEqual(values[row], float(bool(true & best)))
      self.assertEqual(weights[row], float(bool(true)))

  def test_fewer_classes_than_k(self):
    values, _ = metrics.precision_at_k(
      tf.constant([[0], [1]]), tf.constant([[0.0, 1.0], [0.0, 1.0]]), k=5
    )
    self.assertAllEqual(values, [1, 1])

  def test_names_follow_the_schema(self):
    self.assertEqual(metrics.metric_names('imagenet'), {'top1': 1, 'top5': 5})
    self.assertIn('precision_at_1', metrics.metric_names('multilabel'))


if __name__ == '__main__':
  tf.test.main()
