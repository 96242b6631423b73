"""Tests of tools/model_garden_train.py as a user runs it."""

import json
import os
import subprocess
import sys

from absl.testing import absltest

from tests.fixtures import model_garden as fixture, repository

_TOOL = os.path.join(repository.ROOT, 'tools', 'model_garden_train.py')
# An upper bound, so that a tool that hangs fails; no measure of its speed.
_TIMEOUT = 600


def _run(*args):
  """Runs the tool from another folder; returns its exit code and its words."""
  result = subprocess.run(
    [sys.executable, _TOOL, *args],
    cwd='/',
    capture_output=True,
    text=True,
    timeout=_TIMEOUT,
  )
  return result.returncode, result.stdout + result.stderr


class ModelGardenTrainTest(absltest.TestCase):
  def test_two_steps_with_the_flags_of_model_garden(self):
    name = 'coatnet_semantic_segmentation'
    folder = self.create_tempdir().full_path
    overrides = fixture.overrides(name, fixture.write_records(name, folder))
    code, words = _run(
      f'--experiment={name}',
      '--mode=train',
      f'--model_dir={folder}/run',
      f'--params_override={json.dumps(overrides)}',
    )
    self.assertEqual(code, 0, words)
    files = os.listdir(f'{folder}/run')
    self.assertIn('ckpt-2.index', files)
    self.assertIn('params.yaml', files)

  def test_a_missing_flag_is_named(self):
    code, words = _run('--experiment=coatnet_imagenet', '--mode=train')
    self.assertNotEqual(code, 0)
    self.assertIn('--model_dir', words)


if __name__ == '__main__':
  absltest.main()
