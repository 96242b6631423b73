"""Tests of training.guard: whole runs in which steps go wrong."""

import os
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import (
  checkpoints,
  controller,
  eval_mode,
  guard,
  model_dir as model_dir_lib,
  stop,
  train_mode,
  trainer,
)
from tests.fixtures import bad_steps, runs, trainers


def _run(folder, *, bad, mode='train', kind='gradient', **settings):
  """Runs with faults in the steps `bad`, each of which is in a loop of 2."""
  fault = bad_steps.Fault()
  fault.set(kind=kind, steps=bad)
  settings = {
    'train_steps': 8,
    'steps_per_loop': 2,
    'checkpoint_interval_steps': 2,
    'max_to_keep': 9,
    **settings,
  }
  with mock.patch.object(train_mode.trainer_lib, 'Trainer', fault.trainer):
    return controller.run(
      trainers.small_experiment(run=settings),
      mode=mode,
      model_dir=folder,
      strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
    )


def _steps(folder):
  """Steps of the checkpoints of a folder; all that they hold is finite."""
  steps = []
  for name in os.listdir(folder):
    if name.startswith('ckpt-') and name.endswith('.index'):
      prefix = os.path.join(folder, name.removesuffix('.index'))
      steps.append(model_dir_lib.checkpoint_step(prefix))
      reader = tf.train.load_checkpoint(prefix)
      for key, dtype in reader.get_variable_to_dtype_map().items():
        if dtype.is_floating:
          assert np.isfinite(reader.get_tensor(key)).all(), key
  return sorted(steps)


def _bad(folder):
  """Number of bad steps by the step of the line that tells them."""
  return {
    line['step']: line['train/bad_steps']
    for line in model_dir_lib.read_metrics(folder)
    if 'train/bad_steps' in line
  }


class GuardTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  @parameterized.parameters(
    # The first step, the second of the first loop, the last step; loops of one.
    (1, 2, []),
    (4, 2, [2]),
    (8, 2, [2, 4, 6]),
    (8, 1, [1, 3, 5, 7]),
  )
  def test_the_first_stops_the_run(self, step, loop, saved):
    with self.assertRaisesRegex(
      guard.BadStepsError,
      f'Step {step} of 8 is not finite and changed nothing.*gradient (inf|nan)'
      f'.*{bad_steps.GRADIENT}. The run stops.*peak_learning_rate.*'
      f'max_bad_steps = 3.*{f"ckpt-{saved[-1]}" if saved else "starts anew"}',
    ):
      _run(self.folder, bad=[step], steps_per_loop=loop)
    self.assertEqual(_steps(self.folder), saved)
    self.assertEqual(_bad(self.folder)[-(-step // loop) * loop], 1)

  def test_so_many_in_a_row_are_left_out(self):
    with self.assertLogs(level='WARNING') as logs:
      _run(self.folder, bad=[2, 3, 5, 8], max_bad_steps=2)
    # TensorFlow may have words of its own among them.
    words = '\n'.join(logs.output)
    for step in (2, 5, 8):
      self.assertIn(f'Step {step} of 8 is not finite', words)
    self.assertIn('in a row: 2, which', words)
    self.assertEqual(_steps(self.folder), [2, 4, 6, 8])
    self.assertEqual(_bad(self.folder), {2: 1, 4: 1, 6: 1, 8: 1})

  def test_after_more_of_them_it_goes_back_once(self):
    with self.assertLogs(level='WARNING') as logs:
      _run(self.folder, bad=[5, 6], max_bad_steps=1)
    self.assertRegex(
      '\n'.join(logs.output), 'That makes 2.*ckpt-4 are restored, once'
    )
    # The step goes on; the weights of step 6 are those of step 4.
    self.assertEqual(_steps(self.folder), [2, 4, 6, 8])
    four, six = (
      tf.train.load_checkpoint(os.path.join(self.folder, f'ckpt-{step}'))
      for step in (4, 6)
    )
    for key, dtype in four.get_variable_to_dtype_map().items():
      if dtype == tf.float32:
        self.assertAllEqual(four.get_tensor(key), six.get_tensor(key), key)

  def test_then_it_stops(self):
    with self.assertRaisesRegex(
      guard.BadStepsError, 'That makes 2 .* was restored before'
    ):
      _run(self.folder, bad=[3, 4, 7, 8], max_bad_steps=1)
    self.assertEqual(_steps(self.folder), [2, 4, 6])

  def test_nothing_to_go_back_to(self):
    with self.assertRaisesRegex(guard.BadStepsError, 'starts anew'):
      _run(self.folder, bad=[1, 2], max_bad_steps=1)
    self.assertEqual(_steps(self.folder), [])

  def test_a_spike(self):
    with self.assertRaisesRegex(
      guard.BadStepsError, r'Step 3 .* is above RunConfig.max_loss = 50'
    ):
      _run(self.folder, bad=[3], kind='spike', max_loss=50.0)

  def test_evaluation_that_is_not_finite(self):
    _run(self.folder, bad=[], train_steps=2)
    prefix = tf.train.latest_checkpoint(self.folder)
    experiment = model_dir_lib.read_experiment(self.folder)
    with (
      mock.patch.object(eval_mode.checkpoints, 'load_weights', _ruin),
      self.assertRaisesRegex(
        guard.NonFiniteEvaluationError, 'loss of the evaluation is nan, over 8'
      ),
    ):
      controller.run(
        experiment,
        mode='eval',
        model_dir=self.folder,
        strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
      )
    # What was found is written all the same.
    self.assertIsNone(model_dir_lib.read_metrics(self.folder)[-1]['eval/loss'])
    self.assertEqual(tf.train.latest_checkpoint(self.folder), prefix)


class _Again(stop.Stop):
  """Asks a run to end after its first loop."""

  def reason(self):
    return stop.Reason.AGAIN


class SavesTest(tf.test.TestCase, parameterized.TestCase):
  """Whatever has ruined the weights, and whoever saves: nothing is written."""

  @parameterized.named_parameters(
    ('the_ordinary', 's0/conv0/kernel', 4, {}, [2]),
    (
      'the_last',
      'average of logits/bias',
      4,
      {'train_steps': 4, 'checkpoint_interval_steps': 3},
      [2],
    ),
    (
      'the_best',
      'logits/kernel/v',
      4,
      {
        'checkpoint_interval_steps': 8,
        'best_metric': 'top1',
        'eval_interval_steps': 2,
      },
      [2],
    ),
    (
      'the_stopped',
      's2_block0/pre_norm/moving_variance',
      2,
      {'checkpoint_interval_steps': 8},
      [],
    ),
  )
  def test_save(self, name, step, settings, saved):
    folder = self.create_tempdir().full_path
    settings = {
      'train_steps': 8,
      'steps_per_loop': 2,
      'checkpoint_interval_steps': 2,
      **settings,
    }
    evaluates = 'best_metric' in settings
    with (
      mock.patch.object(train_mode.trainer_lib, 'Trainer', _ruins(name, step)),
      # Each evaluation is the best, so that one comes after the first save.
      mock.patch.object(train_mode.best, 'is_better', return_value=True),
      self.assertRaisesRegex(
        guard.NonFiniteWeightsError,
        f'No checkpoint is written of the run: .*, in {name}. Take an earlier',
      ),
    ):
      controller.run(
        trainers.small_experiment(run=settings),
        mode='train_and_eval' if evaluates else 'train',
        model_dir=folder,
        strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
        stop=_Again() if 'stopped' in self.id() else None,
      )
    self.assertEqual(_steps(folder), saved)
    # Nor is there a part of one, or the best one.
    for each in os.listdir(folder):
      if each.startswith(('ckpt', 'best-')):
        self.assertIn(each.partition('.')[0], ('ckpt-2', 'best-2'))


def _ruins(name, step):
  """A class of trainers that ruin a variable after a step."""
  base = trainer.Trainer

  class Ruins(base):
    def train(self, num_steps):
      output = super().train(num_steps)
      if int(self.optimizer.iterations.numpy()) == step:
        runs.ruin(self._lasting_variables()[name])
      return output

  return Ruins


_LOAD = checkpoints.load_weights


def _ruin(model, path, **kwargs):
  prefix = _LOAD(model, path, **kwargs)
  model.weights[0].assign(tf.fill(model.weights[0].shape, np.nan))
  return prefix


class CheckTest(tf.test.TestCase):
  def test_no_checkpoint_of_ruined_weights(self):
    made = trainers.make(
      trainers.small_experiment(), tf.distribute.OneDeviceStrategy('CPU:0')
    )
    checkpoint = checkpoints.make_checkpoint(
      made.model,
      averages={},
      check=lambda: guard.check_weights(made.not_finite(), what='Not saved is'),
    )
    folder = self.create_tempdir().full_path
    checkpoint.write(os.path.join(folder, 'good'))
    variable = made.average.averages['logits/bias']
    variable.assign(tf.fill(variable.shape, np.inf))
    with self.assertRaisesRegex(
      guard.NonFiniteWeightsError, 'Not saved is.*average of logits/bias'
    ):
      checkpoint.write(os.path.join(folder, 'ruined'))
    indices = tf.io.gfile.glob(os.path.join(folder, '*.index'))
    self.assertEqual(indices, [os.path.join(folder, 'good.index')])

  def test_names_are_few(self):
    self.assertEqual(guard.shorten(list('abc')), 'a, b, c')
    self.assertEqual(guard.shorten(list('abcdefg')), 'a, b, c, d, e and 2 more')


if __name__ == '__main__':
  tf.test.main()
