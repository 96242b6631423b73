import dataclasses
import os

from absl.testing import absltest

from official_coatnet.analysis.runs import history
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import experiments, metrics_lines
from tests.fixtures.metrics_lines import LINES, write


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
    rows = {name: value for name, [value] in history.overview([run]).items()}
    self.assertEqual(rows['steps'], '40 (4.00 epochs)')
    self.assertEqual(rows['last evaluation'], 'top1 40.00 % at step 40')
    self.assertEqual(rows['best evaluation'], 'top1 50.00 % at step 20')
    self.assertEqual(rows['speed'], '50.0 images/s/core')
    self.assertEqual(rows['restarts'], 'step 20')
    self.assertEqual(rows['bad steps'], '2')
    self.assertNotIn('wall time', rows)
    self.assertNotIn('paper', rows)

  def test_where_the_time_goes(self):
    seconds = {'total': 7200.0, 'step': 5400.0, 'input_wait': 1800.0, 'lost': 0}
    others = {'cores': 8, 'tpu_v3': 1.0, 'time': 1.7e9}
    of_time = {f'goodput/{k}': v for k, v in {**seconds, **others}.items()}
    path = self.write('run', [metrics_lines.train(10, 1.0, **of_time)])
    [run] = history.read([path])
    self.assertEqual(run.points('train/goodput'), [(10, 1.0, 0.75)])
    self.assertEqual(
      history.overview([run])['wall time'],
      ['2 h: step 75 %, input wait 25 %'],
    )

  def test_several_runs(self):
    first = experiments.make_experiment()
    second = experiments.make_experiment(
      optimizer={'peak_learning_rate': 2e-3}, run={'seed': 7}
    )
    paths = [
      self.write('a/run', experiment=first),
      self.write('b/run', LINES[:3], experiment=second),
    ]
    runs = history.read(paths)
    self.assertEqual([run.name for run in runs], ['a/run', 'b/run'])
    self.assertEqual(
      history.differences(runs),
      {'optimizer.peak_learning_rate': [1e-3, 2e-3], 'run.seed': [0, 7]},
    )
    self.assertEmpty([*history.in_common(runs)])
    text = history.format_text(runs)
    self.assertRegex(text, r'\n {17}a/run +b/run\n|^ +a/run +b/run\n')
    self.assertRegex(text, r'run.seed +0 +7')

  def test_runs_with_nothing_in_common(self):
    other = experiments.make_experiment(
      model={'num_classes': 7},
      train_data={'num_classes': 7},
      eval_data={'num_classes': 7},
      loss={'name': 'sigmoid'},
    )
    runs = history.read(
      [
        self.write('a', experiment=experiments.make_experiment()),
        self.write('b', [{'step': 5, 'train/other': 1.0}], experiment=other),
      ]
    )
    text = ' '.join(history.in_common(runs))
    self.assertIn('no metric in common', text)
    self.assertIn('other classes', text)
    self.assertIn('other losses', text)
    other_data = experiments.with_data(
      experiments.make_experiment(), num_examples=12
    )
    run = dataclasses.replace(runs[0], experiment=other_data)
    [sentence] = history.in_common([runs[0], run])
    self.assertIn('data of other names', sentence)

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
        self.assertIn(words, history.format_text([run]))

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
    self.assertEmpty(history.differences(whole))

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


class PaperTest(absltest.TestCase):
  def number(self, *gin_files, image_size=224, name='coatnet_0'):
    folder = self.create_tempdir().full_path
    experiment = experiments.make_experiment(
      model={'name': name, 'image_size': image_size},
      train_data={'image_size': image_size},
      eval_data={'image_size': image_size},
    )
    path = write(os.path.join(folder, 'run'), experiment=experiment)
    origin = ''.join(f'# From {file}\n' for file in gin_files)
    model_dir_lib.write_config(path, f'{origin}A = 1\n')
    [run] = history.read([path])
    return history.paper_number(run)

  def test_the_row_of_its_gin_file(self):
    # Table 4: CoAtNet-0 at 224, ImageNet-1K alone.
    for file in (
      'gin/imagenet1k_coatnet0.gin',
      '/x/gin/imagenet1k_coatnet0.gin',
    ):
      number = self.number('gin/mine.gin', file)
      self.assertEqual((number.metric, number.accuracy), ('top1', 81.6))
      self.assertIn('4', number.where)

  def test_no_row(self):
    self.assertIsNone(self.number())
    self.assertIsNone(self.number('gin/demo.gin'))
    file = 'gin/imagenet1k_coatnet0.gin'
    # It has been told otherwise.
    self.assertIsNone(self.number(file, image_size=256))
    self.assertIsNone(self.number(file, name='coatnet_test'))


if __name__ == '__main__':
  absltest.main()
