"""Tests of training.orbit_overrides."""

import contextlib
import io

import orbit
import tensorflow as tf

from official_coatnet.training import orbit_overrides


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
  def _make(self, runner):
    manager = tf.train.CheckpointManager(
      tf.train.Checkpoint(step=runner.step),
      self.folder,
      max_to_keep=3,
      step_counter=runner.step,
      checkpoint_interval=2,
    )
    return orbit_overrides.Controller(
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
