"""Tests of training.background."""

import os
import threading

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import background


class WorkerTest(tf.test.TestCase):
  def test_one_task_at_a_time(self):
    worker, may_end, done = background.Worker(), threading.Event(), []
    worker.wait()
    worker.poll()

    def task():
      may_end.wait()
      done.append(threading.current_thread() is threading.main_thread())

    worker.start(task)
    worker.poll()
    with self.assertRaises(AssertionError):
      worker.start(task)
    may_end.set()
    worker.wait()
    self.assertEqual(done, [False])

  def test_an_error_is_raised_once(self):
    worker = background.Worker()

    def task():
      raise OSError('no room')

    worker.start(task)
    with self.assertRaisesRegex(OSError, 'no room'):
      worker.wait()
    worker.wait()
    worker.poll()


class InMemoryTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.prefix = os.path.join(self.create_tempdir().full_path, 'ckpt-3')
    self.value = tf.Variable(tf.range(100000.0))
    # Of what other tests have killed.
    self.before = {*self.in_memory()}

  def names(self):
    return sorted(os.listdir(os.path.dirname(self.prefix)))

  def in_memory(self):
    return tf.io.gfile.glob('ram://official_coatnet/*')

  def test_holds_what_was_there(self):
    first, second = (
      background.InMemory(tf.train.Checkpoint(value=value))
      for value in (self.value, tf.Variable([1.0, 2.0]))
    )
    self.value.assign(-self.value)
    second.bring(f'{self.prefix}2')
    first.bring(self.prefix)
    for prefix, expected in (
      (self.prefix, tf.range(100000.0)),
      (f'{self.prefix}2', [1.0, 2.0]),
    ):
      value = tf.Variable(tf.zeros_like(expected))
      tf.train.Checkpoint(value=value).read(prefix).assert_consumed()
      self.assertAllEqual(value, expected)
    self.assertLen(self.names(), 4)
    self.assertEmpty({*self.in_memory()} - self.before)

  def test_the_files_are_those_of_tensorflow(self):
    checkpoint = tf.train.Checkpoint(value=self.value)
    background.InMemory(checkpoint).bring(self.prefix)
    for ending in ('data-00000-of-00001', 'index'):
      with open(f'{self.prefix}.{ending}', 'rb') as file:
        ours = file.read()
      checkpoint.write(f'{self.prefix}_theirs')
      with open(f'{self.prefix}_theirs.{ending}', 'rb') as file:
        self.assertEqual(ours, file.read())

  def test_gives_the_memory_free_where_nothing_can_be_written(self):
    copy = background.InMemory(tf.train.Checkpoint(value=self.value))
    self.assertNotEmpty({*self.in_memory()} - self.before)
    with self.assertRaises(tf.errors.OpError):
      copy.bring('/proc/nowhere/ckpt-3')
    self.assertEmpty({*self.in_memory()} - self.before)


class ObstacleTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters((None, False), (300, False), (299, True))
  def test_memory(self, available, is_one):
    why = background.obstacle(
      [tf.Variable(1.0)], size=100, available=lambda: available
    )
    self.assertEqual(why is not None, is_one)

  def test_another_machine(self):
    class Elsewhere:
      device = '/job:worker/replica:0/task:0/device:TPU:0'

    why = background.obstacle(
      [tf.Variable(1.0), Elsewhere()], size=1, available=lambda: None
    )
    self.assertIn('another machine (/job:worker/replica:0/task:0)', why)

  @parameterized.named_parameters(
    ('nothing_is_known', {}, None),
    ('machine', {'proc/meminfo': 'MemFree: 1 kB\nMemAvailable: 7 kB\n'}, 7168),
    (
      'container',
      {
        'proc/meminfo': 'MemAvailable:    900 kB\n',
        'sys/fs/cgroup/memory.max': '5000\n',
        'sys/fs/cgroup/memory.current': '4000\n',
        'sys/fs/cgroup/memory.stat': 'anon 1\ninactive_file 500\nslab 2\n',
      },
      1500,
    ),
    (
      'no_limit',
      {
        'proc/meminfo': 'MemAvailable: 1 kB\n',
        'sys/fs/cgroup/memory.max': 'max\n',
        'sys/fs/cgroup/memory.current': '4000\n',
      },
      1024,
    ),
    (
      'first_version',
      {
        'sys/fs/cgroup/memory/memory.limit_in_bytes': '100\n',
        'sys/fs/cgroup/memory/memory.usage_in_bytes': '160\n',
        'sys/fs/cgroup/memory/memory.stat': 'total_inactive_file 90\n',
      },
      30,
    ),
  )
  def test_available_memory(self, files, expected):
    root = self.create_tempdir().full_path
    for path, contents in files.items():
      path = os.path.join(root, path)
      os.makedirs(os.path.dirname(path), exist_ok=True)
      with open(path, 'w') as file:
        file.write(contents)
    self.assertEqual(background.available_memory(root=root), expected)

  def test_of_this_machine(self):
    self.assertGreater(background.available_memory(), 1e6)


if __name__ == '__main__':
  tf.test.main()
