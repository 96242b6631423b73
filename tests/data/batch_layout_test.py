"""Tests of official_coatnet.data.batch_layout."""

import dataclasses

import tensorflow as tf

from official_coatnet.data import batch_layout


class LayoutTest(tf.test.TestCase):
  def test_sizes(self):
    layout = batch_layout.Layout(24, num_hosts=2, host=1, num_replicas=6)
    self.assertEqual(layout.replica_batch_size, 4)
    self.assertEqual(layout.host_batch_size, 12)
    self.assertAllEqual(
      layout.global_index(tf.constant([0, 11, 12])), [12, 23, 36]
    )

  def test_uneven_hosts(self):
    with self.assertRaisesRegex(ValueError, '5 replicas on 2 hosts'):
      batch_layout.Layout(10, num_hosts=2, num_replicas=5)

  def test_of_input_context(self):
    context = tf.distribute.InputContext(4, 2, 8)
    self.assertEqual(
      dataclasses.asdict(batch_layout.get_layout(16, context)),
      {'batch_size': 16, 'num_hosts': 4, 'host': 2, 'num_replicas': 8},
    )


if __name__ == '__main__':
  tf.test.main()
