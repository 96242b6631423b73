"""Tests of tools/benchmark/trainer.py: that it runs, and what it counts."""

import pathlib
import re

import tensorflow as tf

from official_coatnet.data import pipeline
from official_coatnet.training import (
  controller,
  devices,
  train_mode,
  trainer as trainer_lib,
)
from tests.fixtures import benchmarks, experiments
from tools.benchmark import trainer, trainer_variants

TOOL = pathlib.Path(trainer.__file__).resolve()


def pairs_of(*loops, period=1):
  """Returns `Pairs` of loops of two steps, each (whole, bare) CPU seconds."""
  pairs = trainer_variants.Pairs()
  pairs.period = period
  for whole, bare in loops:
    pairs.loops.append(
      trainer_variants.Loop(2, (whole, 2 * whole), (bare, 4 * bare))
    )
  return pairs


class PairsTest(tf.test.TestCase):
  def test_ratio_is_the_median_over_periods(self):
    # Two loops to a checkpoint; the last one has no partner.
    pairs = pairs_of(
      *[(1.0, 1.0), (3.0, 1.0)],
      *[(1.0, 1.0), (1.0, 1.0)],
      *[(2.0, 1.0), (2.0, 2.0)],
      (9.0, 1.0),
      period=2,
    )
    self.assertAlmostEqual(pairs.ratio(clock=0), 3 / 4)
    self.assertAlmostEqual(pairs.ratio(clock=1), 2 * 3 / 4)

  def test_seconds_are_those_of_a_step(self):
    pairs = pairs_of((1.0, 0.5), (3.0, 1.5))
    self.assertEqual(pairs.seconds('whole'), (1.0, 2.0))
    self.assertEqual(pairs.seconds('bare'), (0.5, 2.0))

  def test_a_run_without_a_whole_period_is_an_error(self):
    with self.assertRaisesRegex(ValueError, '1 loops .* but 2 .*TRAIN_STEPS'):
      pairs_of((1.0, 1.0), period=2).ratio(clock=0)


class TrainerBenchmarkTest(tf.test.TestCase):
  def test_the_run_is_a_run(self):
    folder = self.create_tempdir().full_path
    experiment = experiments.make_experiment(
      run={
        'train_steps': 12,
        'steps_per_loop': 2,
        'checkpoint_interval_steps': 4,
      }
    )
    pairs = trainer_variants.Pairs()
    with trainer_variants.paired_trainer(pairs):
      controller.run(
        experiment,
        mode='train',
        model_dir=folder,
        strategy=devices.make_strategy(),
      )
    # Six loops, the first two left out.
    self.assertEqual([each.steps for each in pairs.loops], [2] * 4)
    self.assertEqual(pairs.period, 2)
    for loop in pairs.loops:
      self.assertGreater(min(*loop.whole, *loop.bare), 0.0)
    # The bare loops have not moved the step.
    self.assertTrue(tf.train.latest_checkpoint(folder).endswith('-12'))
    # Afterwards a run is plain again.
    self.assertIs(train_mode.trainer_lib.Trainer, trainer_lib.Trainer)
    cpu, seconds = trainer_variants.input_seconds(experiment, num_batches=2)
    self.assertGreaterEqual(min(cpu, seconds), 0.0)

  def test_photographs(self):
    folder = self.create_tempdir().full_path
    trainer_variants.write_photographs(folder, num_images=2)
    data = experiments.make_data(
      source='tfrecord',
      data_dir=folder,
      schema='imagenet',
      num_classes=1000,
      batch_size=2,
      num_examples=2,
    )
    dataset = pipeline.make_dataset(data, seed=0, is_training=True)
    batch = next(iter(dataset))
    self.assertEqual(batch['image'].shape, [2, 32, 32, 3])
    self.assertCountEqual(batch['label'][:, 0].numpy(), [0, 1])

  def test_tool(self):
    bindings = (
      'MODEL = "coatnet_test"',
      'IMAGE_SIZE = 32',
      'BATCH_SIZE = 4',
      'TRAIN_STEPS = 8',
      'WARMUP_EPOCHS = 0',
      'RunConfig.steps_per_loop = 2',
      'RunConfig.checkpoint_interval_steps = 4',
    )
    result = benchmarks.run(
      TOOL,
      '--data=digits',
      '--threads=1',
      *(f'--gin_bindings={b}' for b in bindings),
      folder=self.create_tempdir().full_path,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    for line in (
      r'^2 loops, 2 to a checkpoint$',
      r'^input alone +\d+\.\d\d +\d+\.\d\d$',
      r'^whole trainer / bare loop, by wall time: \d+\.\d{3}$',
      r'^whole trainer / bare loop, by CPU time: \d+\.\d{3}  \(at least 0.95\)',
    ):
      self.assertRegex(result.stdout, re.compile(line, re.MULTILINE))


if __name__ == '__main__':
  tf.test.main()
