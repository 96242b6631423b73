"""Tests of training.cluster; multi_worker_test.py runs one."""

import json

import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.training import cluster

_TWO = {'worker': ['host0:2222', 'host1:2222']}


def _read(jobs=None, *, kind='worker', index=0, **kwargs):
  task = {'type': kind, 'index': index}
  value = {'cluster': _TWO if jobs is None else jobs, 'task': task, **kwargs}
  return cluster.read_cluster({'TF_CONFIG': json.dumps(value)})


class ClusterTest(parameterized.TestCase):
  def test_two_workers(self):
    for index in (0, 1):
      self.assertEqual(
        _read(index=index), cluster.Cluster(('host0:2222', 'host1:2222'), index)
      )
    # As some services write it.
    self.assertEqual(_read(index='1').index, 1)

  def test_chief_comes_first(self):
    jobs = {'worker': ['b:1', 'c:1'], 'chief': ['a:1'], 'evaluator': ['d:1']}
    self.assertEqual(_read(jobs, kind='chief').index, 0)
    self.assertEqual(
      _read(jobs, index=1), cluster.Cluster(('a:1', 'b:1', 'c:1'), 2)
    )

  @parameterized.parameters({}, {'TF_CONFIG': ''}, {'TF_CONFIG': '{}'})
  def test_none(self, **environment):
    self.assertIsNone(cluster.read_cluster(environment))

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
      cluster.read_cluster({'TF_CONFIG': text})

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
    self.assertTrue(cluster.is_chief(strategy))
    cluster.check_same_step(strategy, 3, model_dir='unused')
    # An error that is not of another machine stays what it is.
    with (
      self.assertRaises(tf.errors.AbortedError),
      cluster.lost_workers(strategy),
    ):
      raise tf.errors.AbortedError(None, None, 'by hand')

  def test_follower_reads_the_run_and_leaves_it_alone(self):
    folder = self.create_tempdir().full_path
    value = tf.Variable(1.0)
    checkpoint = tf.train.Checkpoint(value=value)
    settings = dict(directory=folder, max_to_keep=3, checkpoint_name='ckpt')
    tf.train.CheckpointManager(checkpoint, **settings).save(7)
    before = sorted(tf.io.gfile.listdir(folder))
    value.assign(2.0)
    manager = cluster.FollowerCheckpointManager(checkpoint, **settings)
    self.assertEndsWith(manager.restore_or_initialize(), 'ckpt-7')
    self.assertEqual(value.numpy(), 1.0)
    saved = manager.save(8)
    self.assertFalse(saved.startswith(folder))
    self.assertTrue(tf.io.gfile.exists(f'{saved}.index'))
    self.assertEqual(sorted(tf.io.gfile.listdir(folder)), before)

  def test_lost_worker(self):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    message = 'Graph execution error:\n\nDetected at node\nheartbeat timeout'
    with (
      self.assertRaisesRegex(
        cluster.WorkerLostError, 'UnavailableError: heartbeat timeout.*again'
      ),
      cluster.lost_workers(strategy),
    ):
      raise tf.errors.UnavailableError(None, None, message)


if __name__ == '__main__':
  absltest.main()
