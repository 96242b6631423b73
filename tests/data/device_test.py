"""Tests of official_coatnet.data.device against NumPy."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import device


class NormalizeTest(tf.test.TestCase):
  def test_matches_numpy(self):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    mean = np.array([123.675, 116.28, 103.53])
    stddev = np.array([58.395, 57.12, 57.375])
    self.assertAllClose(
      device.normalize(tf.constant(images)),
      (images.astype(np.float64) - mean) / stddev,
      atol=1e-5,
    )

  def test_bfloat16_is_rounded_once(self):
    images = tf.range(256 * 3, dtype=tf.int32) % 256
    images = tf.cast(tf.reshape(images, [1, 16, 16, 3]), tf.uint8)
    result = device.normalize(images, tf.bfloat16)
    self.assertEqual(result.dtype, tf.bfloat16)
    exact = device.normalize(images, tf.float32)
    self.assertAllEqual(result, tf.cast(exact, tf.bfloat16))

  def test_other_numbers_as_constants_under_xla(self):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    mean, deviation = (0.5, 0.25, 0.0), (0.5, 0.1, 1.0)
    normalize = tf.function(
      lambda x: device.normalize(x, mean=mean, deviation=deviation),
      jit_compile=True,
    )
    self.assertAllClose(
      normalize(images), (images / 255.0 - mean) / deviation, atol=1e-5
    )


class MultiHotTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(tf.int32, tf.int64)
  def test_duplicates_and_padding(self, dtype):
    labels = tf.constant([[0, 2, 2], [4, -1, -1], [-1, -1, -1]], dtype)
    result = device.multi_hot(labels, 5)
    self.assertEqual(result.dtype, tf.float32)
    self.assertAllEqual(
      result, [[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    )

  def test_single_label_is_one_hot(self):
    labels = tf.constant([[3], [0]])
    self.assertAllEqual(
      device.multi_hot(labels, 4), tf.one_hot(labels[:, 0], 4)
    )

  def test_out_of_range_leaves_no_trace(self):
    self.assertAllEqual(
      device.multi_hot(tf.constant([[7, -5]]), 4), np.zeros([1, 4])
    )


class SmoothingTest(tf.test.TestCase):
  def test_softmax_matches_keras(self):
    targets = tf.one_hot([1, 0, 2], 4)
    logits = tf.random.stateless_normal([3, 4], [1, 2])
    keras = tf.keras.losses.CategoricalCrossentropy(
      from_logits=True, label_smoothing=0.1, reduction='none'
    )
    smoothed = device.smooth_softmax(targets, 0.1)
    self.assertAllClose(tf.reduce_sum(smoothed, axis=1), [1.0, 1.0, 1.0])
    self.assertAllClose(
      tf.nn.softmax_cross_entropy_with_logits(smoothed, logits),
      keras(targets, logits),
    )

  def test_sigmoid_tf_matches_compat_v1(self):
    targets = tf.constant([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    logits = tf.random.stateless_normal([2, 3], [1, 2])
    smoothed = device.smooth_sigmoid(targets, 1e-2)
    reference = tf.compat.v1.losses.sigmoid_cross_entropy(
      targets, logits, label_smoothing=1e-2, reduction='none'
    )
    self.assertAllClose(
      tf.nn.sigmoid_cross_entropy_with_logits(smoothed, logits), reference
    )

  def test_sigmoid_full(self):
    targets = tf.constant([[1.0, 0.0]])
    smoothed = device.smooth_sigmoid(targets, 0.1, mode='full')
    self.assertAllClose(smoothed, [[0.9, 0.1]])

  def test_unknown_mode(self):
    with self.assertRaisesRegex(ValueError, "'both'.*'tf' or 'full'"):
      device.smooth_sigmoid(tf.zeros([1, 2]), 0.1, mode='both')


class MixupTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.images = rng.normal(size=(8, 4, 6, 3)).astype(np.float32)
    self.targets = rng.uniform(size=(8, 5)).astype(np.float32)
    self.ratio = rng.uniform(size=8).astype(np.float32)

  def reference(self, values):
    mixed = np.zeros_like(values)
    for i, ratio in enumerate(self.ratio):
      mixed[i] = ratio * values[i] + (1 - ratio) * values[i ^ 1]
    return mixed

  @parameterized.parameters(False, True)
  def test_matches_loop(self, jit_compile):
    mixup = tf.function(device.mixup, jit_compile=jit_compile)
    images, targets = mixup(
      tf.constant(self.images), tf.constant(self.targets), self.ratio
    )
    self.assertAllClose(images, self.reference(self.images))
    self.assertAllClose(targets, self.reference(self.targets))

  def test_same_on_two_replicas(self):
    whole = device.mixup(
      tf.constant(self.images), tf.constant(self.targets), self.ratio
    )
    halves = [
      device.mixup(
        tf.constant(self.images[part]),
        tf.constant(self.targets[part]),
        self.ratio[part],
      )
      for part in (slice(4), slice(4, 8))
    ]
    for all_at_once, first, second in zip(whole, *halves):
      self.assertAllEqual(all_at_once, tf.concat([first, second], axis=0))

  def test_bfloat16_ratio_is_not_rounded(self):
    images = tf.cast(self.images, tf.bfloat16)
    mixed, _ = device.mixup(images, tf.constant(self.targets), self.ratio)
    self.assertEqual(mixed.dtype, tf.bfloat16)
    exact = self.reference(tf.cast(images, tf.float32).numpy())
    self.assertAllEqual(mixed, tf.cast(exact, tf.bfloat16))

  def test_odd_batch(self):
    with self.assertRaisesRegex(ValueError, 'batch.*3 examples.*even'):
      device.mixup(tf.zeros([3, 2, 2, 3]), tf.zeros([3, 5]), tf.zeros([3]))


class CompileTest(tf.test.TestCase):
  def test_all_compile_together(self):
    @tf.function(jit_compile=True)
    def step(images, labels, ratio):
      targets = device.smooth_softmax(device.multi_hot(labels, 11), 0.1)
      return device.mixup(device.normalize(images), targets, ratio)

    arguments = (
      tf.ones([4, 8, 8, 3], tf.uint8),
      tf.constant([[1, -1], [2, 3], [10, 0], [-1, -1]]),
      tf.constant([0.3, 0.2, 1.0, 0.0]),
    )
    compiled = step(*arguments)
    with self.subTest('static shapes'):
      self.assertEqual(compiled[0].shape, [4, 8, 8, 3])
      self.assertEqual(compiled[1].shape, [4, 11])
    eager = step.python_function(*arguments)
    self.assertAllClose(compiled, eager, atol=1e-6)


if __name__ == '__main__':
  tf.test.main()
