"""Tests of tools/paper.py."""

import contextlib
import io
import json
from unittest import mock

from absl import app, flags
from absl.testing import absltest, flagsaver

from official_coatnet.analysis import paper_counts
from official_coatnet.modeling import complexity
from tests import reference_counts
from tools import paper


def closed_form(c):
  """Counts without building anything, in place of `paper_counts.count`."""
  return complexity.Count(
    name=c.name, output_shape=(1000,), **reference_counts.totals(c)
  )


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
  @mock.patch.object(paper_counts, 'count', closed_form)
  def test_counts(self):
    code, text, err = run_tool(counts=True)
    self.assertEqual(code, 0)
    self.assertIn('46 of 46 rows fit.', text)
    self.assertIn('Counting coatnet_0 at 224: network 1 of 18\n', err)
    self.assertRegex(err, r'network 18 of 18, \d+ s left')

    code, text, _ = run_tool(counts=True, format='json')
    self.assertEqual(code, 0)
    self.assertLen(json.loads(text)['rows'], 46)

  @mock.patch.object(paper_counts, 'count', closed_form)
  @mock.patch.object(paper_counts, 'MULTIPLY_ADDS_TOLERANCE', 3.0)
  def test_a_row_that_should_fit_and_does_not_is_the_exit_code(self):
    code, text, err = run_tool(counts=True)
    self.assertEqual(code, 1)
    # Tables 4, 12 and 13 have it.
    self.assertIn('43 of 46 rows fit.', text)
    self.assertIn('Table 13, coatnet_2 at 512: 75.46 M parameters', err)

  def test_wrong_usage(self):
    with self.assertRaisesRegex(app.UsageError, '--counts'):
      run_tool()
    with self.assertRaisesRegex(app.UsageError, "Unknown argument 'counts'"):
      paper.main(['paper.py', 'counts'])


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  absltest.main()
