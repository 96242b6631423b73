"""Tests of training.checkpoint_files: which checkpoints are whole."""

import os
import re
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import (
  best_file,
  checkpoint_files,
  checkpoint_writing,
  saving,
)
from tests.fixtures import damage, repository


def save(folder, steps, *, with_digest=True, values=None):
  """Saves checkpoints whose only weight is the step, or as given."""
  value = tf.Variable(0.0)
  manager = saving.CheckpointManager(
    tf.train.Checkpoint(value=value), folder, max_to_keep=9
  )
  for step in steps:
    value.assign((values or {}).get(step, float(step)))
    manager.save(step)
    if not with_digest:
      os.remove(os.path.join(folder, f'ckpt-{step}.digest.json'))
  return folder


class NewestWholeTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def assert_newest(self, step, *, words=()):
    """Asserts which one is the newest, and what the warnings say."""
    with self.assertLogs(level='WARNING') as logs:
      prefix = checkpoint_files.newest_whole(self.folder)
      self.assertEqual(prefix, os.path.join(self.folder, f'ckpt-{step}'))
      # TensorFlow agrees that it can be read.
      self.assertEqual(
        tf.train.load_variable(prefix, 'value/.ATTRIBUTES/VARIABLE_VALUE'), step
      )
      # There must be one to be caught.
      tf.get_logger().warning('end')
    said = '\n'.join(logs.output)
    for each in words:
      self.assertRegex(said, each)
    if not words:
      self.assertLen(logs.output, 1)

  def test_none_and_whole_ones(self):
    self.assertIsNone(checkpoint_files.newest_whole('/no/such/folder'))
    self.assertIsNone(checkpoint_files.newest_whole(self.folder))
    self.assertFalse(checkpoint_files.exist(self.folder))
    self.assertFalse(checkpoint_files.exist(None))
    save(self.folder, [2, 10])
    self.assertTrue(checkpoint_files.exist(self.folder))
    self.assert_newest(10)

  @parameterized.product(
    kind=sorted(damage.OF_CHECKPOINT), with_digest=(True, False)
  )
  def test_damaged_latest(self, kind, with_digest):
    save(self.folder, [2, 4, 10], with_digest=with_digest)
    damage.OF_CHECKPOINT[kind](self.folder, 10)
    self.assert_newest(4, words=['ckpt-10.* is damaged', 'instead: .*ckpt-4'])
    # The one before as well.
    damage.OF_CHECKPOINT[kind](self.folder, 4)
    self.assert_newest(2, words=['ckpt-10.*damaged', 'ckpt-4.*damaged'])
    damage.OF_CHECKPOINT[kind](self.folder, 2)
    with self.assertRaisesRegex(
      ValueError, 'none can be used: .*ckpt-10.*ckpt-2.* --restart'
    ):
      checkpoint_files.newest_whole(self.folder)
    self.assertTrue(checkpoint_files.exist(self.folder))

  @parameterized.parameters(*sorted(damage.OF_STATE))
  def test_damaged_state(self, kind):
    save(self.folder, [2, 10])
    damage.OF_STATE[kind](self.folder)
    words = 'ckpt-99' if kind == 'names a missing one' else 'names the latest'
    self.assert_newest(10, words=[words, 'instead: .*ckpt-10'])

  def test_a_digest_that_is_damaged_itself(self):
    save(self.folder, [2, 4])
    for text in ('', '{', '[]', '{"files": 3}', '{"files": {"index": {}}}'):
      with open(os.path.join(self.folder, 'ckpt-4.digest.json'), 'w') as f:
        f.write(text)
      self.assert_newest(4, words=['digest.json is damaged; .* reading all'])
    damage.OF_CHECKPOINT['data flipped'](self.folder, 4)
    self.assert_newest(2, words=['ckpt-4.*damaged'])

  def test_what_is_newer_than_the_state_says_waits(self):
    # The save was killed before the file `checkpoint` was written.
    save(self.folder, [2, 4])
    checkpoint_files.write_state(self.folder, [2])
    self.assert_newest(2)
    damage.OF_CHECKPOINT['index deleted'](self.folder, 2)
    self.assert_newest(4, words=['ckpt-2.*index is missing'])

  def test_a_first_save_that_was_killed_is_no_checkpoint(self):
    os.mkdir(os.path.join(self.folder, 'ckpt-2_temp'))
    with open(
      os.path.join(self.folder, 'ckpt-2.data-00000-of-00001'), 'w'
    ) as f:
      f.write('half')
    self.assertFalse(checkpoint_files.exist(self.folder))
    self.assertIsNone(checkpoint_files.newest_whole(self.folder))

  def test_finite(self):
    save(self.folder, [2, 4, 6], values={4: np.nan, 6: np.inf})
    found = checkpoint_files.examine(self.folder, finite=True)
    self.assertEqual(found.prefix, os.path.join(self.folder, 'ckpt-2'))
    self.assertRegex(
      '\n'.join(found.problems), 'ckpt-6.*not finite: value.\n.*ckpt-4'
    )
    self.assertEqual(
      checkpoint_files.newest_whole(self.folder),
      os.path.join(self.folder, 'ckpt-6'),
    )

  def test_a_file_system_that_does_not_answer_is_no_damage(self):
    save(self.folder, [2, 4])
    error = tf.errors.UnavailableError(None, None, 'try later')
    with mock.patch.object(tf.io.gfile, 'stat', side_effect=error):
      with self.assertRaises(tf.errors.UnavailableError):
        checkpoint_files.newest_whole(self.folder)


class FindTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = save(self.create_tempdir().full_path, [2, 4])

  def path(self, name):
    return os.path.join(self.folder, name)

  def write_best(self, step):
    checkpoint_writing.write_whole(
      tf.train.Checkpoint(value=tf.Variable(float(step))),
      best_file.prefix(self.folder, step),
    )
    best_file.write(self.folder, best_file.Best('top1', 0.5, step))

  def test_by_step(self):
    find = checkpoint_files.find
    self.write_best(3)
    for step, name in ((2, 'ckpt-2'), (4, 'ckpt-4'), (3, 'best-3')):
      self.assertEqual(find(self.folder, step=step), self.path(name))
    with self.assertRaisesRegex(ValueError, 'step 5; .* are: 2, 3, 4.'):
      find(self.folder, step=5)
    damage.OF_CHECKPOINT['data cut'](self.folder, 2)
    with self.assertRaisesRegex(ValueError, 'ckpt-2.*damaged.*Copy its files'):
      find(self.folder, step=2)

  def test_by_path(self):
    find = checkpoint_files.find
    self.assertEqual(find(self.path('ckpt-2')), self.path('ckpt-2'))
    damage.OF_CHECKPOINT['data flipped'](self.folder, 2)
    with self.assertRaisesRegex(ValueError, 'ckpt-2.*checksum'):
      find(self.path('ckpt-2'))
    damage.OF_CHECKPOINT['index deleted'](self.folder, 4)
    with self.assertRaisesRegex(ValueError, 'ckpt-4.*index is missing'):
      find(self.path('ckpt-4'))

  def test_a_damaged_best_one(self):
    self.write_best(3)
    self.assertEqual(checkpoint_files.find(self.folder), self.path('best-3'))
    data = self.path('best-3.data-00000-of-00001')
    os.truncate(data, os.path.getsize(data) - 1)
    with self.assertLogs(level='WARNING') as logs:
      found = checkpoint_files.find(self.folder)
    self.assertEqual(found, self.path('ckpt-4'))
    self.assertRegex('\n'.join(logs.output), 'best-3.*damaged.*latest is taken')


class EachNewTest(tf.test.TestCase):
  def test_yields_whole_ones_once_and_ends(self):
    folder = self.create_tempdir().full_path
    time, acts = [0.0], []

    def wait(seconds):
      time[0] += seconds
      if acts:
        acts.pop(0)()

    acts += [
      lambda: save(folder, [2]),
      lambda: None,
      lambda: save(folder, [4]),
      lambda: save(folder, [6]),
    ]

    def damaged():
      save(folder, [8])
      damage.OF_CHECKPOINT['data flipped'](folder, 8)

    acts += [damaged, lambda: None, lambda: save(folder, [9])]
    found = list(
      checkpoint_files.each_new(
        folder, timeout=20.0, wait=wait, now=lambda: time[0]
      )
    )
    names = [os.path.basename(each) for each in found]
    self.assertEqual(names, ['ckpt-2', 'ckpt-4', 'ckpt-6', 'ckpt-9'])
    self.assertEqual(time[0], 7.0 + 20.0)

  def test_stops_when_asked(self):
    folder = save(self.create_tempdir().full_path, [2])
    asked = iter([False, True])
    found = checkpoint_files.each_new(
      folder, timeout=20.0, should_stop=lambda: next(asked)
    )
    self.assertLen(list(found), 1)


class RepositoryTest(tf.test.TestCase):
  def test_nobody_else_asks_tensorflow_for_the_latest(self):
    forbidden = re.compile(
      r'latest_checkpoint\(|checkpoints_iterator|get_checkpoint_state'
      r'|tf\.train\.CheckpointManager\('
    )
    found = []
    for top in ('official_coatnet', 'tools'):
      for folder, _, names in os.walk(os.path.join(repository.ROOT, top)):
        for name in names:
          path = os.path.join(folder, name)
          if name.endswith('.py') and name != 'checkpoint_files.py':
            with open(path) as f:
              found += [path for line in f if forbidden.search(line)]
    self.assertEmpty(found, 'Ask official_coatnet.training.checkpoint_files.')


if __name__ == '__main__':
  tf.test.main()
