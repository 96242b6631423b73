import dataclasses
import os

from absl.testing import absltest

from official_coatnet.analysis.runs import comparison, history
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import experiments, metrics_lines
from tests.fixtures.metrics_lines import LINES, write


class ComparisonTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def write(self, name, *args, **kwargs):
    return write(os.path.join(self.folder, name), *args, **kwargs)

  def test_where_the_time_goes(self):
    seconds = {'total': 7200.0, 'step': 5400.0, 'input_wait': 1800.0, 'lost': 0}
    others = {'cores': 8, 'tpu_v3': 1.0, 'time': 1.7e9}
    of_time = {f'goodput/{k}': v for k, v in {**seconds, **others}.items()}
    path = self.write('run', [metrics_lines.train(10, 1.0, **of_time)])
    [run] = history.read([path])
    self.assertEqual(run.points('train/goodput'), [(10, 1.0, 0.75)])
    self.assertEqual(
      comparison.overview([run])['wall time'],
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
      comparison.differences(runs),
      {'optimizer.peak_learning_rate': [1e-3, 2e-3], 'run.seed': [0, 7]},
    )
    self.assertEmpty([*comparison.in_common(runs)])
    text = comparison.format_text(runs)
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
    text = ' '.join(comparison.in_common(runs))
    self.assertIn('no metric in common', text)
    self.assertIn('other classes', text)
    self.assertIn('other losses', text)
    other_data = experiments.with_data(
      experiments.make_experiment(), num_examples=12
    )
    run = dataclasses.replace(runs[0], experiment=other_data)
    [sentence] = comparison.in_common([runs[0], run])
    self.assertIn('data of other names', sentence)


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
    return comparison.paper_number(run)

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
