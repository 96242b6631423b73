"""Tests of training.saving: how checkpoints are saved and which are kept."""

import contextlib
import json
import os
import threading
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import (
  background,
  checkpoint_files,
  checkpoint_writing,
  digest,
  saving,
)
from tests.fixtures import full_disk


class _KilledError(BaseException):
  """The end of a process."""


@contextlib.contextmanager
def _all_of(contexts):
  with contextlib.ExitStack() as stack:
    for each in contexts:
      stack.enter_context(each)
    yield


class ManagerTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.create_tempdir().full_path, 'run')
    self.value = tf.Variable(1.0)
    self.step = tf.Variable(0, dtype=tf.int64)

  def make(self, **settings):
    return saving.CheckpointManager(
      tf.train.Checkpoint(value=self.value, step=self.step),
      self.folder,
      **{'max_to_keep': 2, **settings},
    )

  def names(self):
    return sorted(os.listdir(self.folder))

  def files_of(self, *names):
    endings = ('data-00000-of-00001', 'digest.json', 'index')
    files = [f'{name}.{ending}' for name in names for ending in endings]
    return sorted(['checkpoint', *files])

  def test_a_save(self):
    manager = self.make()
    prefix = manager.save(7)
    self.assertEqual(prefix, os.path.join(self.folder, 'ckpt-7'))
    self.assertEqual(manager.latest_checkpoint, prefix)
    # TensorFlow's own readers find it, too.
    self.assertEqual(tf.train.latest_checkpoint(self.folder), prefix)
    self.assertEqual(self.names(), self.files_of('ckpt-7'))
    with open(f'{prefix}.digest.json') as f:
      stored = json.load(f)
    for ending, file in stored['files'].items():
      self.assertEqual(file['bytes'], os.path.getsize(f'{prefix}.{ending}'))
    for step in (8, 9):
      manager.save(step)
    self.assertEqual(self.names(), self.files_of('ckpt-8', 'ckpt-9'))
    self.assertEqual(
      manager.checkpoints,
      [os.path.join(self.folder, name) for name in ('ckpt-8', 'ckpt-9')],
    )

  def test_intervals(self):
    manager = self.make(checkpoint_interval=4, step_counter=self.step)
    self.assertIsNone(manager.restore_or_initialize())
    saved = []
    for step in range(2, 14, 2):
      self.step.assign(step)
      saved.append(manager.save(step) is not None)
    self.assertEqual(saved, [True, False, True, False, True, False])
    self.assertIsNotNone(manager.save(12, check_interval=False))
    self.assertIsNone(manager.save(12, check_interval=False))

  def test_restores_the_newest_whole_one_or_initializes(self):
    begun = []
    manager = self.make(init_fn=lambda: begun.append(1))
    self.assertIsNone(manager.restore_or_initialize())
    self.assertEqual(begun, [1])
    for step in (2, 4):
      self.value.assign(step)
      manager.save(step)
    os.truncate(os.path.join(self.folder, 'ckpt-4.index'), 9)
    self.value.assign(0.0)
    again = self.make(init_fn=lambda: self.fail('begins anew'))
    with self.assertLogs(level='WARNING') as logs:
      self.assertEndsWith(again.restore_or_initialize(), 'ckpt-2')
    self.assertIn('ckpt-4', '\n'.join(logs.output))
    self.assertEqual(self.value.numpy(), 2.0)
    os.remove(os.path.join(self.folder, 'ckpt-2.index'))
    with self.assertRaisesRegex(ValueError, 'none can be used'):
      again.restore_or_initialize()

  @parameterized.parameters(False, True)
  def test_killed_anywhere_in_a_save(self, asynchronous):
    self.value.assign(2.0)
    self.make().save(2)
    acts = []
    originals = {
      (module, name): getattr(module, name)
      for module, name in (
        (digest, 'read_whole'),
        (digest, '_crc32'),
        (checkpoint_files, 'write_state'),
        (checkpoint_writing, 'remove'),
        (tf.io.gfile, 'remove'),
        (tf.io.gfile, 'rename'),
        (tf.io.gfile, 'copy'),
      )
    }

    def killing(name, original):
      def act(*args, **kwargs):
        acts.append(name)
        if len(acts) == limit:
          raise _KilledError
        return original(*args, **kwargs)

      return act

    step, limit, last = 2, 0, 2.0
    while True:
      step, limit = step + 2, limit + 1
      acts.clear()
      self.value.assign(step)
      with _all_of(
        mock.patch.object(module, name, killing(name, original))
        for (module, name), original in originals.items()
      ):
        manager = self.make(asynchronous=asynchronous)
        try:
          manager.save(step)
          manager.sync()
        except _KilledError:
          killed = True
        else:
          killed = False
      newest = checkpoint_files.newest_whole(self.folder)
      got = tf.train.load_variable(newest, 'value/.ATTRIBUTES/VARIABLE_VALUE')
      self.assertEqual(os.path.basename(newest), f'ckpt-{int(got)}')
      self.assertGreaterEqual(got, last)
      last = got
      if not killed:
        break
    self.assertGreater(limit, 14 if asynchronous else 8)
    # The save that succeeds leaves nothing of those that did not.
    self.assertEqual(last, step)
    kept = {name.partition('.')[0] for name in self.names()}
    self.assertLen(kept, 3)
    self.assertEqual(self.names(), self.files_of(*kept - {'checkpoint'}))

  def newest_value(self):
    prefix = tf.train.latest_checkpoint(self.folder)
    return tf.train.load_variable(prefix, 'value/.ATTRIBUTES/VARIABLE_VALUE')

  def test_a_save_beside_the_run(self):
    manager = self.make(asynchronous=True)
    manager.save(2)
    manager.sync()
    self.assertEqual(manager.take_finished(), [(2, f'{self.folder}/ckpt-2')])
    copy, may_copy = tf.io.gfile.copy, threading.Event()

    def slow_copy(*args, **kwargs):
      may_copy.wait()
      copy(*args, **kwargs)

    with mock.patch.object(tf.io.gfile, 'copy', slow_copy):
      self.value.assign(4.0)
      prefix = manager.save(4)
      self.assertEqual(manager.latest_checkpoint, prefix)
      # What the run does meanwhile is not in it.
      self.value.assign(5.0)
      self.assertEqual(manager.take_finished(), [])
      self.assertEqual(self.newest_value(), 1.0)
      self.assertEqual(self.names(), self.files_of('ckpt-2'))
      may_copy.set()
      manager.sync()
    self.assertEqual(manager.take_finished(), [(4, prefix)])
    self.assertEqual(manager.take_finished(), [])
    self.assertEqual(self.newest_value(), 4.0)
    self.assertEqual(self.names(), self.files_of('ckpt-2', 'ckpt-4'))
    # A save waits for the one before.
    for step in (6, 8, 10):
      manager.save(step)
    manager.sync()
    self.assertLen(manager.take_finished(), 3)
    self.assertEqual(self.newest_value(), 5.0)

  @parameterized.parameters('sync', 'take_finished', 'save', 'finishing')
  def test_the_error_of_a_save_beside_the_run(self, heard_by):
    manager = self.make(asynchronous=True)
    manager.save(2)
    manager.sync()
    with full_disk.full_disk(100):
      manager.save(4)
      with contextlib.suppress(OSError):
        manager._worker._pending.result()
    with self.assertRaisesRegex(OSError, "ckpt-4' cannot be written"):
      match heard_by:
        case 'save':
          manager.save(6)
        case 'finishing':
          with manager.finishing():
            pass
        case _:
          getattr(manager, heard_by)()
    # Once.
    manager.sync()
    self.assertEqual(self.names(), self.files_of('ckpt-2'))
    manager.save(6)
    manager.sync()
    self.assertEqual(self.names(), self.files_of('ckpt-2', 'ckpt-6'))

  def test_an_error_of_the_run_comes_first(self):
    manager = self.make(asynchronous=True)
    with (
      self.assertRaisesRegex(ValueError, 'of the run'),
      self.assertLogs(level='ERROR') as logs,
      full_disk.full_disk(100),
      manager.finishing(),
    ):
      manager.save(2)
      raise ValueError('of the run')
    self.assertIn("ckpt-2' cannot be written", logs.output[0])
    with self.assertRaisesRegex(ValueError, 'of the run'), manager.finishing():
      manager.save(4)
      raise ValueError('of the run')
    self.assertEqual(self.names(), self.files_of('ckpt-4'))
    gone = tf.errors.UnavailableError(None, None, 'the bucket has gone')
    with (
      mock.patch.object(tf.io.gfile, 'copy', side_effect=gone),
      self.assertLogs(level='ERROR') as logs,
      self.assertRaisesRegex(ValueError, 'of the run'),
      manager.finishing(),
    ):
      manager.save(6)
      raise ValueError('of the run')
    self.assertIn('the bucket has gone', logs.output[0])

  def test_too_little_memory_for_a_save_beside_the_run(self):
    manager = self.make(asynchronous=True)
    with (
      mock.patch.object(background, 'available_memory', lambda: 10),
      self.assertLogs(level='WARNING') as logs,
    ):
      manager.save(2)
      self.assertEqual(self.names(), self.files_of('ckpt-2'))
    self.assertRegex(logs.output[0], 'waits .* because .* of memory')
    self.assertLen(manager.take_finished(), 1)

  def test_leftovers_go_with_the_next_save(self):
    manager = self.make()
    manager.save(2)
    os.mkdir(os.path.join(self.folder, 'ckpt-4_temp'))
    for name in (
      *('ckpt-4_temp/part-0', 'ckpt-4.index.tempstate12', '.checkpoint.tmp'),
      *('ckpt-3.data-00000-of-00001', 'ckpt-9.digest.json', 'best-3_temp'),
      *('.ckpt-4.digest.json.tmp', 'checkpoint.tmp1f', 'ckpt-x', 'mine.tmp'),
    ):
      with open(os.path.join(self.folder, name), 'w') as f:
        f.write('half')
    manager.save(5)
    self.assertEqual(
      self.names(),
      sorted([*self.files_of('ckpt-2', 'ckpt-5'), 'ckpt-x', 'mine.tmp']),
    )

  def test_what_others_have_put_here_stays(self):
    manager = self.make(max_to_keep=1)
    manager.save(2)
    tf.train.Checkpoint(value=self.value).write(f'{self.folder}/ckpt-1')
    manager.save(4)
    self.assertContainsSubset(['ckpt-1.index'], self.names())
    self.assertNotIn('ckpt-2.index', self.names())

  def test_one_that_is_cut_does_not_take_the_place_of_a_whole_one(self):
    manager = self.make()
    for step in (2, 4):
      manager.save(step)
    os.truncate(os.path.join(self.folder, 'ckpt-4.data-00000-of-00001'), 3)
    manager.save(6)
    self.assertEqual(self.names(), self.files_of('ckpt-2', 'ckpt-6'))

  def test_of_an_earlier_version(self):
    old = tf.train.CheckpointManager(
      tf.train.Checkpoint(value=self.value, step=self.step),
      self.folder,
      max_to_keep=3,
      checkpoint_name='ckpt',
    )
    for step in (2, 4, 6):
      old.save(step)
    manager = self.make(max_to_keep=2, step_counter=self.step)
    self.assertEndsWith(manager.restore_or_initialize(), 'ckpt-6')
    self.step.assign(8)
    manager.save(8)
    self.assertContainsSubset(['ckpt-6.index', 'ckpt-8.index'], self.names())
    self.assertNotIn('ckpt-4.index', self.names())

  def test_a_failed_save_says_why_and_the_one_before_stays(self):
    manager = self.make()
    manager.save(2)
    full = tf.errors.ResourceExhaustedError(
      None, None, f'{self.folder}/x; No space left on device'
    )
    for act in ('write', 'digest'):
      patch = mock.patch.object(tf.train.Checkpoint, 'write', side_effect=full)
      if act == 'digest':
        patch = mock.patch.object(digest, '_crc32', side_effect=full)
      with (
        patch,
        self.assertRaisesRegex(
          OSError,
          r"ckpt-4' cannot be written to \(No space left on device; 0.0 MB are "
          r'needed, [\d,.]+ MB are free there\); make room',
        ),
      ):
        manager.save(4)
      self.assertEqual(self.names(), self.files_of('ckpt-2'))
    # With room again, the same manager goes on.
    self.assertEndsWith(manager.save(4), 'ckpt-4')

  def test_a_lost_worker_is_no_trouble_of_the_disk(self):
    error = tf.errors.UnavailableError(None, None, 'worker 1 has gone')
    with mock.patch.object(tf.train.Checkpoint, 'write', side_effect=error):
      with self.assertRaises(tf.errors.UnavailableError):
        self.make().save(4)

  def test_what_is_not_whole_when_it_is_read_back(self):
    original = tf.train.Checkpoint.write

    def write(checkpoint, prefix):
      original(checkpoint, prefix)
      os.truncate(f'{prefix}.data-00000-of-00001', 2)

    self.make().save(2)
    with mock.patch.object(tf.train.Checkpoint, 'write', write):
      with self.assertRaisesRegex(OSError, 'ckpt-4.*just written, is damaged'):
        self.make().save(4)
    self.assertEqual(self.names(), self.files_of('ckpt-2'))

  def test_the_folder_is_removed_meanwhile(self):
    manager = self.make()
    manager.save(2)
    manager.on_lost = lambda: open(f'{self.folder}/again', 'w').close()
    manager.save(4)
    self.assertNotIn('again', self.names())
    tf.io.gfile.rmtree(self.folder)
    with self.assertLogs(level='WARNING') as logs:
      manager.save(6)
    self.assertRegex(logs.output[0], 'has been removed while the run was writ')
    self.assertEqual(self.names(), sorted([*self.files_of('ckpt-6'), 'again']))

  def test_a_disk_that_is_full(self):
    self.value = tf.Variable(tf.zeros([50_000]))
    manager = self.make()
    manager.save(2)
    with full_disk.full_disk(100_000):
      with self.assertRaisesRegex(
        OSError, r'ckpt-4.*\(File too large; 0.2 MB are needed.*make room'
      ):
        manager.save(4)
    self.assertEqual(self.names(), self.files_of('ckpt-2'))
    manager.save(4)

  def test_follower_reads_the_run_and_leaves_it_alone(self):
    self.make().save(7)
    folder, value = self.folder, self.value
    before = sorted(tf.io.gfile.listdir(folder))
    value.assign(2.0)
    manager = saving.FollowerCheckpointManager(
      tf.train.Checkpoint(value=value), folder, max_to_keep=3
    )
    self.assertEndsWith(manager.restore_or_initialize(), 'ckpt-7')
    self.assertEqual(value.numpy(), 1.0)
    saved = manager.save(8)
    self.assertFalse(saved.startswith(folder))
    self.assertTrue(tf.io.gfile.exists(f'{saved}.index'))
    self.assertEqual(sorted(tf.io.gfile.listdir(folder)), before)


if __name__ == '__main__':
  tf.test.main()
