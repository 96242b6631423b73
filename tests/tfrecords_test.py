"""Tests of tools/tfrecords.py, run as its users do."""

import io
import os
import pathlib
import subprocess
import sys

import tensorflow as tf
from PIL import Image

from official_coatnet.data import manifest
from tools import tfrecords

TOOL = pathlib.Path(tfrecords.__file__).resolve()


class TfrecordsTest(tf.test.TestCase):
  def run_tool(self, *arguments):
    # From another folder, and with nothing but the tool's own path.
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    environment['PYTHONPATH'] = os.pathsep.join(
      path for path in sys.path if 'site-packages' in path
    )
    return subprocess.run(
      [sys.executable, str(TOOL), *arguments],
      cwd=self.create_tempdir().full_path,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )

  def test_demo_twice(self):
    folder = self.create_tempdir().full_path
    first = self.run_tool('demo', f'--output_dir={folder}')
    self.assertEqual(first.returncode, 0, first.stderr)
    self.assertIn('train: 1,347 images of 10 classes in 8 files', first.stdout)
    self.assertIn('validation: 450 images of 10 classes', first.stdout)
    self.assertIn('1,347 of 1,347 images', first.stderr)
    self.assertTrue(manifest.is_complete(folder, 'train'))
    self.assertLen(os.listdir(os.path.join(folder, 'images')), 12)
    second = self.run_tool('demo', f'--output_dir={folder}')
    self.assertEqual(second.returncode, 0, second.stderr)
    self.assertEqual(second.stdout, first.stdout)
    self.assertNotIn('images,', second.stderr)

  def test_folder(self):
    source = self.create_tempdir()
    buffer = io.BytesIO()
    Image.new('RGB', (9, 9)).save(buffer, 'JPEG')
    for name in ('a/1.jpg', 'b/2.jpg'):
      source.create_file(name, content=buffer.getvalue(), mode='wb')
    source.create_file('b/broken.jpg', content='text')
    folder = self.create_tempdir().full_path
    result = self.run_tool(
      'folder', f'--input_dir={source.full_path}', f'--output_dir={folder}'
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn('train: 2 images of 2 classes in 3 files', result.stdout)
    self.assertIn('b/broken.jpg: no image of a known format', result.stdout)

  def test_errors_are_one_clear_line(self):
    for arguments, message in (
      (['demo'], '--output_dir is not set'),
      (['folder', '--output_dir=/tmp/x'], '--input_dir is not set'),
      (
        ['folder', '--output_dir=/tmp/x', '--input_dir=/nowhere'],
        "input_dir is '/nowhere', but there is no such folder",
      ),
    ):
      result = self.run_tool(*arguments)
      self.assertEqual(result.returncode, 1)
      self.assertIn(message, result.stderr)
      self.assertNotIn('Traceback', result.stderr)

  def test_unknown_command_shows_the_usage(self):
    result = self.run_tool('digits')
    self.assertEqual(result.returncode, 1)
    output = result.stdout + result.stderr
    self.assertIn("name one of ['demo', 'folder']", output)
    self.assertIn('tfrecords.py folder --input_dir=I', output)


if __name__ == '__main__':
  tf.test.main()
