"""Tests of training.losses against NumPy in float64."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import device
from official_coatnet.training import losses


def _example(seed=0, batch=5, classes=7):
  rng = np.random.default_rng(seed)
  return rng.uniform(size=(batch, classes)), 4 * rng.normal(
    size=(batch, classes)
  )


class LossesTest(tf.test.TestCase, parameterized.TestCase):
  def test_softmax_is_minus_log_likelihood(self):
    targets, logits = _example()
    targets /= targets.sum(-1, keepdims=True)
    log_z = np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(targets * (logits - log_z)).sum(-1)
    self.assertAllClose(
      losses.softmax_cross_entropy(targets, logits), expected, rtol=1e-5
    )

  @parameterized.parameters('sum', 'mean')
  def test_sigmoid_reduces_over_classes(self, reduction):
    targets, logits = _example()
    p = 1 / (1 + np.exp(-logits))
    terms = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    expected = getattr(terms, reduction)(-1)
    actual = losses.sigmoid_cross_entropy(targets, logits, reduction=reduction)
    self.assertAllClose(actual, expected, rtol=1e-5)

  def test_bfloat16_logits_are_reduced_in_float32(self):
    # 21,843 terms of about 0.7: in bfloat16 the sum would stop growing.
    logits = tf.zeros([1, 21843], tf.bfloat16)
    loss = losses.sigmoid_cross_entropy(tf.zeros([1, 21843]), logits)
    self.assertEqual(loss.dtype, tf.float32)
    self.assertAllClose(loss, [21843 * np.log(2)], rtol=1e-5)

  def test_first_loss_with_head_bias(self):
    # DESIGN's figures: 21,843 classes, smoothing 1e-4, one label.
    targets = device.smooth_sigmoid(
      device.multi_hot(tf.constant([[3]]), 21843), 1e-4
    )
    first = [
      float(losses.sigmoid_cross_entropy(targets, tf.fill([1, 21843], bias))[0])
      for bias in (0.0, -10.0)
    ]
    self.assertAllClose(first, [15140.4, 21.9], rtol=2e-3)

  def test_unknown_reduction(self):
    with self.assertRaisesRegex(ValueError, "'total'.*sum.*mean"):
      losses.sigmoid_cross_entropy(
        tf.zeros([1, 2]), tf.zeros([1, 2]), reduction='total'
      )


if __name__ == '__main__':
  tf.test.main()
