"""Images of an evaluation set by their numbers."""

import dataclasses

import numpy as np
import tensorflow as tf

from official_coatnet.data import config as data_config, lookup, pipeline
from tests.fixtures import shard_files


class LookupTest(shard_files.ShardsTestCase):
  def test_images_are_those_of_the_evaluation(self):
    """Of records in several files, read in turn."""
    records = [shard_files.make_record(i) for i in range(11)]
    self.write(records, split='validation', num_shards=3)
    config = data_config.DataConfig(
      num_classes=3,
      image_size=(12, 8),
      batch_size=4,
      data_dir=self.folder,
      split='validation',
    )
    expected = []
    one = dataclasses.replace(config, batch_size=1)
    for batch in pipeline.make_dataset(one, seed=0, is_training=False).take(11):
      expected.append(batch['image'][0].numpy())
    found = lookup.evaluation_images(config, {10, 0, 3, 4, 99})
    self.assertEqual(sorted(found), [0, 3, 4, 10])
    for number, image in found.items():
      np.testing.assert_array_equal(image, expected[number])
    self.assertFalse(np.array_equal(expected[3], expected[4]))
    self.assertEmpty(lookup.evaluation_images(config, []))


if __name__ == '__main__':
  tf.test.main()
