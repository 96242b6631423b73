"""Dry-runs a gin file with one block a stage."""

import glob
import os

from absl.testing import absltest, flagsaver

from tools import train

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def named_files() -> list[str]:
  """Returns the gin files that a user names, relative to the repository."""
  return sorted(
    os.path.relpath(path, ROOT)
    for folder in ('gin', 'gin/ablations')
    for path in glob.glob(os.path.join(ROOT, folder, '*.gin'))
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


def dry_run(test: absltest.TestCase, path: str):
  """Trains, evaluates and exports the run of a gin file, and checks that."""
  folder = test.create_tempdir().full_path
  with flagsaver.flagsaver(
    gin_file=[path],
    gin_bindings=_small(path),
    dry_run=True,
    model_dir=folder,
  ):
    train.main(['train'])
  test.assertTrue(os.path.exists(os.path.join(folder, 'ckpt-2.index')))
  test.assertTrue(
    os.path.exists(os.path.join(folder, 'export', '1', 'saved_model.pb'))
  )
