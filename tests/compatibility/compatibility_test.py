"""What earlier versions wrote is read, resumed, exported and served as before.

And what one TensorFlow wrote, by the other that the tests are run with.

Each folder v* holds what the tools of one version left behind, and in
expected.json what came of it then: `recorded` has the questions, `write_folder`
made the folders. The tests work in a copy; the folders themselves are never
rewritten.
"""

import contextlib
import glob
import json
import os
import shutil
from typing import Any

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.compatibility import command_line, recorded

_FOLDERS = sorted(
  os.path.basename(path) for path in glob.glob(f'{recorded.HERE}/v[0-9]*')
)
# Relative, of what is computed from stored weights. Other instruction sets of
# the same kind of processor (SSE4.1, AVX2, AVX-512), another number of threads
# and TensorFlow without oneDNN moved metrics by 1e-7, and of the answers the
# features closest to zero by 1.2e-5. Averaged and raw weights are 1.3e-3 apart.
_STORED = 1e-4
# Of what six steps of training lie before. These moved it by 2e-7; other kinds
# of processors may be further off.
_TRAINED = 1e-3
# A rounding may decide between two classes of one of eight images.
_ACCURACY = 0.13


class CompatibilityTest(parameterized.TestCase, tf.test.TestCase):
  def open(self, folder: str) -> dict[str, Any]:
    """Works in a copy of the folder from here on; returns what is expected."""
    copy = self.create_tempdir().full_path
    shutil.copytree(
      os.path.join(recorded.HERE, folder), copy, dirs_exist_ok=True
    )
    self.enter_context(contextlib.chdir(copy))
    with open(recorded.EXPECTED_FILE) as f:
      return json.load(f)

  def check(self, expected, actual, *, rtol: float = 0.0, name: str = ''):
    """Asserts that all that is expected is there; more may be."""
    if isinstance(expected, dict):
      for key, value in expected.items():
        self.assertIn(key, actual, f'of {name}')
        self.check(value, actual[key], rtol=rtol, name=f'{name}/{key}')
    elif isinstance(expected, list):
      self.assertLen(actual, len(expected), name)
      for i, (a, b) in enumerate(zip(expected, actual)):
        self.check(a, b, rtol=rtol, name=f'{name}/{i}')
    elif isinstance(expected, float):
      atol = _ACCURACY if name.endswith('top1') else rtol / 10
      np.testing.assert_allclose(
        actual, expected, rtol=rtol, atol=atol, err_msg=name
      )
    else:
      self.assertEqual(expected, actual, name)

  def test_there_is_a_folder(self):
    # Of TensorFlow 2.15, and the same run of 2.20: each is read by both.
    self.assertContainsSubset(['v0_1', 'v0_1_tf2_20'], _FOLDERS)

  @parameterized.parameters(_FOLDERS)
  def test_no_file_was_rewritten(self, folder):
    path = os.path.join(recorded.HERE, folder)
    with open(os.path.join(path, recorded.CHECKSUMS_FILE)) as f:
      self.assertEqual(json.load(f), recorded.checksums(path))

  @parameterized.parameters(_FOLDERS)
  def test_records_are_valid(self, folder):
    self.open(folder)
    command_line.run('tools/tfrecords.py', 'validate', recorded.DATA_DIR)

  @parameterized.parameters(_FOLDERS)
  def test_checkpoint_is_evaluated(self, folder):
    expected = self.open(folder)
    stored = recorded.norms()
    self.check(expected['norms'], stored, rtol=1e-6, name='norms')
    # What the run wrote down is a gin file that runs it again.
    written_down = os.path.join(recorded.MODEL_DIR, 'config.gin')
    for weights, gin_file in (('ema', 'run.gin'), ('raw', written_down)):
      self.check(
        expected['evaluation'][weights],
        recorded.evaluate(weights, gin_file=gin_file),
        rtol=_STORED,
        name=weights,
      )

  @parameterized.parameters(_FOLDERS)
  def test_run_is_resumed_by_the_same_command(self, folder):
    expected = self.open(folder)
    recorded.train()
    self.check(
      expected['resumed'],
      {'metrics': recorded.metrics(), 'norms': recorded.norms()},
      rtol=_TRAINED,
    )
    # A checkpoint of now has what one of then had.
    self.check(expected['variables'], recorded.variables(), name='variables')

  @parameterized.parameters(_FOLDERS)
  def test_run_is_exported_anew(self, folder):
    expected = self.open(folder)['export']
    recorded.export('anew')
    export = os.path.join('anew', '1')
    self.check(expected['files'], recorded.files(export), name='files')
    self.check(expected['signatures'], recorded.signatures(export))
    self.check(expected['answers'], self.answers(export), rtol=_STORED)

  @parameterized.parameters(_FOLDERS)
  def test_old_export_answers(self, folder):
    expected = self.open(folder)
    export = expected['export']
    self.check(export['answers'], self.answers(recorded.EXPORT), rtol=_STORED)
    self.check(expected['predictions'], recorded.predict(), rtol=_STORED)

  @parameterized.parameters(_FOLDERS)
  def test_old_export_is_verified(self, folder):
    """By its run, in Python and in TensorFlow's C++."""
    self.open(folder)
    output = command_line.run(
      'tools/verify_export.py',
      f'--model_dir={recorded.MODEL_DIR}',
      recorded.EXPORT,
    )
    self.assertNotIn('FAILED', output)

  def answers(self, path: str):
    return {
      signature: {key: value.tolist() for key, value in outputs.items()}
      for signature, outputs in recorded.answers(path).items()
    }

  @parameterized.parameters(_FOLDERS)
  def test_run_is_fine_tuned(self, folder):
    expected = self.open(folder)['fine_tuned']
    self.check(expected, recorded.fine_tune(), rtol=_STORED, name='fine_tuned')

  @parameterized.parameters(_FOLDERS)
  def test_run_is_summarized(self, folder):
    expected = self.open(folder)['summary']
    self.check(expected, recorded.summarize(), rtol=1e-6, name='summary')


if __name__ == '__main__':
  tf.test.main()
