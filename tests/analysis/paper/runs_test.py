"""Which file gives what, and the list of all."""

import json
import os

from absl.testing import absltest

from official_coatnet.analysis.paper import runs, tables
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


class ListingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.rows = runs.all_rows()

  def test_a_row_for_each_result_and_each_curve(self):
    curves = [row for row in self.rows if row.tables == ('Figure 1',)]
    self.assertLen(curves, 10)  # Five layouts on two data sets.
    self.assertLen(self.rows, len(tables.RESULTS) + 10)
    for row in self.rows:
      self.assertEqual(row.expected is None, row in curves)

  def test_both_numbers_where_the_paper_has_two(self):
    text = runs.format_text(
      [
        row
        for row in self.rows
        if row.gin_file == 'gin/imagenet21k_coatnet3_384.gin'
      ]
    )
    self.assertIn('87.6 %, but 87.9 %', text)

  def test_markdown_has_a_line_for_each_file(self):
    lines = runs.format_markdown(self.rows).splitlines()[2:]
    files = [line.split('`')[1] for line in lines]
    self.assertLen(set(files), len(files))
    self.assertContainsSubset(
      {row.gin_file.removeprefix('gin/') for row in self.rows}, set(files)
    )

  def test_json(self):
    values = json.loads(json.dumps(runs.to_list(self.rows)))
    self.assertLen(values, len(self.rows))
    self.assertIn('evaluate', values[0]['commands'])


if __name__ == '__main__':
  absltest.main()
