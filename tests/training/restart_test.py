"""Tests of training.restart: a run begins anew in its folder."""

import os
import time

import tensorflow as tf

from official_coatnet.training import checkpoint_files, restart
from tests.fixtures import experiments, runs


class RestartTest(tf.test.TestCase):
  def test_what_is_of_the_run_moves_and_can_be_read_there(self):
    folder = os.path.join(self.create_tempdir().full_path, 'run')
    runs.write_run(folder, experiments.make_experiment(), labels=['a', 'b'])
    for name in ('export', 'train', 'notes', 'events.out.tfevents.1.host'):
      os.mkdir(os.path.join(folder, name))
    then = time.strptime('2026-01-02 03:04:05', '%Y-%m-%d %H:%M:%S')
    target = restart.new_folder(folder, now=lambda: then)
    self.assertEqual(
      target, os.path.join(folder, 'restarted-2026-01-02-030405')
    )
    before = set(os.listdir(folder))
    moved = restart.set_aside(folder, target)
    self.assertEqual(
      set(os.listdir(folder)), {'export', 'notes', os.path.basename(target)}
    )
    self.assertCountEqual(os.listdir(target), moved)
    self.assertEqual(set(moved), before - {'export', 'notes'})
    self.assertIn('ckpt-4.digest.json', moved)
    self.assertFalse(checkpoint_files.exist(folder))
    self.assertEqual(
      checkpoint_files.find(target), os.path.join(target, 'ckpt-4')
    )
    # A second time there is nothing to move; the name would be another.
    again = restart.new_folder(folder, now=lambda: then)
    self.assertEqual(again, f'{target}-2')
    self.assertEmpty(restart.set_aside(folder, again))
    self.assertFalse(os.path.exists(again))

  def test_no_folder_yet(self):
    folder = os.path.join(self.create_tempdir().full_path, 'run')
    self.assertEmpty(restart.set_aside(folder, restart.new_folder(folder)))
    self.assertFalse(os.path.exists(folder))


if __name__ == '__main__':
  tf.test.main()
