"""Tests of training.train_mode: runs that end before their last step."""

import os
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf

from official_coatnet.training import (
  checkpoints,
  controller,
  model_dir as model_dir_lib,
  stop as stop_lib,
  writer,
)
from tests.fixtures import experiments as fixture, graphs, stops


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


class StoppedRunTest(tf.test.TestCase):
  """Six steps, two a loop; evaluated every four steps, and at the end."""

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.experiment = fixture.make_experiment(
      optimizer={'ema_decay': 0.5},
      run={
        'train_steps': 6,
        'eval_interval_steps': 4,
        'checkpoint_interval_steps': 6,
      },
    )

  def _run(self, stop=None, **kwargs):
    return controller.run(
      self.experiment,
      mode='train_and_eval',
      model_dir=self.folder,
      strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
      stop=stop,
      **kwargs,
    )

  def _stop(self, after, reason=stop_lib.Reason.AGAIN):
    """Runs until a stop; returns the step that its error has."""
    stop = stops.After(after, reason)
    with self.assertRaises(stop_lib.StoppedError) as caught:
      self._run(stop)
    self.assertEqual(caught.exception.reason, reason)
    self.assertEqual(stop.calls[-1], 'end')
    self.assertFalse(os.path.exists(os.path.join(self.folder, writer.FILE)))
    latest = tf.train.latest_checkpoint(self.folder)
    self.assertEndsWith(latest, f'ckpt-{caught.exception.step}')
    return caught.exception.step

  def _lines(self):
    return [
      (line['step'], 'eval' if 'eval/loss' in line else 'train')
      for line in model_dir_lib.read_metrics(self.folder)
    ]

  def test_it_goes_on_as_if_it_had_never_stopped(self):
    whole_folder, self.folder = self.folder, self.create_tempdir().full_path
    # Asked: after the loops to 2 and 4, and twice in the evaluation of two
    # batches and one that ends it. So it stops at the second batch.
    self.assertEqual(self._stop(4), 4)
    self.assertEqual(self._lines(), [(2, 'train'), (4, 'train')])
    # At the first batch of the evaluation with which it begins; and after the
    # only loop that is left, before the last evaluation.
    self.assertEqual(self._stop(1, stop_lib.Reason.END), 4)
    self.assertEqual(self._lines(), [(2, 'train'), (4, 'train')])
    self.assertEqual(self._stop(4), 6)
    results = self._run()
    stopped = self.folder
    lines = self._lines()
    values = model_dir_lib.read_metrics(stopped)
    self.folder = whole_folder
    self.assertEqual(self._run(), results)
    expected = [(2, 'train'), (4, 'train'), (4, 'eval'), (6, 'train')]
    self.assertEqual(lines, [*expected, (6, 'eval')])
    self.assertEqual(self._lines(), lines)
    for line, other in zip(values, model_dir_lib.read_metrics(self.folder)):
      name = 'eval/loss' if 'eval/loss' in line else 'train/loss'
      self.assertEqual(line[name], other[name])
    a, b = (
      checkpoints.StoredWeights(f, weights='ema')
      for f in (stopped, self.folder)
    )
    for name in a.shapes:
      np.testing.assert_array_equal(a.read(name), b.read(name), name)

  def test_one_run_a_folder(self):
    other = writer.Lock(self.folder)
    other.take()
    with self.assertRaisesRegex(ValueError, 'is being written by process'):
      self._run()
    self.assertEqual(os.listdir(self.folder), [writer.FILE])
    other.release()

    def lose():
      os.remove(os.path.join(self.folder, writer.FILE))
      writer.Lock(self.folder).take()

    # What was taken is not written to any more, nor given back.
    with mock.patch.object(
      writer.Lock, 'check', side_effect=ValueError('taken')
    ):
      with self.assertRaisesRegex(ValueError, 'taken'):
        self._run(on_start=lose)
    self.assertIsNone(tf.train.latest_checkpoint(self.folder))
    self.assertTrue(os.path.exists(os.path.join(self.folder, writer.FILE)))


if __name__ == '__main__':
  tf.test.main()
