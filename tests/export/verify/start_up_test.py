import os

from absl.testing import absltest, parameterized

from official_coatnet.export import saved_model, versions, warmup
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import c_api, runners, start_up
from tests.fixtures import experiments, runs


class StartUpTest(parameterized.TestCase):
  def test_an_export(self):
    folder = self.create_tempdir().full_path
    run = runs.write_run(
      os.path.join(folder, 'run'), experiments.make_experiment()
    )
    options = ExportOptions(batch_sizes=(1, 3))
    path = saved_model.export(run, os.path.join(folder, 'x'), options=options)
    asked = []

    def time_in_cpp(path, requests):
      asked.extend((r.signature, len(r.value)) for r in requests)
      return runners_time(path, requests)

    runners_time = runners.time_in_cpp
    with absltest.mock.patch.object(runners, 'time_in_cpp', time_in_cpp):
      found = start_up.measure(path)
    self.assertEqual(asked, [('serving_default', 1), ('serving_default', 3)])
    # As many as there are in the file.
    self.assertEqual(found.requests, len(warmup.read_requests(path)))
    self.assertGreater(found.load, 0)
    self.assertGreater(found.warmup, 0)
    self.assertEqual(found.cores, len(os.sched_getaffinity(0)))
    os.remove(os.path.join(path, versions.LABELS_FILE))
    with self.assertRaisesRegex(c_api.LoadError, 'labels.txt'):
      start_up.measure(path)

  @parameterized.parameters(
    (1.0, 9.0, 60),  # Five minutes at least.
    (10.0, 90.0, 60),
    (10.0, 91.0, 61),  # 3 x 101 s in periods of 5 s.
    (100.0, 900.0, 600),
  )
  def test_threshold(self, load, seconds, expected):
    found = start_up.StartUp(cores=2, load=load, requests=10, warmup=seconds)
    self.assertEqual(found.failure_threshold, expected)

  def test_all_signatures_count(self):
    with (
      absltest.mock.patch.object(
        runners, 'time_in_cpp', return_value=(2.0, [0.5, 4.0])
      ),
      absltest.mock.patch.object(
        versions,
        'read_provenance',
        return_value=absltest.mock.Mock(options=ExportOptions()),
      ),
      absltest.mock.patch.object(
        start_up.model_dir_lib,
        'read_experiment',
        return_value=experiments.make_experiment(),
      ),
    ):
      found = start_up.measure('/x')
    self.assertEqual((found.load, found.warmup), (2.0, 5 * 4.5))
    self.assertEqual(found.requests, 20)


if __name__ == '__main__':
  absltest.main()
