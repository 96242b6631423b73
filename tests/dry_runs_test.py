"""Dry-runs every named gin file with one block a stage."""

import glob
import os

import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized

from tools import train

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FILES = sorted(
  os.path.relpath(path, _ROOT)
  for path in glob.glob(os.path.join(_ROOT, 'gin', '*.gin'))
)


class DryRunsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(*_FILES)
  def test_trains_evaluates_and_exports(self, path):
    folder = self.create_tempdir().full_path
    with flagsaver.flagsaver(
      gin_file=[path],
      gin_bindings=["MODEL = 'coatnet_test'", 'IMAGE_SIZE = 64'],
      dry_run=True,
      model_dir=folder,
    ):
      train.main(['train'])
    self.assertTrue(os.path.exists(os.path.join(folder, 'ckpt-2.index')))
    self.assertTrue(
      os.path.exists(os.path.join(folder, 'export', '1', 'saved_model.pb'))
    )


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  tf.test.main()
