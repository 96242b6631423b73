"""Tests of training.controller: whole runs of a small network."""

import dataclasses
import os
import shutil

import numpy as np
import tensorflow as tf

from official_coatnet.training import checkpoints, controller, model_dir
from tests.fixtures import experiments as fixture

_EMA = {'ema_decay': 0.5}


def _weights(model_dir, weights='raw'):
  stored = checkpoints.StoredWeights(model_dir, weights=weights)
  return {name: stored.read(name) for name in stored.shapes}


class ControllerTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _run(self, experiment, *, mode='train_and_eval', **kwargs):
    return controller.run(
      experiment,
      mode=mode,
      model_dir=kwargs.pop('model_dir', self.folder),
      strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
      **kwargs,
    )

  def _lines(self):
    return model_dir.read_metrics(self.folder)

  def test_train_and_evaluate(self):
    calls = []
    results = self._run(
      fixture.make_experiment(run={'eval_interval_steps': 2}),
      on_start=lambda: calls.append('start'),
      on_first_loop=lambda: calls.append('first loop'),
    )
    self.assertEqual(calls, ['start', 'first loop'])
    self.assertEqual(results['examples'], 8)
    lines = self._lines()
    self.assertEqual(
      [(line['step'], 'eval/loss' in line) for line in lines],
      [(2, False), (2, True), (4, False), (4, True)],
    )
    self.assertAllClose(lines[-1]['eval/loss'], results['loss'])
    self.assertEqual(
      tf.train.latest_checkpoint(self.folder),
      os.path.join(self.folder, 'ckpt-4'),
    )
    for name in ('train', 'eval', 'experiment.json'):
      self.assertTrue(os.path.exists(os.path.join(self.folder, name)), name)

  def test_resumed_run_equals_one_that_never_stopped(self):
    experiment = fixture.make_experiment(
      model={'stochastic_depth': 0.3},
      train_data={'mixup_alpha': 0.8},
      optimizer={**_EMA, 'decay': 'linear'},
      run={'train_steps': 5, 'checkpoint_interval_steps': 2},
    )
    self._run(experiment, mode='train')
    whole, average = _weights(self.folder), _weights(self.folder, 'ema')
    # As if it had been killed after its checkpoint at step 2.
    stopped = self.create_tempdir().full_path
    for name in os.listdir(self.folder):
      if name.startswith('ckpt-2.') or name == 'experiment.json':
        shutil.copy(os.path.join(self.folder, name), stopped)
    tf.compat.v1.train.update_checkpoint_state(
      stopped, os.path.join(stopped, 'ckpt-2')
    )
    with self.assertLogs(level='INFO') as logs:
      self._run(experiment, mode='train', model_dir=stopped)
    self.assertIn('Resumed at step 2 of 5', '\n'.join(logs.output))
    for name, value in _weights(stopped).items():
      self.assertAllEqual(value, whole[name], name)
    for name, value in _weights(stopped, 'ema').items():
      self.assertAllEqual(value, average[name], name)

  def test_run_resumed_at_its_end_still_evaluates(self):
    experiment = fixture.make_experiment()
    first = self._run(experiment)
    before = _weights(self.folder)
    for name, value in before.items():
      self.assertTrue(np.isfinite(value).all(), name)
    lines = self._lines()
    index = os.path.join(self.folder, 'ckpt-4.index')
    saved = os.stat(index).st_mtime_ns
    again = self._run(experiment)
    self.assertAllClose(first, again)
    self.assertEqual(self._lines(), lines)
    self.assertEqual(os.stat(index).st_mtime_ns, saved)
    for name, value in _weights(self.folder).items():
      self.assertAllEqual(value, before[name])

  def test_modes_agree_on_the_averaged_weights(self):
    experiment = fixture.make_experiment(optimizer=_EMA)
    trained = self._run(experiment)
    evaluated = self._run(experiment, mode='eval')
    self.assertAllClose(trained, evaluated, rtol=1e-5)
    followed = self._run(experiment, mode='continuous_eval')
    self.assertAllClose(trained, followed, rtol=1e-5)
    raw = fixture.replace_run(experiment, weights='raw')
    self.assertNotAllClose(
      trained['loss'], self._run(raw, mode='eval')['loss'], rtol=1e-6
    )

  def test_evaluation_needs_no_training_data(self):
    experiment = fixture.make_experiment(run={'train_steps': None, 'epochs': 2})
    trained = self._run(experiment)
    away = fixture.make_data(source='tfrecord', num_examples=None)
    experiment = dataclasses.replace(experiment, train_data=away)
    evaluated = self._run(experiment, mode='continuous_eval')
    self.assertAllClose(trained, evaluated, rtol=1e-5)

  def test_ema_that_is_not_there(self):
    self._run(fixture.make_experiment(), mode='train')
    experiment = fixture.make_experiment(run={'weights': 'ema'})
    with self.assertRaisesRegex(ValueError, 'holds no average'):
      self._run(experiment, mode='eval')

  def test_init_checkpoint(self):
    self._run(fixture.make_experiment(optimizer=_EMA), mode='train')
    start = _weights(self.folder, 'ema')
    other = self.create_tempdir().full_path
    self._run(
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

  def test_seed_decides_the_start(self):
    values = []
    for seed in (0, 0, 1):
      folder = self.create_tempdir().full_path
      self._run(
        fixture.make_experiment(run={'seed': seed, 'train_steps': 1}),
        mode='train',
        model_dir=folder,
      )
      values.append(_weights(folder)['logits/kernel'])
    self.assertAllEqual(values[0], values[1])
    self.assertNotAllClose(values[0], values[2])

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
      self._run(experiment, mode='train')
    latest = tf.train.latest_checkpoint(self.folder)
    step = model_dir.checkpoint_step(latest) if latest else 0
    self.assertLess(step, max(line['step'] for line in self._lines()))

  def test_problems_come_in_one_message(self):
    experiment = fixture.make_experiment(train_data={'source': 'tfrecord'})
    with self.assertRaisesRegex(ValueError, '(?s)cannot start.*DATA_DIR'):
      self._run(experiment)
    with self.assertRaisesRegex(ValueError, "`mode` is 'test'"):
      self._run(experiment, mode='test')

  def test_plan_is_logged_first(self):
    with self.assertLogs(level='INFO') as logs:
      self._run(fixture.make_experiment(), mode='train')
    text = '\n'.join(logs.output)
    for part in (
      'Devices: 1 x CPU',
      'parameters',
      'multiply-adds',
      '4 steps (2.00 epochs, 16 images), batch 4, 4 a core',
    ):
      self.assertIn(part, text)


if __name__ == '__main__':
  tf.test.main()
