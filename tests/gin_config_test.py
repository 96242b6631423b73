"""Tests of training.gin_config, and of every gin file in the repository."""

import glob
import os
import re

from absl.testing import absltest, parameterized

import gin
from official_coatnet.training import gin_config

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FILES = sorted(
  os.path.relpath(path, _ROOT)
  for path in glob.glob(os.path.join(_ROOT, 'gin', '*.gin'))
)
# Table 10: stochastic depth, RandAugment, mixup, loss, smoothing, epochs, peak
# and decay of the learning rate, warm-up, weight decay, by named file.
_IMAGENET1K = ((2, 15), 0.8, 'softmax', 0.1, 300, 1e-3, 'cosine', 10000, 0.05)
_IMAGENET21K = (None, None, 'sigmoid', 1e-4, 90, 1e-3, 'linear', None, 0.01)
_JFT = ((2, 5), None, 'sigmoid', 1e-4, 14, 5e-4, 'linear', 20000, 0.01)
_TABLE_10 = {
  'imagenet1k_coatnet0': (0.2, _IMAGENET1K),
  'imagenet1k_coatnet1': (0.3, _IMAGENET1K),
  'imagenet1k_coatnet2': (0.5, _IMAGENET1K),
  'imagenet1k_coatnet3': (0.7, _IMAGENET1K),
  'imagenet21k_coatnet2': (0.3, _IMAGENET21K),
  'imagenet21k_coatnet3': (0.5, _IMAGENET21K),
  'imagenet21k_coatnet4': (0.7, _IMAGENET21K),
  'jft_coatnet3': (0.0, (*_JFT[:5], 1e-3, *_JFT[6:])),
  'jft_coatnet4': (0.1, _JFT),
  'jft_coatnet5': (0.0, _JFT),
}


def _load(name='gin/imagenet1k_coatnet0.gin', bindings=()):
  return gin_config.load([name], list(bindings), root=_ROOT)


class GinFilesTest(parameterized.TestCase):
  @parameterized.parameters(*_FILES)
  def test_resolves_at_full_size(self, path):
    experiment = _load(path)
    self.assertIsNone(experiment.train_data.data_dir)

  @parameterized.parameters(*_FILES)
  def test_head_says_what_a_reader_needs(self, path):
    with open(os.path.join(_ROOT, path)) as f:
      head = f.read().split('include')[0]
    for field in (
      'Reproduces:',
      'Expected:',
      'Hardware:',
      'Command:',
      'Required:',
      'Often set:',
    ):
      self.assertIn(field, head)

  @parameterized.parameters(*_FILES)
  def test_two_levels_of_include_at_most(self, path):
    def depth(path):
      with open(os.path.join(_ROOT, path)) as f:
        included = re.findall(r"^include '(.*)'", f.read(), re.MULTILINE)
      return 1 + max(map(depth, included), default=-1)

    self.assertLessEqual(depth(path), 2)

  @parameterized.parameters(*_TABLE_10)
  def test_values_of_table_10(self, name):
    experiment = _load(f'gin/{name}.gin')
    run, optimizer = experiment.run, experiment.optimizer
    stochastic_depth, row = _TABLE_10[name]
    self.assertEqual(experiment.model.stochastic_depth, stochastic_depth)
    self.assertEqual(
      (
        experiment.train_data.randaugment,
        experiment.train_data.mixup_alpha,
        experiment.loss.name,
        experiment.loss.label_smoothing,
        run.epochs,
        optimizer.peak_learning_rate,
        optimizer.decay,
        optimizer.warmup_steps,
        optimizer.weight_decay,
      ),
      row,
    )
    self.assertEqual(experiment.train_data.batch_size, 4096)
    self.assertEqual(optimizer.min_learning_rate, 1e-5)
    self.assertEqual(optimizer.clip_norm, 1.0)
    self.assertIsNone(optimizer.ema_decay)
    self.assertTrue(experiment.train_data.center_crop)
    self.assertEqual(
      optimizer.warmup_epochs, 5 if 'imagenet21k' in name else None
    )
    self.assertEqual(
      experiment.model.downsample,
      'depthwise' if name == 'jft_coatnet3' else 'expand_conv',
    )

  @parameterized.parameters(*_FILES)
  def test_macros_shrink_any_run(self, path):
    experiment = _load(
      path,
      (
        "MODEL = 'coatnet_test'",
        'IMAGE_SIZE = 64',
        'NUM_CLASSES = 7',
        'BATCH_SIZE = 8',
        'EPOCHS = 2',
        'TRAIN_STEPS = 3',
        'WARMUP_STEPS = 1',
        "DATA_DIR = '/data'",
      ),
    )
    self.assertEqual(experiment.model.name, 'coatnet_test')
    self.assertEqual(experiment.model.blocks, (2, 1, 1, 1, 1))
    for data in (experiment.train_data, experiment.eval_data):
      self.assertEqual(
        (data.image_size, data.num_classes, data.batch_size, data.data_dir),
        (64, 7, 8, '/data'),
      )
    self.assertEqual(experiment.run.train_steps, 3)
    self.assertEqual(experiment.optimizer.warmup_steps, 1)

  def test_gin_is_data_only(self):
    for folder, _, files in os.walk(os.path.join(_ROOT, 'gin')):
      self.assertEmpty([f for f in files if f.endswith('.py')], folder)


class GinErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('BACTH_SIZE = 3', "'BACTH_SIZE' is set, but.*Did you mean 'BATCH_SIZE'"),
    ('ModelConfg.name = 1', "'ModelConfg'.*Did you mean 'ModelConfig'"),
    ('ModelConfig.nam = 1', "'nam'.*Did you mean 'name'"),
    ('train/DataConfig.mixup = 1', "'mixup'.*Did you mean 'mixup_alpha'"),
    ('ModelConfig.name = %MODLE', "%MODLE is read.*Did you mean 'MODEL'"),
    ("MODEL = 'coatnet-0'", "Unknown model.*Did you mean 'coatnet_0'"),
    ('IMAGE_SIZE = 16', '`image_size` is 16.*IMAGE_SIZE'),
    ('EPOCHS = None', 'EPOCHS or TRAIN_STEPS'),
    ('BATCH_SIZE = 0', 'batch_size'),
    ('RunConfig.epochs = 3 *', r"Line 1, 'RunConfig.epochs = 3 \*': Expected"),
  )
  def test_wrong_bindings(self, binding, message):
    with self.assertRaisesRegex(gin_config.ConfigError, f'(?s){message}'):
      _load(bindings=[binding])

  def test_file_that_does_not_exist(self):
    with self.assertRaisesRegex(
      gin_config.ConfigError, 'imagenet1k_coatnet.gin.*Did you mean'
    ):
      _load('gin/imagenet1k_coatnet.gin')

  def test_reason_without_gin_s_own_trailer(self):
    with self.assertRaises(gin_config.ConfigError) as caught:
      _load(bindings=["MODEL = 'resnet'"])
    self.assertNotIn('In call to configurable', str(caught.exception))

  def test_a_failed_load_leaves_the_next_one_alone(self):
    with self.assertRaises(gin_config.ConfigError):
      _load(bindings=['BACTH_SIZE = 3'])
    self.assertEqual(_load().model.name, 'coatnet_0')

  def test_any_working_directory(self):
    before = os.getcwd()
    os.chdir(self.create_tempdir().full_path)
    try:
      self.assertEqual(_load().model.name, 'coatnet_0')
    finally:
      os.chdir(before)

  def test_written_configuration_gives_the_same_experiment(self):
    experiment = _load(bindings=['BATCH_SIZE = 128', 'SEED = 3'])
    folder = self.create_tempdir().full_path
    gin_config.write_config(folder)
    gin_config.write_operative_config(folder)
    for name in ('config.gin', 'operative_config.gin'):
      again = gin_config.load([os.path.join(folder, name)], root=_ROOT)
      self.assertEqual(again, experiment, name)
    with open(os.path.join(folder, 'operative_config.gin')) as f:
      # Python's own defaults are in it.
      self.assertIn('OptimizerConfig.beta_2 = 0.999', f.read())

  def setUp(self):
    super().setUp()
    self.addCleanup(gin.clear_config)


if __name__ == '__main__':
  absltest.main()
