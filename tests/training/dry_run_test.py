"""Tests of training.dry_run."""

from absl.testing import absltest

from official_coatnet.training import dry_run, plan
from tests.fixtures import experiments as fixture


class DryRunTest(absltest.TestCase):
  def test_two_steps_of_the_same_network(self):
    experiment = fixture.make_experiment(
      train_data={
        'source': 'tfrecord',
        'data_dir': '/data',
        'batch_size': 4096,
        'randaugment': (2, 15),
        'mixup_alpha': 0.8,
        'num_examples': None,
      },
      eval_data={'source': 'tfrecord', 'batch_size': 4096},
      optimizer={'warmup_steps': 10000, 'microbatches': 16},
      run={
        'train_steps': None,
        'epochs': 300,
        'eval_interval_epochs': 5,
        'init_checkpoint': '/some/checkpoint',
        'init_checkpoint_required': True,
      },
    )
    small = dry_run.shrink(experiment, num_replicas=2)
    self.assertEqual(small.model, experiment.model)
    self.assertEqual(small.loss, experiment.loss)
    self.assertEqual(small.optimizer.microbatches, 2)
    self.assertEqual(small.train_data.randaugment, (2, 15))
    self.assertEqual(small.train_data.mixup_alpha, 0.8)
    self.assertEqual(small.train_data.source, 'synthetic')
    self.assertIsNone(small.run.init_checkpoint)
    self.assertFalse(small.run.init_checkpoint_required)
    made = plan.make_plan(
      small, num_replicas=2, num_train_examples=8, num_eval_examples=8
    )
    self.assertEqual(
      (made.total_steps, made.warmup_steps, made.per_replica_batch_size),
      (2, 1, 2),
    )

  def test_epoch_warmup_fits_too(self):
    experiment = fixture.make_experiment(optimizer={'warmup_epochs': 5})
    small = dry_run.shrink(experiment, num_replicas=1)
    self.assertIsNone(small.optimizer.warmup_epochs)


if __name__ == '__main__':
  absltest.main()
