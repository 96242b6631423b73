"""Dry-runs every named gin file, and the ablations, with one block a stage."""

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
# The others change the sizes alone, or do what another file does as well: with
# one block a stage there is no difference left.
_ABLATIONS = (
  'average_pooling',
  'figure1_cccc',
  'figure1_ccct',
  'figure1_cttt',
  'figure1_vit_rel',
  'post_softmax',
  'table6_no_relative_attention',
  'table8_layer_norm',
)


def _small(path):
  """Bindings that shrink a run, but leave its layout."""
  if 'figure1' not in path:
    return ["MODEL = 'coatnet_test'", 'IMAGE_SIZE = 64']
  blocks, widths = '(2, 1, 1, 1, 1)', '(16, 16, 16, 32, 32)'
  if 'vit_rel' in path:
    blocks, widths = '(1, 1)', '(32, 32)'
  return [
    f'ModelConfig.blocks = {blocks}',
    f'ModelConfig.widths = {widths}',
    'ModelConfig.head_size = 16',
    'IMAGE_SIZE = 64',
  ]


class DryRunsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    *_FILES, *(f'gin/ablations/{name}.gin' for name in _ABLATIONS)
  )
  def test_trains_evaluates_and_exports(self, path):
    folder = self.create_tempdir().full_path
    with flagsaver.flagsaver(
      gin_file=[path],
      gin_bindings=_small(path),
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
