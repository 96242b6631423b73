"""Tests of training.eval_mode: what an evaluation leaves in the folder."""

import os
import unittest

import tensorflow as tf

from official_coatnet.training import (
  controller,
  model_dir as model_dir_lib,
  stop as stop_lib,
  writer,
)
from tests.fixtures import experiments as fixture, graphs, runs, stops


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


class EvalModeTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.experiment = fixture.make_experiment()
    self.folder = runs.write_run(
      os.path.join(self.create_tempdir().full_path, 'run'), self.experiment
    )
    self.before = self._files()

  def _files(self):
    found = {}
    for path, _, names in os.walk(self.folder):
      for name in names:
        with open(os.path.join(path, name), 'rb') as f:
          found[os.path.relpath(f.name, self.folder)] = f.read()
    return found

  def _run(self, mode='eval', **kwargs):
    return controller.run(
      self.experiment,
      mode=mode,
      model_dir=self.folder,
      strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
      **kwargs,
    )

  def test_its_line_of_metrics_is_all_that_it_writes(self):
    # Beside a run that trains.
    lock = writer.Lock(self.folder)
    lock.take()
    self.before = self._files()
    self._run()
    after = self._files()
    lock.release()
    lines = after.pop(model_dir_lib.METRICS_FILE).splitlines()
    self.assertLen(lines, 1)
    self.assertEqual(after, self.before)

  def test_stopped_at_the_next_batch_it_leaves_nothing(self):
    for mode in ('eval', 'continuous_eval'):
      stop = stops.After(2)
      with self.assertRaises(stop_lib.StoppedError) as caught:
        self._run(mode, stop=stop)
      self.assertIsNone(caught.exception.step)
      self.assertEqual(stop.calls, ['begin', 'begin', 'end'])
      after = {n: v for n, v in self._files().items() if 'tfevents' not in n}
      self.assertEqual(after, self.before)

  def test_while_the_next_checkpoint_is_waited_for_nobody_asks(self):
    self.experiment = fixture.replace_run(self.experiment, train_steps=8)
    # Three batches, of which the last has no image, and the end.
    stop = stops.After(4)
    with self.assertRaises(stop_lib.StoppedError):
      self._run('continuous_eval', stop=stop)
    self.assertLen(model_dir_lib.read_metrics(self.folder), 1)


if __name__ == '__main__':
  tf.test.main()
