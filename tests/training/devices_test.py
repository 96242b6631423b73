"""Tests of training.devices; multi_worker_test.py runs several machines."""

import json
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import devices, rendezvous
from tests.fixtures import devices as fixture


def setUpModule():
  fixture.use_two_cpus()


class DistributionTest(tf.test.TestCase):
  def test_without_accelerators_it_is_one_cpu(self):
    strategy = devices.make_strategy()
    self.assertIsInstance(strategy, tf.distribute.OneDeviceStrategy)
    self.assertEqual(devices.describe(strategy), '1 x CPU (OneDeviceStrategy)')
    self.assertEqual(devices.num_hosts(strategy), 1)

  def test_logical_devices(self):
    strategy = fixture.mirrored_cpu_strategy(2)
    self.assertEqual(devices.describe(strategy), '2 x CPU (MirroredStrategy)')
    self.assertEqual(devices.num_hosts(strategy), 1)

  def test_tpu_that_does_not_come_up(self):
    # There are no chips in this machine.
    with self.assertRaisesRegex(
      ConnectionError, r"TPU not found.*tpu 'local'.*answer was.*Without --tpu"
    ):
      devices.make_strategy('local')

  def test_tpu_and_several_machines_exclude_each_other(self):
    two = devices.Cluster(('a:1', 'b:1'), 0)
    with self.assertRaisesRegex(ValueError, '--tpu=pod and TF_CONFIG'):
      devices.make_strategy('pod', cluster=two)

  def test_machines_that_do_not_come_together(self):
    two = devices.Cluster(('a:1', 'b:1'), 1)
    error = tf.errors.UnknownError(None, None, 'Could not start gRPC server')
    with (
      mock.patch.object(rendezvous, 'wait'),
      mock.patch.object(
        tf.distribute, 'MultiWorkerMirroredStrategy', side_effect=error
      ),
      self.assertRaisesRegex(
        ConnectionError, 'a:1, b:1, did not.*number 1.*gRPC.*port is free'
      ),
    ):
      devices.make_strategy(cluster=two)


_TWO = {'worker': ['host0:2222', 'host1:2222']}


def _read(jobs=None, *, kind='worker', index=0, **kwargs):
  task = {'type': kind, 'index': index}
  value = {'cluster': _TWO if jobs is None else jobs, 'task': task, **kwargs}
  return devices.read_cluster({'TF_CONFIG': json.dumps(value)})


class ClusterTest(parameterized.TestCase):
  def test_two_workers(self):
    for index in (0, 1):
      self.assertEqual(
        _read(index=index), devices.Cluster(('host0:2222', 'host1:2222'), index)
      )
    # As some services write it.
    self.assertEqual(_read(index='1').index, 1)

  def test_chief_comes_first(self):
    jobs = {'worker': ['b:1', 'c:1'], 'chief': ['a:1'], 'evaluator': ['d:1']}
    self.assertEqual(_read(jobs, kind='chief').index, 0)
    self.assertEqual(
      _read(jobs, index=1), devices.Cluster(('a:1', 'b:1', 'c:1'), 2)
    )

  @parameterized.parameters({}, {'TF_CONFIG': ''}, {'TF_CONFIG': '{}'})
  def test_none(self, **environment):
    self.assertIsNone(devices.read_cluster(environment))

  def test_one_machine_is_no_cluster(self):
    self.assertIsNone(_read({'worker': ['host0:2222']}))
    self.assertIsNone(_read({'chief': ['host0:2222']}, kind='chief'))

  @parameterized.parameters(
    ('{"cluster": ', 'it is not JSON'),
    ('[1]', 'must be an object of `cluster` and `task`'),
    ('{"task": {"type": "worker", "index": 0}}', '`cluster` must be an object'),
    ('{"cluster": {"worker": ["a:1", "b:1"]}}', '`task` must be an object'),
    ('{"cluster": {"worker": "a:1,b:1"}, "task": {}}', 'must be a list of'),
  )
  def test_what_is_not_a_configuration(self, text, words):
    with self.assertRaisesRegex(ValueError, f'TF_CONFIG is .*{words}.*host0'):
      devices.read_cluster({'TF_CONFIG': text})

  @parameterized.parameters(
    ({'jobs': {**_TWO, 'ps': ['c:1']}}, "'ps'; it may have"),
    ({'jobs': {'worker': ['a', 'b:1']}}, "'a' is no address.*host:port"),
    ({'jobs': {'worker': ['http://a:1', 'b:1']}}, 'is no address'),
    ({'jobs': {'worker': ['a:1', 'a:1']}}, "'a:1' comes twice"),
    ({'jobs': {'chief': ['a:1', 'b:1']}}, 'more than one chief'),
    ({'kind': 'chief'}, "`task.type` is 'chief'; .*: 'worker'"),
    ({'kind': 'evaluator'}, '--mode=continuous_eval'),
    ({'index': 2}, '`task.index` is 2; .* from 0 to 1'),
    ({'index': -1}, '`task.index` is -1'),
    ({'index': True}, '`task.index` is True'),
    ({'index': None}, '`task.index` is None'),
  )
  def test_bad_values(self, kwargs, words):
    with self.assertRaisesRegex(ValueError, words):
      _read(**kwargs)

  def test_alone_everything_is_the_chiefs(self):
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    self.assertTrue(devices.is_chief(strategy))
    devices.check_same_step(strategy, 3, model_dir='unused')
    # An error that is not of another machine stays what it is.
    with (
      self.assertRaises(tf.errors.AbortedError),
      devices.lost_workers(strategy),
    ):
      raise tf.errors.AbortedError(None, None, 'by hand')

  def test_lost_worker(self):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    message = 'Graph execution error:\n\nDetected at node\nheartbeat timeout'
    with (
      self.assertRaisesRegex(
        devices.WorkerLostError, 'UnavailableError: heartbeat timeout.*again'
      ),
      devices.lost_workers(strategy),
    ):
      raise tf.errors.UnavailableError(None, None, message)


if __name__ == '__main__':
  tf.test.main()
