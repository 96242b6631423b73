"""Tests of official_coatnet.training.skipped."""

import tensorflow as tf

from official_coatnet.training import skipped
from tests.fixtures import experiments as fixture


class SkippedImagesTest(tf.test.TestCase):
  def make(self, **fields):
    return skipped.SkippedImages(fixture.make_data(**fields), name='eval_data')

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
