import contextlib
import io
import os

from absl import app
from absl.testing import absltest, flagsaver

from tests.fixtures import experiments, metrics_lines, newest_stack
from tools import prologue, report


def run_tool(*paths, **kwargs):
  """Runs the tool with these flags and returns what it prints."""
  output = io.StringIO()
  with flagsaver.flagsaver(**kwargs), contextlib.redirect_stdout(output):
    prologue.guard(report.main)(['report.py', *paths])
  return output.getvalue()


class ReportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    experiment = experiments.make_experiment()
    self.path = metrics_lines.write(
      os.path.join(self.folder, 'run'), experiment=experiment
    )

  def test_text(self):
    text = run_tool(self.path)
    self.assertIn('top1 50.00 % at step 20', text)
    other = metrics_lines.write(os.path.join(self.folder, 'bare'))
    text = run_tool(self.path, other)
    self.assertRegex(text, r'^ +run +bare\n')
    self.assertIn('bare: ', text)

  @newest_stack.only('The page of a report')
  def test_page(self):
    path = os.path.join(self.folder, 'new', 'report.html')
    text = run_tool(self.path, html=path)
    self.assertIn(f'Written: {path}', text)
    with open(path) as f:
      self.assertIn('<title>run</title>', f.read())

  def test_flags_that_do_not_go_together(self):
    with self.assertRaisesRegex(app.UsageError, 'Name one folder'):
      run_tool()
    for flags in ({'heads': ['1']}, {'layers': ['s3']}):
      with self.assertRaisesRegex(app.UsageError, '--heads and --layers'):
        run_tool(self.path, **flags)
    with self.assertRaisesRegex(SystemExit, 'is a folder'):
      os.mkdir(f'{self.path}/folder.html')
      run_tool(self.path, html=f'{self.path}/folder.html')


if __name__ == '__main__':
  absltest.main()
