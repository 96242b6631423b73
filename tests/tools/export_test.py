"""The tool; the library's export has its test in saved_model_test.py."""

import contextlib
import io
import os
from unittest import mock

import tensorflow as tf
from absl import app
from absl.testing import absltest, flagsaver

from official_coatnet.export import versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import c_api, start_up
from official_coatnet.training import checkpoints
from tests.fixtures import experiments, image_files, runs
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
    output, self.said = io.StringIO(), io.StringIO()
    with (
      flagsaver.flagsaver(**arguments),
      contextlib.redirect_stdout(output),
      contextlib.redirect_stderr(self.said),
    ):
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
      time_warmup=False,
    )
    self.assertIn('its max_batch_size is 3 or more', self.said.getvalue())
    self.assertNotIn('startupProbe', self.said.getvalue())
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

  def test_says_what_a_server_needs(self):
    config = self.create_tempfile(content='max_batch_size { value: 8 }')
    self._export(self._run(), batching_config=config.full_path)
    self.assertRegex(
      self.said.getvalue(),
      r'(?m)^A server with \d+ cores .* loads it in about \d+\.\d s and warms '
      r'it up in \d+\.\d s, 20 requests\. '
      r'.*{periodSeconds: 5, failureThreshold: \d+}$',
    )
    lost = c_api.LoadError('no library')
    with mock.patch.object(start_up, 'measure', side_effect=lost):
      output = self._export(os.path.join(self.folder, 'run'))
    self.assertEqual(output, os.path.join(self.exports, '2') + '\n')
    self.assertIn('could not be timed: no library', self.said.getvalue())

  def test_for_tflite(self):
    images = os.path.join(self.folder, 'images')
    os.makedirs(images)
    for name, image in image_files.encoded_images().items():
      with open(os.path.join(images, name), 'wb') as f:
        f.write(image)
    output = self._export(
      self._run(), format='tflite', quantize='int8', images=f'{images}/*'
    )
    path = os.path.join(self.exports, '1')
    self.assertEqual(output, f'{path}\n')
    count = len(os.listdir(images))
    self.assertRegex(
      self.said.getvalue(),
      r'/1/model.tflite: 0.1 MB. Its logits differ from .* by 0\.\d+ at most, '
      rf'and the first class is the same for \d+ of {count} images\.$',
    )
    self.assertEqual(versions.read_provenance(path).quantize, 'int8')

  def test_errors_come_without_traceback(self):
    run = self._run()
    for arguments, message in (
      ({'model_dir': '/no/run'}, 'is not the model_dir of a run'),
      ({'weights': 'ema'}, 'holds no average'),
      ({'model_dir': '/x', 'batch_sizes': ['1', 'x']}, '--batch_sizes is 1,x'),
      ({'model_dir': '/x', 'top_k': 0}, '`top_k` is 0'),
      ({'batching_config': '/no/file'}, "file '/no/file' cannot be read"),
      ({'quantize': 'int8'}, "`quantize` is 'int8', .* only tflite has it"),
      ({'images': '*.jpg'}, '--images is for --format=tflite and onnx'),
      ({'format': 'onnx', 'images': '/no/*'}, '--images=/no/. matches no file'),
      ({'format': 'onnx', 'top_k': 3}, '--top_k is for SavedModels'),
    ):
      with self.assertRaisesRegex(SystemExit, message):
        self._export(**{'model_dir': run, **arguments})
    # The largest that is warmed up, and the largest that the server takes.
    config = self.create_tempfile(content='max_batch_size { value: 8 }')
    with self.assertRaisesRegex(SystemExit, 'has 16 images, .* is 8: a server'):
      self._export(
        run, batch_sizes=['1', '16'], batching_config=config.full_path
      )
    self.assertFalse(os.path.exists(self.exports))
    with self.assertRaisesRegex(app.UsageError, "'runs/x'"):
      export.main(['export.py', 'runs/x'])


if __name__ == '__main__':
  absltest.main()
