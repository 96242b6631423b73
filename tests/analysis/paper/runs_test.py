"""Tests of analysis.paper_runs: which file gives what, and the comparison."""

import dataclasses
import os

from absl.testing import absltest

from official_coatnet.analysis.paper import runs
from official_coatnet.training import gin_config
from tests.fixtures import repository


class PaperRunsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.runs = runs.all_runs()

  def test_every_run_has_its_file(self):
    for path, run in self.runs.items():
      self.assertEqual(run.gin_file, path)
      self.assertTrue(os.path.isfile(os.path.join(repository.ROOT, path)), path)

  def test_chain_of_a_fine_tuned_number(self):
    steps = runs.chain(self.runs['gin/jft_coatnet5_512.gin'])
    self.assertEqual(
      [step for step, _ in steps], ['pre-train', 'fine-tune', 'evaluate']
    )
    pretrain, finetune, evaluate = (command for _, command in steps)
    self.assertIn('--gin_file=gin/jft_coatnet5.gin', pretrain)
    self.assertIn("DATA_DIR='DATA/jft'", pretrain)
    self.assertIn("INIT_CHECKPOINT='RUNS/jft_coatnet5'", finetune)
    self.assertIn("DATA_DIR='DATA/imagenet1k'", finetune)
    self.assertEndsWith(evaluate, '--mode=eval')

  def test_chain_without_fine_tuning(self):
    steps = runs.chain(self.runs['gin/imagenet1k_coatnet0.gin'])
    self.assertEqual([step for step, _ in steps], ['pre-train', 'evaluate'])

  def test_a_value_that_differs_is_seen(self):
    run = self.runs['gin/imagenet1k_coatnet0.gin']
    experiment = gin_config.load([run.gin_file], root=repository.ROOT)
    expected = runs.expected_values(run)
    values = runs.values_of(experiment)
    self.assertEqual({k: values[k] for k in expected}, expected)
    wrong = dataclasses.replace(
      experiment,
      optimizer=dataclasses.replace(experiment.optimizer, weight_decay=0.3),
    )
    values = runs.values_of(wrong)
    self.assertEqual(
      [k for k in expected if values[k] != expected[k]],
      ['OptimizerConfig.weight_decay'],
    )


if __name__ == '__main__':
  absltest.main()
