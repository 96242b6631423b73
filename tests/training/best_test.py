"""Tests of training.best: the best checkpoint, and the end by patience."""

import os
import unittest
from unittest import mock

import tensorflow as tf

from official_coatnet.training import (
  best,
  best_file,
  checkpoints,
  controller,
  evaluator,
  model_dir as model_dir_lib,
  preflight,
)
from tests.fixtures import experiments as fixture, graphs


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


class _KilledError(Exception):
  """The end of a process."""


def _evaluations(values, *, start=0):
  """Makes evaluations after each step give top1 as given, by step."""
  steps = iter(range(start + 1, max(values) + 1))

  def evaluate(self, num_steps):
    del self, num_steps
    value = values[next(steps)]
    if value is None:
      raise _KilledError()
    return {'loss': 1.0 - value, 'top1': value, 'examples': 8.0}

  return mock.patch.object(evaluator.Evaluator, 'evaluate', evaluate)


def _experiment(**run):
  return fixture.make_experiment(
    run={
      'train_steps': 6,
      'steps_per_loop': 1,
      'eval_interval_steps': 1,
      'best_metric': 'top1',
      'early_stopping_patience': 2,
      **run,
    }
  )


def _run(experiment, model_dir, **kwargs):
  return controller.run(
    experiment,
    mode='train_and_eval',
    model_dir=model_dir,
    strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
    **kwargs,
  )


class WholeRunTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.create_tempdir().full_path, 'run')

  def assert_best(self, *, step, value, later):
    self.assertEqual(
      best_file.read(self.folder), best_file.Best('top1', value, step, later)
    )
    kept = tf.io.gfile.glob(os.path.join(self.folder, 'best-*'))
    self.assertNotEmpty(kept)
    for path in kept:
      self.assertStartsWith(os.path.basename(path), f'best-{step}.')

  def test_stops_and_stays_so(self):
    values = {1: 0.2, 2: 0.5, 3: 0.5, 4: 0.4, 5: 0.9}
    with _evaluations(values), self.assertLogs(level='INFO') as logs:
      results = _run(_experiment(), self.folder)
    words = '\n'.join(logs.output)
    self.assertIn(
      'Early stopping at step 4 of 6: of 2 evaluations in a row none was '
      'better than top1 0.5 (best-2)',
      words,
    )
    self.assertEqual(results['top1'], 0.4)
    self.assert_best(step=2, value=0.5, later=(3, 4))
    latest = os.path.join(self.folder, 'ckpt-4')
    self.assertEqual(tf.train.latest_checkpoint(self.folder), latest)
    # What is evaluated, exported and fine-tuned from is the best one.
    stored = checkpoints.StoredWeights(self.folder)
    self.assertEqual(stored.prefix, os.path.join(self.folder, 'best-2'))
    self.assertEqual(model_dir_lib.checkpoint_step(stored.prefix), 2)
    same = checkpoints.StoredWeights(os.path.join(self.folder, 'ckpt-2'))
    for name in stored.shapes:
      self.assertAllEqual(stored.read(name), same.read(name), msg=name)
    # An evaluation of it is not the run's last one.
    with open(os.path.join(self.folder, 'metrics.jsonl'), 'a') as f:
      f.write('{"step": 2, "eval/loss": 0.5, "eval/top1": 0.5}\n')
    # Started again, it does nothing more: no step, no evaluation, no file.
    before = sorted(os.listdir(self.folder))
    metrics = model_dir_lib.read_metrics(self.folder)
    with _evaluations({5: None}, start=4):
      again = _run(
        _experiment(),
        self.folder,
        on_start=lambda: self.fail('started'),
        on_first_loop=lambda: self.fail('trained'),
      )
    self.assertEqual(again, results)
    self.assertEqual(sorted(os.listdir(self.folder)), before)
    self.assertEqual(model_dir_lib.read_metrics(self.folder), metrics)

  def test_killed_after_the_best_and_before_a_checkpoint(self):
    experiment = _experiment(
      checkpoint_interval_steps=3, early_stopping_patience=3
    )
    values = {1: 0.2, 2: 0.5, 3: 0.1, 4: 0.3, 5: 0.6, 6: None}
    with _evaluations(values), self.assertRaises(_KilledError):
      _run(experiment, self.folder)
    self.assertEndsWith(tf.train.latest_checkpoint(self.folder), 'ckpt-4')
    self.assert_best(step=5, value=0.6, later=())
    # Step 5 is taken and evaluated again, and is no evaluation without gain.
    with _evaluations({5: 0.6, 6: 0.3}, start=4):
      _run(experiment, self.folder)
    self.assert_best(step=5, value=0.6, later=(6,))
    # Without the metric there is no best one any more.
    with _evaluations({7: 0.3}, start=6):
      _run(
        _experiment(best_metric=None, early_stopping_patience=None),
        self.folder,
      )
    self.assertIsNone(best_file.read(self.folder))
    self.assertEndsWith(model_dir_lib.find_checkpoint(self.folder), 'ckpt-6')
    self.assertEmpty(tf.io.gfile.glob(os.path.join(self.folder, 'best*')))


class KeeperTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.step = tf.Variable(0, dtype=tf.int64)

  def make(self, *, is_chief=True, **run):
    this = mock.Mock(
      experiment=_experiment(**run), model_dir=self.folder, is_chief=is_chief
    )
    this.plan.total_steps = 100
    keeper = best.Keeper(
      this, tf.train.Checkpoint(step=self.step), global_step=self.step
    )
    keeper.resume()
    return keeper

  def evaluate(self, keeper, *, step, **output):
    self.step.assign(step)
    keeper.after_evaluation(output)

  def test_less_loss_is_better(self):
    keeper = self.make(best_metric='loss')
    for step, loss in ((1, float('nan')), (2, 2.0), (3, 1.0), (4, 1.5)):
      self.evaluate(keeper, step=step, loss=loss)
    self.evaluate(keeper, step=5, loss=float('nan'))
    self.assertEqual(keeper.best, best_file.Best('loss', 1.0, 3, (4, 5)))
    self.assertTrue(keeper.should_stop())
    # More patience later.
    more = self.make(best_metric='loss', early_stopping_patience=3)
    self.assertEqual(more.best, keeper.best)
    self.assertFalse(more.should_stop())

  def test_not_the_best_where_the_loss_is_no_number(self):
    keeper = self.make()
    self.evaluate(keeper, step=1, top1=0.5, loss=float('nan'))
    self.assertIsNone(keeper.best)
    self.evaluate(keeper, step=2, top1=0.4, loss=1.0)
    self.assertEqual(keeper.best, best_file.Best('top1', 0.4, 2))

  def test_another_metric_begins_anew(self):
    self.evaluate(self.make(best_metric='loss'), step=3, loss=1.0)
    with self.assertLogs(level='WARNING') as logs:
      keeper = self.make(best_metric='top1')
    self.assertIn("is that by 'loss'", '\n'.join(logs.output))
    self.assertIsNone(keeper.best)
    self.assertEmpty(os.listdir(self.folder))

  def test_a_run_that_begins_has_none(self):
    self.evaluate(self.make(), step=3, top1=0.9)
    self.step.assign(0)
    self.assertIsNone(self.make().best)
    self.assertEmpty(os.listdir(self.folder))

  def test_other_workers_decide_alike_and_write_nothing(self):
    follower = self.make(is_chief=False)
    for step, top1 in ((1, 0.5), (2, 0.4), (3, 0.3)):
      self.evaluate(follower, step=step, top1=top1)
    self.assertEqual(follower.best, best_file.Best('top1', 0.5, 1, (2, 3)))
    self.assertTrue(follower.should_stop())
    self.assertEmpty(os.listdir(self.folder))


class SettingsTest(tf.test.TestCase):
  def test_unknown_metrics_and_runs_without_evaluation(self):
    folder = self.create_tempdir().full_path
    with self.assertRaisesRegex(ValueError, 'best_metric` is .accuracy'):
      _experiment(best_metric='accuracy')
    experiment = _experiment(best_metric='precision_at_1')
    problems, _ = preflight.examine(
      experiment, mode='train_and_eval', model_dir=folder
    )
    self.assertEqual(
      problems,
      [
        "`run.best_metric` is 'precision_at_1'; an evaluation of this run has "
        'loss, top1, top5 (or None to keep no best checkpoint).'
      ],
    )
    (problem,) = best.problems(_experiment(), mode='train')
    self.assertIn('--mode=train evaluates nothing', problem)
    self.assertEqual(best.problems(_experiment(), mode='train_and_eval'), [])

  def test_patience_needs_evaluations_of_something(self):
    for run, words in (
      ({'early_stopping_patience': 0}, 'an integer of at least 1, or None'),
      ({'early_stopping_patience': True}, 'an integer of at least 1, or None'),
      ({'best_metric': None}, '`best_metric` is None: set it'),
      ({'eval_interval_steps': None}, 'evaluates at its end alone'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        _experiment(**run)


if __name__ == '__main__':
  tf.test.main()
