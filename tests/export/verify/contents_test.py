"""An export that is whole, and ones that lack something."""

import os
import shutil
import tempfile

from absl.testing import absltest
from tensorflow.core.protobuf import saved_model_pb2

from official_coatnet.export import batching, saved_model, versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import contents
from tests.fixtures import experiments, runs


class ContentsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.mkdtemp(dir=absltest.get_default_test_tmpdir())
    run_dir = runs.write_run(
      os.path.join(folder, 'run'), experiments.make_experiment()
    )
    cls.path = saved_model.export(
      run_dir,
      os.path.join(folder, 'exports'),
      options=ExportOptions(batch_sizes=(1, 2)),
    )

  def _copy(self):
    path = os.path.join(self.create_tempdir().full_path, '1')
    shutil.copytree(self.path, path)
    return path

  def test_what_is_missing(self):
    path = self._copy()
    with open(
      os.path.join(path, 'assets.extra/tf_serving_warmup_requests'), 'w'
    ):
      pass
    check = contents.check_warmup_file(path, versions.read_provenance(path))
    self.assertLen(check.problems, 10)
    os.remove(os.path.join(path, 'README.md'))
    experiment = experiments.make_experiment(
      model={'image_size': 64},
      train_data={'image_size': 64},
      eval_data={'image_size': 64},
    )
    check = contents.check_files(path, experiment)
    self.assertLen(check.problems, 2)
    self.assertIn('README.md is missing', check.problems)
    self.assertIn('`serving_image_tensor` takes', check.problems[1])

  def test_methods(self):
    path = self._copy()
    experiment = experiments.make_experiment()
    for signature, method, problems in (
      ('classify', 'tensorflow/serving/predict', 0),  # Of version 0.1.
      ('classify', 'tensorflow/serving/regress', 1),
      ('features', 'tensorflow/serving/classify', 1),
    ):
      file = os.path.join(self.path, 'saved_model.pb')
      with open(file, 'rb') as f:
        graph = saved_model_pb2.SavedModel.FromString(f.read())
      graph.meta_graphs[0].signature_def[signature].method_name = method
      with open(os.path.join(path, 'saved_model.pb'), 'wb') as f:
        f.write(graph.SerializeToString())
      check = contents.check_files(path, experiment)
      self.assertLen(check.problems, problems, (signature, method))

  def test_batching(self):
    """Of the export, which warms up 1 and 2."""
    for text, problems in (
      ('max_batch_size { value: 2 }', []),
      ('max_batch_size { value: 1 }', ['has 2 images, .* is 1: a server']),
      (
        'max_batch_size { value: 2 } allowed_batch_sizes: [1, 2]',
        ['without images ends TF Serving'],
      ),
    ):
      file = self.create_tempfile(content=text).full_path
      found = contents.check_batching(self.path, batching.read(file))
      self.assertEqual(found.name, f'batching file {file}')
      self.assertLen(found.problems, len(problems))
      for problem, expected in zip(found.problems, problems):
        self.assertRegex(problem, expected)


if __name__ == '__main__':
  absltest.main()
