"""Tests of training.checkpoint_writing; saving_test has most of them."""

import os
from unittest import mock

import tensorflow as tf

from official_coatnet.training import checkpoint_writing, digest


class CheckpointWritingTest(tf.test.TestCase):
  def test_bytes_of_an_optimizer_count(self):
    weight = tf.Variable(tf.zeros([5]))
    optimizer = tf.keras.optimizers.legacy.Adam()
    optimizer.apply_gradients([(tf.ones([5]), weight)])
    checkpoint = tf.train.Checkpoint(weight=weight, optimizer=optimizer)
    # Three of the weight; iterations; and four settings.
    self.assertEqual(
      checkpoint_writing.size_of(checkpoint), 3 * 5 * 4 + 8 + 4 * 4
    )

  def test_averages_over_workers_are_not_read(self):
    strategy = tf.distribute.MirroredStrategy(['cpu:0'])
    with strategy.scope():
      average = tf.Variable(
        tf.zeros([5]),
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
      )
      checkpoint = tf.train.Checkpoint(average=average)
    # Of several workers it is a common act, in which the others have to join.
    reads = mock.patch.object(
      type(average), '_get', side_effect=AssertionError('is read')
    )
    with reads:
      (found,) = (
        v for v in checkpoint_writing.variables_of(checkpoint) if v.shape == [5]
      )
      self.assertIs(found, average)
      self.assertEqual(checkpoint_writing.size_of(checkpoint) % 8, 4)

  def test_another_way_to_write(self):
    prefix = os.path.join(self.create_tempdir().full_path, 'ckpt-2')
    checkpoint = tf.train.Checkpoint(value=tf.Variable(3.0))
    written = []

    def write(path):
      written.append(path)
      checkpoint.write(path)

    checkpoint_writing.write_whole(checkpoint, prefix, write=write)
    self.assertEqual(written, [prefix])
    self.assertIsNone(digest.check(prefix))
    checkpoint_writing.remove(prefix)
    self.assertEmpty(os.listdir(os.path.dirname(prefix)))


if __name__ == '__main__':
  tf.test.main()
