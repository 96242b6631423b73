"""The tool; what it writes has its tests in pretrained/publishing_test.py."""

import contextlib
import io
import os
from unittest import mock

import huggingface_hub
from absl import app
from absl.testing import absltest, flagsaver

from tests.fixtures import experiments, runs
from tools import export_weights, prologue


class ExportWeightsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.output = os.path.join(self.folder, 'timm')
    self.model_dir = runs.write_run(
      os.path.join(self.folder, 'run'), experiments.make_experiment()
    )

  def _export(self, **kwargs):
    """Runs the tool with these flags and returns what it prints."""
    arguments = {
      'model_dir': self.model_dir,
      'output_dir': self.output,
      **kwargs,
    }
    output = io.StringIO()
    with flagsaver.flagsaver(**arguments), contextlib.redirect_stdout(output):
      prologue.guard(export_weights.main)(['export_weights.py'])
    return output.getvalue()

  def test_prints_paths_and_hands_on_its_flags(self):
    labels = self.create_tempfile(content='a\nb\nc\nd\ne\n').full_path
    printed = self._export(licence='mit', weights='raw', labels=labels)
    names = ('model.safetensors', 'config.json', 'README.md')
    paths = [os.path.join(self.output, name) for name in names]
    self.assertEqual(printed.splitlines(), paths)
    with open(paths[1]) as f:
      self.assertIn('"label_names"', f.read())
    with open(paths[-1]) as f:
      self.assertIn('license: "mit"', f.read())

  def test_files_stay_where_the_upload_fails(self):
    with mock.patch.object(huggingface_hub, 'get_token', return_value=None):
      with self.assertRaisesRegex(SystemExit, 'hf auth login'):
        self._export(push='owner/name')
    self.assertLen(os.listdir(self.output), 3)

  def test_weights_that_are_not_finite(self):
    ruined = runs.write_run(
      os.path.join(self.folder, 'ruined'),
      experiments.make_experiment(),
      ruined=['logits/bias'],
    )
    with self.assertRaisesRegex(SystemExit, 'Nothing is .* in logits/bias'):
      self._export(model_dir=ruined)

  def test_errors_come_without_traceback(self):
    for arguments, message in (
      ({'model_dir': '/no/run'}, 'is not the model_dir of a run'),
      ({'weights': 'ema'}, 'holds no average'),
      ({'push': 'name'}, 'must be owner/name'),
    ):
      with self.assertRaisesRegex(SystemExit, message):
        self._export(**arguments)
    self.assertFalse(os.path.exists(self.output))
    with self.assertRaisesRegex(app.UsageError, "'runs/x'"):
      export_weights.main(['export_weights.py', 'runs/x'])


if __name__ == '__main__':
  absltest.main()
