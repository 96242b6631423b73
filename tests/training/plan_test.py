"""Tests of training.plan."""

from absl.testing import absltest

from official_coatnet.training import plan as plan_lib
from tests.fixtures import experiments as fixture


def _plan(*, num_replicas=1, num_train=1281167, num_eval=50000, **parts):
  parts.setdefault('train_data', {'batch_size': 4096})
  parts.setdefault('eval_data', {'batch_size': 4096})
  return plan_lib.make_plan(
    fixture.make_experiment(**parts),
    num_replicas=num_replicas,
    num_train_examples=num_train,
    num_eval_examples=num_eval,
  )


class PlanTest(absltest.TestCase):
  def test_imagenet_pretraining(self):
    plan = _plan(
      num_replicas=128,
      run={
        'train_steps': None,
        'epochs': 300,
        'eval_interval_epochs': 5,
        'checkpoint_interval_steps': 1000,
        'steps_per_loop': 100,
      },
      optimizer={'warmup_steps': 10000},
    )
    self.assertEqual(plan.total_steps, 93835)
    self.assertEqual(plan.warmup_steps, 10000)
    self.assertEqual(plan.eval_interval, 1563)
    self.assertEqual(plan.checkpoint_interval, 1000)
    # 50,000 images are 12.2 batches: the last one is padded, not dropped.
    self.assertEqual(plan.eval_steps, 13)
    self.assertEqual(plan.per_replica_batch_size, 32)
    self.assertAlmostEqual(plan.epoch(93835), 300, places=2)

  def test_warmup_in_epochs(self):
    run = {'train_steps': None, 'epochs': 90}
    plan = _plan(run=run, optimizer={'warmup_epochs': 5})
    self.assertEqual(plan.warmup_steps, 5 * 1281167 // 4096)

  def test_intervals_never_exceed_the_run(self):
    plan = _plan(
      run={
        'train_steps': 3,
        'eval_interval_steps': 10,
        'checkpoint_interval_steps': 10,
        'steps_per_loop': 100,
      }
    )
    self.assertEqual(
      (plan.eval_interval, plan.checkpoint_interval, plan.steps_per_loop),
      (3, 3, 3),
    )

  def test_warmup_longer_than_the_run(self):
    with self.assertRaisesRegex(ValueError, 'WARMUP_STEPS'):
      _plan(optimizer={'warmup_steps': 5})

  def test_batch_that_the_cores_do_not_divide(self):
    with self.assertRaisesRegex(ValueError, '4096.*3 cores.*BATCH_SIZE'):
      _plan(num_replicas=3)

  def test_microbatches_that_do_not_divide_the_batch(self):
    with self.assertRaisesRegex(
      ValueError, 'microbatches` is 3.* 32 images of a core.*divisor of 32'
    ):
      _plan(optimizer={'microbatches': 3}, num_replicas=128)

  def test_mixup_needs_pairs(self):
    data = {'batch_size': 6, 'mixup_alpha': 0.8}
    with self.assertRaisesRegex(ValueError, 'mixup.*BATCH_SIZE'):
      _plan(train_data=data, eval_data={'batch_size': 6}, num_replicas=2)

  def test_unknown_number_of_evaluation_images(self):
    self.assertIsNone(_plan(num_eval=None).eval_steps)

  def test_a_run_without_steps(self):
    with self.assertRaisesRegex(ValueError, 'TRAIN_STEPS'):
      _plan(run={'train_steps': 0})


def _steps(steps=None, epochs=None):
  return plan_lib.to_steps(
    name='train_steps',
    steps=steps,
    epochs=epochs,
    num_examples=1281167,
    batch_size=4096,
  )


class DurationsTest(absltest.TestCase):
  def test_epochs_become_whole_steps(self):
    # Table 10: 300 epochs of ImageNet-1K in batches of 4096.
    self.assertEqual(_steps(epochs=300), 300 * 1281167 // 4096)

  def test_steps_win(self):
    self.assertEqual(_steps(steps=7, epochs=300), 7)

  def test_neither(self):
    self.assertIsNone(_steps())

  def test_zero_epochs(self):
    self.assertEqual(_steps(epochs=0), 0)

  def test_less_than_one_step(self):
    with self.assertRaisesRegex(ValueError, '`train_steps` is 0.001 epochs'):
      _steps(epochs=0.001)

  def test_negative(self):
    with self.assertRaisesRegex(ValueError, 'negative'):
      _steps(steps=-1)


if __name__ == '__main__':
  absltest.main()
