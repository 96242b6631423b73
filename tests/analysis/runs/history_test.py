import os

from absl.testing import absltest

from official_coatnet.analysis.runs import comparison, history
from tests.fixtures import experiments
from tests.fixtures.metrics_lines import LINES, evaluation, train, write


class HistoryTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def write(self, name, *args, **kwargs):
    return write(os.path.join(self.folder, name), *args, **kwargs)

  def test_a_run(self):
    path = self.write('run', experiment=experiments.make_experiment())
    [run] = history.read([path + '/'])
    self.assertEqual(run.name, 'run')
    self.assertEqual(run.missing, ())
    # By step; that on other data is no part of the run.
    self.assertEqual(run.points('eval/top1'), [(20, 2.0, 0.5), (40, 4.0, 0.4)])
    self.assertEqual(run.last('train/loss'), 1.0)
    self.assertIsNone(run.last('train/goodput'))
    # The first loop after a start has no speed.
    self.assertEqual(run.restarts(), [20])
    self.assertEqual(run.best()['step'], 20)
    self.assertIn('train/core_hours', run.metrics())
    self.assertNotIn('step', run.metrics())
    rows = {name: value for name, [value] in comparison.overview([run]).items()}
    self.assertEqual(rows['steps'], '40 (4.00 epochs)')
    self.assertEqual(rows['last evaluation'], 'top1 40.00 % at step 40')
    self.assertEqual(rows['best evaluation'], 'top1 50.00 % at step 20')
    self.assertEqual(rows['speed'], '50.0 images/s/core')
    self.assertEqual(rows['restarts'], 'step 20')
    self.assertEqual(rows['bad steps'], '2')
    self.assertNotIn('wall time', rows)
    self.assertNotIn('paper', rows)

  def test_evaluations_tell_where_the_time_went_and_are_no_restart(self):
    def spent(step, total):
      return {'goodput/step': step, 'goodput/total': total}

    path = self.write(
      'run',
      [
        train(10, 3.0, speed=None, **spent(1.0, 4.0)),
        evaluation(10, 0.5, **spent(1.0, 8.0)),
        train(20, 2.0, **spent(3.0, 12.0)),
        evaluation(20, 0.6, **spent(3.0, 16.0)),
      ],
    )
    [run] = history.read([path])
    self.assertEqual(run.restarts(), [])
    self.assertEqual(
      run.points('train/goodput'), [(10, 1.0, 0.25), (20, 2.0, 0.25)]
    )

  def test_what_is_missing_is_said(self):
    experiment = experiments.make_experiment()
    for name, kwargs, words in (
      ('new', {'lines': None, 'experiment': experiment}, 'no curves yet'),
      ('empty', {'lines': [], 'experiment': experiment}, 'no curves yet'),
      ('cut', {'experiment': experiment, 'tail': '{"step": 5'}, 'cut short'),
      ('bare', {}, 'experiment.json does not exist'),
      ('train', {'lines': LINES[:2], 'experiment': experiment}, 'evaluated'),
    ):
      with self.subTest(name):
        [run] = history.read([self.write(name, **kwargs)])
        self.assertLen(run.missing, 1)
        self.assertIn(words, run.missing[0])
        self.assertIn(words, comparison.format_text([run]))

  def test_a_damaged_configuration(self):
    path = self.write('run')
    with open(os.path.join(path, 'experiment.json'), 'w') as f:
      f.write('{"model": {"hidden": 3}}')
    [run] = history.read([path])
    self.assertIsNone(run.experiment)
    self.assertIn('another version of this package', run.missing[0])
    self.assertEmpty(history.settings(run))
    whole = history.read(
      [path, self.write('whole', experiment=experiments.make_experiment())]
    )
    self.assertEmpty(comparison.differences(whole))

  def test_what_is_no_run(self):
    file = self.create_tempfile('file').full_path
    empty = self.create_tempdir('empty').full_path
    # As other packages write them.
    other = self.write('other', [{'epoch': 1, 'loss': 2.0}])
    for path, error, words in (
      ('/no/run', FileNotFoundError, "'/no/run' does not exist"),
      (file, ValueError, 'is a file'),
      (empty, ValueError, 'holds no run of this package'),
      (other, ValueError, 'holds no run of this package'),
    ):
      with self.assertRaisesRegex(error, words):
        history.read([path])
    path = self.write('run')
    with self.assertRaisesRegex(ValueError, 'named twice'):
      history.read([path, path + '/'])


if __name__ == '__main__':
  absltest.main()
