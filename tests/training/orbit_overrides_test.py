"""Tests of training.orbit_overrides."""

import contextlib
import io
import os

import orbit
import tensorflow as tf

from official_coatnet.training import orbit_overrides, saving


class _Runner(orbit.AbstractTrainer, orbit.AbstractEvaluator):
  """Counts."""

  def __init__(self):
    self.step = tf.Variable(0, dtype=tf.int64)
    self.evaluations = []

  def train(self, num_steps):
    self.step.assign_add(tf.cast(num_steps, tf.int64))
    return {'loss': 1.0}

  def evaluate(self, num_steps):
    self.evaluations.append(int(self.step))
    return {'top1': 0.5}


class OrbitOverridesTest(tf.test.TestCase):
  def _make(self, runner, **kwargs):
    manager = saving.CheckpointManager(
      tf.train.Checkpoint(step=runner.step),
      self.folder,
      max_to_keep=3,
      step_counter=runner.step,
      checkpoint_interval=2,
    )
    return orbit_overrides.Controller(
      **kwargs,
      trainer=runner,
      evaluator=runner,
      global_step=runner.step,
      steps_per_loop=2,
      checkpoint_manager=manager,
    )

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_run_resumed_at_its_end_evaluates_and_saves_nothing(self):
    first = _Runner()
    output = self._make(first).train_and_evaluate(4, eval_interval=2)
    self.assertEqual(first.evaluations, [2, 4])
    latest = tf.train.latest_checkpoint(self.folder)
    again = _Runner()
    controller = self._make(again)
    self.assertEqual(int(again.step), 4)
    self.assertEqual(controller.train_and_evaluate(4), output)
    self.assertEqual(again.evaluations, [4])
    self.assertEqual(tf.train.latest_checkpoint(self.folder), latest)

  def test_events(self):
    folder = self.create_tempdir().full_path
    folders = [os.path.join(folder, kind) for kind in ('train', 'eval')]
    self._make(
      _Runner(), summary_dir=folders[0], eval_summary_dir=folders[1]
    ).train_and_evaluate(2)
    self.assertLen(os.listdir(folders[0]), 1)
    self.assertLen(os.listdir(folders[1]), 1)

  def test_events_that_cannot_be_written_are_a_warning(self):
    file = self.create_tempfile('file').full_path
    runner = _Runner()
    with self.assertLogs(level='WARNING') as logs:
      self._make(
        runner, summary_dir=f'{file}/train', eval_summary_dir=f'{file}/eval'
      ).train_and_evaluate(4, eval_interval=2)
    self.assertEqual(runner.evaluations, [2, 4])
    self.assertLen(logs.output, 2)
    self.assertRegex(logs.output[0], 'train.*cannot be written.*goes on')

  def test_messages_come_once_and_without_the_reports(self):
    printed = io.StringIO()
    original = orbit.controller._log
    with (
      orbit_overrides.speaks_once(),
      contextlib.redirect_stdout(printed),
      self.assertLogs(level='INFO') as logs,
    ):
      self._make(_Runner()).train(2)
    self.assertEqual(printed.getvalue(), '')
    text = '\n'.join(logs.output)
    self.assertIn('saved checkpoint', text)
    self.assertNotIn('output:', text)
    self.assertIs(orbit.controller._log, original)


if __name__ == '__main__':
  tf.test.main()
