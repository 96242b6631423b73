"""Tests of official_coatnet.data.augment."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import augment as reference

from official_coatnet.data import augment


def without(*kept):
  return [op for op in augment.OPERATIONS if op not in kept]


class RandAugmentTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.image = tf.constant(rng.integers(1, 255, (224, 224, 3), np.uint8))

  def test_operations_are_model_gardens(self):
    self.assertEqual(
      tuple(reference.RandAugment().available_ops), augment.OPERATIONS
    )

  def test_shape_and_type(self):
    dataset = tf.data.Dataset.from_tensors(self.image).map(
      lambda image: augment.RandAugment(2, 15)(image, seed=[0, 0])
    )
    self.assertEqual(
      dataset.element_spec, tf.TensorSpec([224, 224, 3], tf.uint8)
    )

  def outcomes(self, operation, magnitude, *, count=12):
    """Distinct results of one operation or, half the time, none."""
    apply = augment.RandAugment(1, magnitude, exclude_ops=without(operation))
    results = [apply(self.image, seed=[0, i]).numpy() for i in range(count)]
    return {r.tobytes(): r for r in results}.values()

  @parameterized.parameters((5, 50), (15, 150), (20, 200))
  def test_translates_by_the_papers_pixels(self, magnitude, pixels):
    image = self.image.numpy()
    # Model Garden fills by reflection.
    wide = np.pad(image, [(0, 0), (224, 224), (0, 0)], mode='symmetric')
    expected = [
      image,
      wide[:, 224 - pixels : 448 - pixels],
      wide[:, 224 + pixels : 448 + pixels],
    ]
    outcomes = self.outcomes('TranslateX', magnitude)
    self.assertGreater(len(outcomes), 1)
    for outcome in outcomes:
      self.assertTrue(any(np.array_equal(outcome, each) for each in expected))

  def test_cutout_is_at_most_120_pixels_wide(self):
    largest = 0
    for outcome in self.outcomes('Cutout', 15):
      grey = (outcome == 128).all(axis=-1)
      rows, columns = grey.any(axis=1).sum(), grey.any(axis=0).sum()
      self.assertLessEqual(max(rows, columns), 120)
      largest = max(largest, rows, columns)
    self.assertGreater(largest, 60)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, "exclude_ops names.*'Flip'"):
      augment.RandAugment(2, 15, exclude_ops=['Flip'])
    with self.assertRaisesRegex(ValueError, 'names every operation'):
      augment.RandAugment(2, 15, exclude_ops=augment.OPERATIONS)
    with self.assertRaisesRegex(ValueError, 'num_layers is 0'):
      augment.RandAugment(0, 15)
    with self.assertRaisesRegex(ValueError, 'magnitude -1'):
      augment.RandAugment(2, -1)


if __name__ == '__main__':
  tf.test.main()
