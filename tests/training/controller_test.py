"""Tests of training.controller: whole runs of a small network."""

import dataclasses
import os
import shutil
import tempfile
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf

from official_coatnet.training import (
  checkpoints,
  controller,
  eval_mode,
  model_dir as model_dir_lib,
  per_class,
  restart,
)
from tests.fixtures import damage, experiments as fixture, graphs

_EMA = {'ema_decay': 0.5}


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def _run(experiment, *, model_dir, mode='train_and_eval', **kwargs):
  return controller.run(
    experiment,
    mode=mode,
    model_dir=model_dir,
    strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
    **kwargs,
  )


def _lines(model_dir):
  """Returns the lines of metrics, but for where the time went."""
  return [
    {k: v for k, v in line.items() if not k.startswith('goodput/')}
    for line in model_dir_lib.read_metrics(model_dir)
  ]


def _files(folder):
  """Returns all files below a folder with their contents."""
  found = {}
  for path, _, names in os.walk(folder):
    for name in names:
      with open(os.path.join(path, name), 'rb') as f:
        found[os.path.join(path, name)] = f.read()
  return found


def _weights(model_dir, weights='raw'):
  stored = checkpoints.StoredWeights(model_dir, weights=weights)
  return {name: stored.read(name) for name in stored.shapes}


class PlainRunTest(tf.test.TestCase):
  """One run of four steps, evaluated twice, and what can be done with it."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.whole = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.experiment = fixture.make_experiment(run={'eval_interval_steps': 2})
    cls.calls = []
    with unittest.TestCase().assertLogs(level='INFO') as logs:
      cls.results = _run(
        cls.experiment,
        model_dir=cls.whole,
        on_start=lambda: cls.calls.append('start'),
        on_first_loop=lambda: cls.calls.append('first loop'),
      )
    cls.words = '\n'.join(logs.output)

  def setUp(self):
    super().setUp()
    # A copy, so that no test depends on another.
    self.folder = os.path.join(self.create_tempdir().full_path, 'run')
    shutil.copytree(self.whole, self.folder)

  def test_evaluates_class_by_class_where_nothing_can_be_written(self):
    tally = per_class.Tally(self.experiment)
    before = _files(self.folder)
    with mock.patch.object(model_dir_lib, 'is_writable', lambda folder: False):
      with self.assertLogs(level='WARNING') as logs:
        results = _run(
          self.experiment, model_dir=self.folder, mode='eval', tally=tally
        )
    self.assertEqual(_files(self.folder), before)
    self.assertIn('is read-only', '\n'.join(logs.output))
    self.assertEqual(results, self.results)
    self.assertEqual(tally.step, 4)
    self.assertEqual(tally.images.sum(), 8)
    self.assertAllClose(tally.right.sum() / 8, results['top1'])
    with self.assertRaisesRegex(ValueError, "one of mode 'eval'"):
      _run(self.experiment, model_dir=self.folder, tally=tally)

  def test_train_and_evaluate(self):
    self.assertEqual(self.calls, ['start', 'first loop'])
    self.assertEqual(self.results['examples'], 8)
    lines = _lines(self.folder)
    self.assertEqual(
      [(line['step'], 'eval/loss' in line) for line in lines],
      [(2, False), (2, True), (4, False), (4, True)],
    )
    self.assertAllClose(lines[-1]['eval/loss'], self.results['loss'])
    self.assertEqual(
      tf.train.latest_checkpoint(self.folder),
      os.path.join(self.folder, 'ckpt-4'),
    )
    for name in ('train', 'eval', 'experiment.json'):
      self.assertTrue(os.path.exists(os.path.join(self.folder, name)), name)

  def test_plan_is_logged_first(self):
    for part in (
      'Devices: 1 x CPU',
      'parameters',
      'multiply-adds',
      '4 steps (2.00 epochs, 16 images), batch 4, 4 a core',
    ):
      self.assertIn(part, self.words)

  def test_resumed_at_its_end_it_still_evaluates(self):
    before = _weights(self.folder)
    for name, value in before.items():
      self.assertTrue(np.isfinite(value).all(), name)
    lines = _lines(self.folder)
    index = os.path.join(self.folder, 'ckpt-4.index')
    saved = os.stat(index).st_mtime_ns
    again = _run(self.experiment, model_dir=self.folder)
    self.assertAllClose(self.results, again)
    self.assertEqual(_lines(self.folder), lines)
    self.assertEqual(os.stat(index).st_mtime_ns, saved)
    for name, value in _weights(self.folder).items():
      self.assertAllEqual(value, before[name])

  def test_evaluation_leaves_the_settings_of_the_run(self):
    calls = []
    before = model_dir_lib.read_experiment(self.folder)
    for fraction, marked in ((0.875, False), (0.5, True)):
      experiment = fixture.make_experiment(
        eval_data={'eval_crop_fraction': fraction},
        run={'eval_interval_steps': 2},
      )
      _run(
        experiment,
        mode='continuous_eval',
        model_dir=self.folder,
        on_start=lambda: calls.append('start'),
      )
      self.assertEqual('eval/otherwise' in _lines(self.folder)[-1], marked)
    self.assertEqual(calls, [])
    self.assertEqual(model_dir_lib.read_experiment(self.folder), before)

  def damage_latest(self):
    damage.OF_CHECKPOINT['data flipped'](self.folder, 4)

  def test_a_damaged_latest_checkpoint_is_not_evaluated(self):
    _run(self.experiment, mode='eval', model_dir=self.folder, checkpoint_step=2)
    chosen = _lines(self.folder)[-1]
    self.assertEqual(chosen['step'], 2)
    self.damage_latest()
    for mode in ('eval', 'continuous_eval'):
      with (
        self.assertLogs(level='WARNING') as logs,
        mock.patch.object(eval_mode, 'CONTINUOUS_EVAL_TIMEOUT', 0.0),
      ):
        _run(self.experiment, mode=mode, model_dir=self.folder)
      words = '\n'.join(logs.output)
      self.assertRegex(words, 'ckpt-4.*damaged.*Taken instead: .*ckpt-2')
      self.assertEqual(_lines(self.folder)[-1], chosen)

  def test_a_damaged_latest_checkpoint_is_not_resumed_from(self):
    before = _weights(self.folder)
    self.damage_latest()
    with self.assertLogs(level='WARNING') as logs:
      results = _run(self.experiment, model_dir=self.folder)
    self.assertRegex('\n'.join(logs.output), 'ckpt-4.*damaged')
    self.assertEqual(results, self.results)
    self.assertEqual(
      [line['step'] for line in _lines(self.folder)], [2, 2, 4, 4]
    )
    for name, value in _weights(self.folder).items():
      self.assertAllEqual(value, before[name])

  def test_no_fresh_start_beside_checkpoints(self):
    os.remove(os.path.join(self.folder, 'checkpoint'))
    for step in (2, 4):
      damage.OF_CHECKPOINT['index deleted'](self.folder, step)
    before = _files(self.folder)
    with self.assertRaisesRegex(ValueError, 'none can be used.*--restart'):
      _run(self.experiment, model_dir=self.folder)
    self.assertEqual(_files(self.folder), before)

  def test_restart(self):
    lines = _lines(self.folder)
    before = _weights(self.folder)
    with mock.patch.object(restart, 'new_folder', lambda folder: f'{folder}/a'):
      results = _run(self.experiment, model_dir=self.folder, restart=True)
    self.assertEqual(results, self.results)
    for folder in (self.folder, os.path.join(self.folder, 'a')):
      self.assertLen(_lines(folder), len(lines))
      for name, value in _weights(folder).items():
        self.assertAllEqual(value, before[name])

  def test_ema_that_is_not_there(self):
    experiment = fixture.make_experiment(run={'weights': 'ema'})
    with self.assertRaisesRegex(ValueError, 'holds no average'):
      _run(experiment, mode='eval', model_dir=self.folder)

  def test_seed_decides_the_start(self):
    first = _weights(self.folder)['logits/kernel']
    for seed, is_equal in ((0, True), (1, False)):
      folder = self.create_tempdir().full_path
      _run(
        fixture.replace_run(self.experiment, seed=seed),
        mode='train',
        model_dir=folder,
      )
      compare = self.assertAllEqual if is_equal else self.assertNotAllClose
      compare(_weights(folder)['logits/kernel'], first)


class AveragedRunTest(tf.test.TestCase):
  """One run with averages and all that draws; its last loop is shorter."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.experiment = fixture.make_experiment(
      model={'stochastic_depth': 0.3},
      train_data={'mixup_alpha': 0.8, 'num_examples': 10},
      optimizer={**_EMA, 'decay': 'linear'},
      run={'train_steps': None, 'epochs': 2, 'checkpoint_interval_steps': 2},
    )
    cls.results = _run(cls.experiment, model_dir=cls.folder)

  def test_resumed_run_equals_one_that_never_stopped(self):
    # As if it had been killed after its checkpoint at step 2.
    stopped = self.create_tempdir().full_path
    for name in os.listdir(self.folder):
      if name.startswith('ckpt-2.') or name == 'experiment.json':
        shutil.copy(os.path.join(self.folder, name), stopped)
    tf.compat.v1.train.update_checkpoint_state(
      stopped, os.path.join(stopped, 'ckpt-2')
    )
    with self.assertLogs(level='INFO') as logs:
      _run(self.experiment, mode='train', model_dir=stopped)
    self.assertIn('Resumed at step 2 of 5', '\n'.join(logs.output))
    for weights in ('raw', 'ema'):
      whole = _weights(self.folder, weights)
      for name, value in _weights(stopped, weights).items():
        self.assertAllEqual(value, whole[name], name)

  def test_modes_agree_on_the_averaged_weights(self):
    for mode in ('eval', 'continuous_eval'):
      results = _run(self.experiment, mode=mode, model_dir=self.folder)
      self.assertAllClose(self.results, results, rtol=1e-5)
    raw = fixture.replace_run(self.experiment, weights='raw')
    results = _run(raw, mode='eval', model_dir=self.folder)
    self.assertNotAllClose(self.results['loss'], results['loss'], rtol=1e-6)

  def test_evaluation_needs_no_training_data(self):
    away = fixture.make_data(source='tfrecord', num_examples=None)
    experiment = dataclasses.replace(self.experiment, train_data=away)
    results = _run(experiment, mode='continuous_eval', model_dir=self.folder)
    self.assertAllClose(self.results, results, rtol=1e-5)

  def test_init_checkpoint(self):
    start = _weights(self.folder, 'ema')
    other = self.create_tempdir().full_path
    _run(
      fixture.make_experiment(
        optimizer={'peak_learning_rate': 1e-12, **_EMA},
        run={'init_checkpoint': self.folder, 'train_steps': 1},
      ),
      mode='train',
      model_dir=other,
    )
    for weights in ('raw', 'ema'):
      for name, value in _weights(other, weights).items():
        if 'moving_' not in name:  # BatchNorm statistics do move.
          self.assertAllClose(value, start[name], atol=1e-6, msg=name)


class RefusedTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_loss_that_explodes_leaves_the_last_good_checkpoint(self):
    experiment = fixture.make_experiment(
      optimizer={'peak_learning_rate': 1e30, 'clip_norm': None},
      run={
        'train_steps': 6,
        'steps_per_loop': 1,
        'checkpoint_interval_steps': 1,
      },
    )
    with self.assertRaisesRegex(FloatingPointError, 'peak_learning_rate'):
      _run(experiment, mode='train', model_dir=self.folder)
    latest = tf.train.latest_checkpoint(self.folder)
    step = model_dir_lib.checkpoint_step(latest) if latest else 0
    self.assertLess(step, max(line['step'] for line in _lines(self.folder)))

  def test_problems_come_in_one_message(self):
    experiment = fixture.make_experiment(train_data={'source': 'tfrecord'})
    with self.assertRaisesRegex(ValueError, '(?s)cannot start.*DATA_DIR'):
      _run(experiment, model_dir=self.folder)
    with self.assertRaisesRegex(ValueError, "`mode` is 'test'"):
      _run(experiment, mode='test', model_dir=self.folder)


if __name__ == '__main__':
  tf.test.main()
