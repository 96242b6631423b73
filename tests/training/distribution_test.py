"""Tests of training.distribution."""

from unittest import mock

import tensorflow as tf

from official_coatnet.training import cluster, distribution
from tests.fixtures import devices


def setUpModule():
  devices.use_two_cpus()


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

  def test_tpu_that_does_not_come_up(self):
    # There are no chips in this machine.
    with self.assertRaisesRegex(
      ConnectionError, r"TPU not found.*tpu 'local'.*answer was.*Without --tpu"
    ):
      distribution.make_strategy('local')

  def test_tpu_and_several_machines_exclude_each_other(self):
    two = cluster.Cluster(('a:1', 'b:1'), 0)
    with self.assertRaisesRegex(ValueError, '--tpu=pod and TF_CONFIG'):
      distribution.make_strategy('pod', cluster=two)

  def test_machines_that_do_not_come_together(self):
    two = cluster.Cluster(('a:1', 'b:1'), 1)
    error = tf.errors.UnknownError(None, None, 'Could not start gRPC server')
    with (
      mock.patch.object(
        tf.distribute, 'MultiWorkerMirroredStrategy', side_effect=error
      ),
      self.assertRaisesRegex(
        ConnectionError, 'a:1, b:1, did not.*number 1.*gRPC.*port is free'
      ),
    ):
      distribution.make_strategy(cluster=two)


if __name__ == '__main__':
  tf.test.main()
