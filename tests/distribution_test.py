"""Tests of training.distribution."""

import time
from unittest import mock

import tensorflow as tf

from official_coatnet.training import distribution


class DistributionTest(tf.test.TestCase):
  def test_without_accelerators_it_is_one_cpu(self):
    strategy = distribution.make_strategy()
    self.assertIsInstance(strategy, tf.distribute.OneDeviceStrategy)
    self.assertEqual(
      distribution.describe(strategy), '1 x CPU (OneDeviceStrategy)'
    )
    self.assertEqual(distribution.num_hosts(strategy), 1)

  def test_logical_devices(self):
    strategy = distribution.mirrored_cpu_strategy(2)
    self.assertEqual(
      distribution.describe(strategy), '2 x CPU (MirroredStrategy)'
    )
    self.assertEqual(distribution.num_hosts(strategy), 1)

  def test_tpu_that_is_not_there(self):
    with self.assertRaisesRegex(
      ConnectionError,
      r"(?s)Cloud TPU called 'no-such-tpu'.*answer was.*Check.*--tpu=local",
    ):
      distribution.make_strategy('no-such-tpu')

  def test_resolver_that_never_answers(self):
    with mock.patch.object(
      distribution, '_resolve_tpu', side_effect=lambda _: time.sleep(3)
    ):
      start = time.monotonic()
      with self.assertRaisesRegex(ConnectionError, 'no answer within 0 s'):
        distribution.make_strategy('slow-tpu', timeout=0.1)
    self.assertLess(time.monotonic() - start, 2.5)

  def test_address_that_does_not_answer(self):
    with (
      mock.patch.object(
        distribution, '_resolve_tpu', side_effect=OSError('refused')
      ),
      self.assertRaisesRegex(
        ConnectionError, 'address .grpc://10.0.0.2:8470.; the answer.*refused'
      ),
    ):
      distribution.make_strategy('grpc://10.0.0.2:8470')


if __name__ == '__main__':
  tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
  )
  tf.test.main()
