"""Tests of training.run; controller_test has whole runs."""

import os
from unittest import mock

import tensorflow as tf
from absl.testing import absltest

from official_coatnet.training import (
  devices,
  model_dir as model_dir_lib,
  plan as plan_lib,
  reporting,
  run as run_lib,
)
from tests.fixtures import experiments as fixture


class RunTest(absltest.TestCase):
  def make(self, **kwargs):
    experiment = fixture.make_experiment()
    plan = plan_lib.make_plan(
      experiment, num_replicas=1, num_train_examples=8, num_eval_examples=8
    )
    settings = dict(
      experiment=experiment,
      sources={},
      plan=plan,
      mode='train',
      model_dir=self.create_tempdir().full_path,
      strategy=tf.distribute.get_strategy(),
      latest=None,
    )
    return run_lib.Run(**{**settings, **kwargs})

  def test_modes_that_train(self):
    trains = {m: self.make(mode=m).trains for m in ('train_and_eval', 'eval')}
    self.assertEqual(trains, {'train_and_eval': True, 'eval': False})

  def test_one_worker_writes(self):
    run = self.make()
    for is_chief, count in ((False, 0), (True, 1)):
      with mock.patch.object(devices, 'is_chief', return_value=is_chief):
        step = tf.Variable(4, dtype=tf.int64)
        clock = reporting.Clock(num_cores=1, batch_size=4)
        run.make_reporter(step, clock).after_evaluation({'loss': 1.0})
        self.assertEqual(run.events_folder('eval') is not None, is_chief)
      self.assertLen(model_dir_lib.read_metrics(run.model_dir), count)
    self.assertEqual(
      run.events_folder('eval'), os.path.join(run.model_dir, 'eval')
    )

  def test_what_differs_is_found(self):
    run = self.make()
    self.assertFalse(run.compare().other_evaluation_settings)
    other = fixture.make_experiment(eval_data={'eval_crop_fraction': 0.5})
    model_dir_lib.write_experiment(run.model_dir, other)
    tf.train.Checkpoint(step=tf.Variable(1)).save(
      os.path.join(run.model_dir, 'ckpt')
    )
    self.assertTrue(run.compare().other_evaluation_settings)


if __name__ == '__main__':
  absltest.main()
