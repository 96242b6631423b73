"""Tests of official_coatnet.data.feature_names."""

import tensorflow as tf

from official_coatnet.data import feature_names
from tests.fixtures import example_files

RECORD = example_files.make_example(
  **{'a/label': [], 'image': b'x' * 3000, 'score': 0.5, 'z': 3}
)


class FeatureNamesTest(tf.test.TestCase):
  def test_describe(self):
    describe = tf.function(feature_names.describe)
    self.assertEqual(
      describe(tf.constant(RECORD)),
      b'a/label (int64), image (bytes), score (float), z (int64)',
    )
    self.assertEqual(describe(tf.constant(b'')), b'nothing')

  def test_a_feature_of_no_type(self):
    example = tf.train.Example()
    example.features.feature['a'].CopyFrom(tf.train.Feature())
    record = tf.constant(example.SerializeToString())
    self.assertEqual(feature_names.describe(record), b'a (empty)')
    self.assertTrue(feature_names.has_key(record, 'a'))

  def test_has_key(self):
    for key, expected in (
      ('a/label', True),
      ('z', True),
      ('label', False),
      ('a/labels', False),
      ('', False),
    ):
      record = tf.constant(RECORD)
      self.assertEqual(feature_names.has_key(record, key), expected, key)
      # What comes behind the image is not looked for there.
      self.assertEqual(
        feature_names.key_in_head(record, key), key == 'a/label', key
      )
    self.assertFalse(feature_names.key_in_head(tf.constant(RECORD), 'x' * 200))


if __name__ == '__main__':
  tf.test.main()
