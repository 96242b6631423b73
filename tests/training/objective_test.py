"""Tests of training.objective against NumPy and plain Python."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import device
from official_coatnet.training import dry_run, objective
from tests.fixtures import experiments as fixture


def _random_example(seed=0, batch=5, classes=7):
  rng = np.random.default_rng(seed)
  return rng.uniform(size=(batch, classes)), 4 * rng.normal(
    size=(batch, classes)
  )


class LossesTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(0.0, 0.1)
  def test_examples_count_as_their_classes(self, smoothing):
    class_weights = (0.5, 1.0, 4.0)
    config = fixture.make_experiment(
      model={'num_classes': 3},
      train_data={'num_classes': 3},
      eval_data={'num_classes': 3},
      loss={'label_smoothing': smoothing, 'class_weights': class_weights},
    )
    batch = {
      'image': tf.zeros([4, 32, 32, 3], tf.uint8),
      'label': tf.constant([[0], [1], [2], [2]]),
    }
    _, targets = objective.device_half(config, batch, is_training=True)
    self.assertAllClose(
      objective.example_weights(config.loss, targets), [0.5, 1.0, 4.0, 4.0]
    )
    ratios = tf.constant([0.25, 0.75, 1.0, 0.5])
    _, mixed = objective.device_half(
      config, {**batch, 'mixup_ratio': ratios}, is_training=True
    )
    hot = device.mixup(
      tf.zeros([4, 1, 1, 1]), tf.one_hot([0, 1, 2, 2], 3), ratios
    )[1]
    self.assertAllClose(
      objective.example_weights(config.loss, mixed),
      hot.numpy() @ class_weights,
      rtol=1e-5,
    )

  def test_class_weights_that_make_no_sense(self):
    self.assertIsNone(
      objective.example_weights(
        fixture.make_experiment().loss, tf.zeros([1, 5])
      )
    )
    with self.assertRaisesRegex(ValueError, 'has 3 numbers.*num_classes` is 5'):
      fixture.make_experiment(loss={'class_weights': (1.0, 1.0, 2.0)})
    for weights in ('balance', (0.0,) * 5, (1.0, 1.0, 1.0, 1.0, -1.0)):
      with self.assertRaisesRegex(ValueError, 'Config.class_weights` is'):
        fixture.make_experiment(loss={'class_weights': weights})
    with self.assertRaisesRegex(ValueError, 'is for the softmax loss'):
      fixture.make_experiment(
        loss={'name': 'sigmoid', 'class_weights': 'balanced'}
      )
    balanced = fixture.make_experiment(loss={'class_weights': 'balanced'})
    with self.assertRaisesRegex(ValueError, 'are not known here'):
      objective.example_weights(balanced.loss, tf.zeros([1, 5]))
    dry = dry_run.shrink(balanced, num_replicas=1)
    self.assertEqual(dry.loss.class_weights, (1.0,) * 5)

  def test_softmax_is_minus_log_likelihood(self):
    targets, logits = _random_example()
    targets /= targets.sum(-1, keepdims=True)
    log_z = np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(targets * (logits - log_z)).sum(-1)
    self.assertAllClose(
      objective.softmax_cross_entropy(targets, logits), expected, rtol=1e-5
    )

  @parameterized.parameters('sum', 'mean')
  def test_sigmoid_reduces_over_classes(self, reduction):
    targets, logits = _random_example()
    p = 1 / (1 + np.exp(-logits))
    terms = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    expected = getattr(terms, reduction)(-1)
    actual = objective.sigmoid_cross_entropy(
      targets, logits, reduction=reduction
    )
    self.assertAllClose(actual, expected, rtol=1e-5)

  def test_bfloat16_logits_are_reduced_in_float32(self):
    # 21,843 terms of about 0.7: in bfloat16 the sum would stop growing.
    logits = tf.zeros([1, 21843], tf.bfloat16)
    loss = objective.sigmoid_cross_entropy(tf.zeros([1, 21843]), logits)
    self.assertEqual(loss.dtype, tf.float32)
    self.assertAllClose(loss, [21843 * np.log(2)], rtol=1e-5)

  def test_first_loss_with_head_bias(self):
    # DESIGN's figures: 21,843 classes, smoothing 1e-4, one label.
    targets = device.smooth_sigmoid(
      device.multi_hot(tf.constant([[3]]), 21843), 1e-4
    )
    first = [
      float(
        objective.sigmoid_cross_entropy(targets, tf.fill([1, 21843], bias))[0]
      )
      for bias in (0.0, -10.0)
    ]
    self.assertAllClose(first, [15140.4, 21.9], rtol=2e-3)

  def test_unknown_reduction(self):
    with self.assertRaisesRegex(ValueError, "'total'.*sum.*mean"):
      objective.sigmoid_cross_entropy(
        tf.zeros([1, 2]), tf.zeros([1, 2]), reduction='total'
      )


class DeviceHalfTest(tf.test.TestCase):
  def test_images_are_normalised_as_the_experiment_says(self):
    mean, deviation = (0.5, 0.25, 0.0), (0.5, 0.1, 1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    batch = {'image': tf.constant(pixels), 'label': tf.constant([[1], [2]])}
    experiment = fixture.with_data(
      fixture.make_experiment(), mean=mean, deviation=deviation
    )
    for is_training in (True, False):
      images, _ = objective.device_half(
        experiment, batch, is_training=is_training
      )
      self.assertAllClose(
        images, (pixels / 255.0 - mean) / deviation, atol=1e-5
      )


class MetricsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(1, 2, 5)
  def test_equals_a_plain_loop(self, k):
    rng = np.random.default_rng(k)
    logits = rng.normal(size=(64, 9)).astype(np.float32)
    labels = rng.integers(-1, 9, size=(64, 3)).astype(np.int32)
    values, weights = objective.precision_at_k(
      tf.constant(labels), tf.constant(logits), k=k
    )
    for row in range(64):
      true = {c for c in labels[row] if c >= 0}
      best = set(np.argsort(-logits[row])[:k])
      self.assertEqual(values[row], float(bool(true & best)))
      self.assertEqual(weights[row], float(bool(true)))

  def test_fewer_classes_than_k(self):
    values, _ = objective.precision_at_k(
      tf.constant([[0], [1]]), tf.constant([[0.0, 1.0], [0.0, 1.0]]), k=5
    )
    self.assertAllEqual(values, [1, 1])

  def test_names_follow_the_schema(self):
    self.assertEqual(objective.metric_names('imagenet'), {'top1': 1, 'top5': 5})
    self.assertIn('precision_at_1', objective.metric_names('multilabel'))


class SkippedImagesTest(tf.test.TestCase):
  def make(self, **fields):
    return objective.SkippedImages(
      fixture.make_data(**fields), name='eval_data'
    )

  def test_counts_and_weights(self):
    counter = self.make(on_error='skip')
    for _ in range(2):
      weights = counter.update_state({'skipped': tf.constant([0.0, 1, 1, 0])})
      self.assertAllEqual(weights, [1, 0, 0, 1])
    self.assertEqual(counter.results(), {'skipped_images': 4.0})
    counter.reset_state()
    self.assertEqual(counter.result(), 0)

  def test_limit(self):
    counter = self.make(on_error='skip', max_skipped=0.02)
    counter.check(count=2, seen=100)
    with self.assertRaisesRegex(
      ValueError, '`eval_data`: 3 images .*max_skipped = 0.02 of 100.*validate'
    ):
      counter.check(count=3, seen=100)
    self.make(on_error='skip', max_skipped=0).check(count=0, seen=0)

  def test_nothing_is_done_unless_images_are_skipped(self):
    counter = self.make()
    self.assertIsNone(counter.update_state({}))
    self.assertEqual(counter.result(), 0)
    self.assertEmpty(counter.results())
    counter.reset_state()
    counter.check(count=9, seen=10)


if __name__ == '__main__':
  tf.test.main()
