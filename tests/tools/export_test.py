"""The tool; the library's export has its test in saved_model_test.py."""

import contextlib
import io
import os

import tensorflow as tf
from absl import app
from absl.testing import absltest, flagsaver

from official_coatnet.export import versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.training import checkpoints
from tests.fixtures import experiments, runs
from tools import export, prologue


class ExportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.exports = os.path.join(self.folder, 'exports')

  def _run(self, **kwargs):
    return runs.write_run(
      os.path.join(self.folder, 'run'),
      experiments.make_experiment(**kwargs),
    )

  def _export(self, model_dir, **kwargs):
    """Runs the tool with these flags and returns what it prints."""
    arguments = {'model_dir': model_dir, 'export_dir': self.exports, **kwargs}
    output = io.StringIO()
    with flagsaver.flagsaver(**arguments), contextlib.redirect_stdout(output):
      prologue.guard(export.main)(['export.py'])
    return output.getvalue()

  def test_prints_the_path_and_hands_on_its_flags(self):
    model_dir = self._run(optimizer={'ema_decay': 0.9})
    labels = self.create_tempfile(content='a\nb\nc\nd\ne\n').full_path
    output = self._export(
      model_dir,
      weights='raw',
      labels=labels,
      version=12,
      batch_sizes=['3', '1'],
      top_k=2,
      max_pixels=10**6,
      answer_bad_images=True,
      stage_maps=True,
      threshold=0.75,
      licence='CC0',
    )
    path = os.path.join(self.exports, '12')
    self.assertEqual(output, f'{path}\n')
    with open(os.path.join(path, 'assets', 'labels.txt')) as f:
      self.assertEqual(f.read(), 'a\nb\nc\nd\ne\n')
    self.assertEqual(
      versions.read_provenance(path).options,
      ExportOptions(
        batch_sizes=(1, 3),
        top_k=2,
        threshold=0.75,
        max_pixels=10**6,
        answer_bad_images=True,
        stage_maps=True,
      ),
    )
    with open(os.path.join(path, 'README.md')) as f:
      self.assertIn('CC0', f.read())
    exported = tf.train.load_checkpoint(f'{path}/variables/variables')
    raw = checkpoints.StoredWeights(model_dir, weights='raw')
    key = next(
      key
      for key in exported.get_variable_to_shape_map()
      if key.startswith('weights/logits.Skernel/')
    )
    self.assertTrue(
      (exported.get_tensor(key) == raw.read('logits/kernel')).all()
    )

  def test_errors_come_without_traceback(self):
    for arguments, message in (
      ({'model_dir': '/no/run'}, 'is not the model_dir of a run'),
      ({'model_dir': self._run(), 'weights': 'ema'}, 'holds no average'),
      ({'model_dir': '/x', 'batch_sizes': ['1', 'x']}, '--batch_sizes is 1,x'),
      ({'model_dir': '/x', 'top_k': 0}, '`top_k` is 0'),
    ):
      with self.assertRaisesRegex(SystemExit, message):
        self._export(**arguments)
    with self.assertRaisesRegex(app.UsageError, "'runs/x'"):
      export.main(['export.py', 'runs/x'])


if __name__ == '__main__':
  absltest.main()
