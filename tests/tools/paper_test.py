"""Tests of tools/paper.py."""

import contextlib
import io
import json
import os
import re
import shutil
from unittest import mock

from absl import app, flags
from absl.testing import absltest, flagsaver

from official_coatnet.analysis.paper import (
  counts,
  runs,
  tables as paper_lib,
)
from official_coatnet.modeling import complexity
from tests import reference_counts
from tests.fixtures import repository
from tools import paper, prologue


def closed_form(c):
  """Counts without building anything, in place of `complexity.count`."""
  return [
    complexity.Count(
      name=c.name, output_shape=(1000,), **reference_counts.totals(c)
    )
  ]


def run_tool(**kwargs):
  """Returns exit code, standard output and standard error."""
  out, err = io.StringIO(), io.StringIO()
  with (
    flagsaver.flagsaver(**kwargs),
    contextlib.redirect_stdout(out),
    contextlib.redirect_stderr(err),
  ):
    code = paper.main(['paper.py'])
  return code, out.getvalue(), err.getvalue()


class PaperToolTest(absltest.TestCase):
  @mock.patch.object(complexity, 'count', closed_form)
  def test_counts(self):
    code, text, err = run_tool(counts=True)
    self.assertEqual(code, 0)
    self.assertIn('46 of 46 rows fit.', text)
    self.assertRegex(
      err,
      r'^Counting: coatnet_0 at 224 \(1 of 18\), 0:00:00, about \d min to go\n',
    )

    code, text, _ = run_tool(counts=True, format='json')
    self.assertEqual(code, 0)
    self.assertLen(json.loads(text)['rows'], 46)

  @mock.patch.object(complexity, 'count', closed_form)
  @mock.patch.object(counts, 'MULTIPLY_ADDS_TOLERANCE', 3.0)
  def test_a_row_that_should_fit_and_does_not_is_the_exit_code(self):
    code, text, err = run_tool(counts=True)
    self.assertEqual(code, 1)
    # Tables 4, 12 and 13 have it.
    self.assertIn('43 of 46 rows fit.', text)
    self.assertIn('Table 13, coatnet_2 at 512: 75.46 M parameters', err)

  def test_every_row_is_listed_with_its_commands(self):
    code, text, _ = run_tool()
    self.assertEqual(code, 0)
    entries = text.split('\n\n')[1:]
    # And five curves on each data set in Figure 1.
    self.assertLen(entries, len(paper_lib.RESULTS) + 10)
    for entry in entries:
      self.assertRegex(entry, r'^(Tables? \d|Figure 1)')
      path = re.search(r'gin file +(\S+)', entry).group(1)
      self.assertTrue(os.path.exists(os.path.join(repository.ROOT, path)), path)
      steps = re.findall(r'^  (pre-train|fine-tune|evaluate) ', entry, re.M)
      self.assertIn(
        steps,
        (['pre-train', 'evaluate'], ['pre-train', 'fine-tune', 'evaluate']),
      )

  def test_commands_of_one_row(self):
    _, text, _ = run_tool(table=['5'])
    self.assertEqual(
      text.split('\n\n')[-1].strip(),
      'Table 5: coatnet_5 at 512, JFT\n'
      '  expected   top-1 89.77 %\n'
      '  gin file   gin/jft_coatnet5_512.gin\n'
      '  pre-train  python tools/train.py --gin_file=gin/jft_coatnet5.gin '
      '--model_dir=RUNS/jft_coatnet5 --gin_bindings="DATA_DIR=\'DATA/jft\'"\n'
      '  fine-tune  python tools/train.py --gin_file=gin/jft_coatnet5_512.gin '
      '--model_dir=RUNS/jft_coatnet5_512 '
      '--gin_bindings="DATA_DIR=\'DATA/imagenet1k\'" '
      '--gin_bindings="INIT_CHECKPOINT=\'RUNS/jft_coatnet5\'"\n'
      '  evaluate   python tools/train.py --gin_file=gin/jft_coatnet5_512.gin '
      '--model_dir=RUNS/jft_coatnet5_512 '
      '--gin_bindings="DATA_DIR=\'DATA/imagenet1k\'" --mode=eval',
    )

  def test_both_numbers_where_the_paper_contradicts_itself(self):
    code, text, _ = run_tool(format='json', table=['6', '7'])
    self.assertEqual(code, 0)
    found = {
      (row['expected'], *(number for _, number in row['elsewhere']))
      for row in json.loads(text)
      if row['gin_file'] == 'gin/imagenet21k_coatnet3_384.gin'
    }
    self.assertEqual(found, {(87.6, 87.9), (87.9, 87.6)})
    _, text, _ = run_tool(table=['13'])
    self.assertIn('87.6 %, but 87.9 % in Tables 6 and 8: the paper', text)

  def test_the_gin_files_are_the_paper_s(self):
    code, text, err = run_tool(check=True)
    self.assertEqual((code, err), (0, ''))
    self.assertRegex(text, r'63 gin files, \d{4} values: 0 differ')

  def test_a_wrong_value_is_found(self):
    root = self.create_tempdir().full_path
    shutil.copytree(
      os.path.join(repository.ROOT, 'gin'), os.path.join(root, 'gin')
    )
    path = os.path.join(root, 'gin/recipes/jft_finetune.gin')
    with open(path) as f:
      text = f.read().replace('(2, 5)', '(2, 6)')
    with open(path, 'w') as f:
      f.write(text)
    path = os.path.join(root, 'gin/imagenet21k_coatnet4_ptra_e150.gin')
    with open(path, 'a') as f:
      f.write('OptimizerConfig.weight_decay = 0.05\n')
    self.addCleanup(os.chdir, os.getcwd())
    os.chdir(root)  # gin looks for what is included here first.
    with mock.patch.object(prologue, 'ROOT', root):
      code, text, err = run_tool(check=True)
    self.assertEqual(code, 1)
    self.assertIn(
      'gin/jft_coatnet4_512.gin: train/DataConfig.randaugment is (2, 6), but '
      'the paper has (2, 5).',
      err,
    )
    self.assertIn(
      'gin/imagenet21k_coatnet4_ptra_e150.gin: OptimizerConfig.weight_decay is '
      '0.05, but the paper has 0.01.',
      err,
    )
    # Four fine-tunings after JFT, and the other.
    self.assertIn(': 5 differ', text)
    os.remove(path)
    with mock.patch.object(prologue, 'ROOT', root):
      code, _, err = run_tool(check=True)
    self.assertEqual(code, 1)
    self.assertIn("No gin file 'gin/imagenet21k_coatnet4_ptra_e150.gin'", err)

  def test_the_table_of_the_docs_is_up_to_date(self):
    with open(os.path.join(repository.ROOT, 'docs', 'recipes.md')) as f:
      table = f.read().split('## All files\n\n')[1]
    # By line: a long string would be no message to read.
    self.assertEqual(
      table.splitlines(),
      runs.format_markdown(runs.all_rows()).splitlines(),
    )

  def test_wrong_usage(self):
    for flags_given, message in (
      ({'counts': True, 'check': True}, 'one of --counts and --check'),
      ({'table': ['4'], 'check': True}, '--table is for the list'),
      ({'table': ['3']}, "those that have: 2, 4, 5, 6, 7, 8, 9, 12, 13, 'Fig"),
    ):
      with self.assertRaisesRegex(app.UsageError, message):
        run_tool(**flags_given)
    with self.assertRaisesRegex(app.UsageError, "Unknown argument 'counts'"):
      paper.main(['paper.py', 'counts'])


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  absltest.main()
