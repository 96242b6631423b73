"""Verifies a small export, by the tool too, and some that are wrong."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import tempfile

import tensorflow as tf
from absl.testing import absltest, flagsaver

from official_coatnet.data import facts as facts_lib
from official_coatnet.export import saved_model, versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import runners, verification
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import experiments, runs
from tools import prologue, verify_export


class VerificationTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.mkdtemp(dir=absltest.get_default_test_tmpdir())
    cls.run_dir = runs.write_run(
      os.path.join(folder, 'run'),
      experiments.make_experiment(
        optimizer={'ema_decay': 0.9}, eval_data={'eval_crop_fraction': 0.8}
      ),
      labels=['one', 'two', 'three', 'four', 'five'],
    )
    cls.path = saved_model.export(
      cls.run_dir,
      os.path.join(folder, 'exports'),
      options=ExportOptions(
        batch_sizes=(1, 2),
        answer_bad_images=True,
        stage_maps=True,
        max_pixels=10**6,
      ),
    )

  def _verify(self, path, **kwargs):
    """Runs the tool; returns what it prints and its exit code."""
    output, code = io.StringIO(), 0
    with flagsaver.flagsaver(**kwargs), contextlib.redirect_stdout(output):
      try:
        prologue.guard(verify_export.main)(['verify_export.py', path])
      except SystemExit as e:
        code = e.code
    return output.getvalue(), code

  def _copy(self):
    path = os.path.join(self.create_tempdir().full_path, '1')
    shutil.copytree(self.path, path)
    return path

  def test_a_good_export(self):
    """From the folder of versions, in Python and in C++, and damaged images."""
    exports = os.path.dirname(self.path)
    output, code = self._verify(exports, fuzz=200)
    self.assertEqual(code, 0, output)
    self.assertNotIn('FAILED', output)
    self.assertIn('C++: `serving_default`  largest difference', output)
    self.assertIn('C++: warm-up replayed', output)
    self.assertRegex(output, r'200 damaged images, \d+ refused')
    self.assertRegex(output, r'Python: 14 files made to cost much, 10 refused')
    self.assertRegex(output, r'C\+\+: 14 files made to cost much, 10 refused')
    self.assertIn(f'{self.path}: all 22 checks passed.', output)

  def test_an_export_of_images_prepared_otherwise(self):
    """Through a server's loader, too: the bicubic way is of operations."""
    folder = self.create_tempdir().full_path
    prepared = {
      'mean': (0.5, 0.5, 0.5),
      'deviation': (0.5, 0.5, 0.5),
      'interpolation': 'bicubic',
    }
    run_dir = runs.write_run(
      os.path.join(folder, 'run'),
      experiments.make_experiment(train_data=prepared, eval_data=prepared),
    )
    path = saved_model.export(
      run_dir,
      os.path.join(folder, 'exports'),
      options=ExportOptions(batch_sizes=(1,)),
    )
    output, code = self._verify(path)
    self.assertEqual(code, 0, output)
    self.assertIn('C++: `serving_default`  largest difference', output)

  def test_other_weights(self):
    """The averages were exported; the others are not what it answers."""
    path = self._copy()
    file = os.path.join(path, versions.PROVENANCE_FILE)
    with open(file) as f:
      values = json.load(f)
    self.assertEqual(values['weights'], 'ema')
    with open(file, 'w') as f:
      json.dump({**values, 'weights': 'raw'}, f)

    def run(requests):
      """Answers with pixels alone, which will do here."""
      asked = [r for r in requests if r.signature == 'serving_image_tensor']
      replies = iter(runners.run_in_python(path)(asked))
      return [
        next(replies) if r.signature == 'serving_image_tensor' else 'no'
        for r in requests
      ]

    steps = []
    found = verification.verify(
      path, runners={'Python': run}, on_step=steps.append
    )
    self.assertEqual(steps, list(verification.STEPS)[:-1])
    checks = {c.name: c for c in found}
    output = verify_export.format_check(
      checks['Python: `serving_image_tensor`']
    )
    self.assertStartsWith(output, 'FAILED  Python: `serving_image_tensor`')
    self.assertIn('batch size 17: a difference of', output)

  def test_what_a_server_would_trip_over(self):
    path = self._copy()
    os.remove(os.path.join(path, 'assets', 'labels.txt'))
    with self.assertRaisesRegex(Exception, 'labels.txt'):
      runners.run_in_cpp(path, [])

  def test_what_is_missing(self):
    _, code = self._verify(self.create_tempdir().full_path)
    self.assertRegex(code, 'No export in')

  def test_the_run_says_otherwise(self):
    path = self._copy()
    provenance = versions.read_provenance(path)
    run_dir = os.path.join(self.create_tempdir().full_path, 'run')
    shutil.copytree(self.run_dir, run_dir)

    def problems(provenance=provenance):
      return verification.check_run(
        path, provenance, model_dir=run_dir
      ).problems

    self.assertEqual(problems(), [])
    model_dir_lib.write_experiment(
      run_dir, experiments.make_experiment(optimizer={'ema_decay': 0.9})
    )
    self.assertEqual(
      problems(),
      [
        'eval_data.eval_crop_fraction is 0.875 in the run and 0.8 in the export'
      ],
    )
    os.remove(os.path.join(run_dir, 'experiment.json'))
    self.assertEqual(problems(), [])
    model_dir_lib.write_labels(run_dir, ['one', 'two', '3', 'four', 'five'])
    self.assertEqual(
      problems(),
      [
        "class 2 is '3' in the run and 'three' in the export "
        '(1 of 5 classes differ)'
      ],
    )
    # Names that were given, or of a version that did not tell.
    for own in (False, None):
      given = dataclasses.replace(provenance, own_labels=own)
      self.assertEqual(problems(given), [])

  def test_data_of_the_run_and_of_the_export(self):
    path = self._copy()
    run_dir = self.create_tempdir().full_path
    split = facts_lib.SplitFacts(
      source='tfrecord', split='train', num_classes=5, num_examples=8
    )
    other = dataclasses.replace(split, num_examples=9)
    model_dir_lib.write_data(run_dir, facts_lib.DataFacts(split, split))
    versions.write_data(path, facts_lib.DataFacts(other, split))
    check = verification.check_run(
      path, versions.read_provenance(path), model_dir=run_dir
    )
    self.assertEqual(
      check.problems, ['`num_examples` is 8 in the run and 9 in the export']
    )

  def test_the_tool_reads_the_batching_file(self):
    file = self.create_tempfile(content='max_batch_size { value: 1 }').full_path
    with absltest.mock.patch.object(verification, 'verify', return_value=[]):
      output, code = self._verify(self.path, batching_config=file)
    self.assertEqual(code, 1)
    self.assertRegex(output, r'FAILED  batching file .*\n .*has 2 images')

  def test_the_run_is_elsewhere(self):
    moved = os.path.join(self.create_tempdir().full_path, 'run')
    _, code = self._verify(self.path, model_dir=moved)
    self.assertRegex(code, 'No checkpoint at')

  def test_a_difference_is_exit_code_1(self):
    check = verification.Check('it', ['wrong'], 0.5)
    with absltest.mock.patch.object(
      verification, 'verify', return_value=[check]
    ):
      output, code = self._verify(self.path)
    self.assertEqual(code, 1)
    self.assertIn('FAILED  it  largest difference 0.5\n', output)
    self.assertIn('wrong', output)
    self.assertIn('1 of 1 checks failed', output)


if __name__ == '__main__':
  tf.test.main()
