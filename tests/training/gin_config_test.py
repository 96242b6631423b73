"""Tests of training.gin_config."""

import os

import gin
from absl.testing import absltest, parameterized

from official_coatnet.training import gin_config
from tests.fixtures import gin_files, repository


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
      gin_files.load(bindings=[binding])

  def test_file_that_does_not_exist(self):
    with self.assertRaisesRegex(
      gin_config.ConfigError, 'imagenet1k_coatnet.gin.*Did you mean'
    ):
      gin_files.load('gin/imagenet1k_coatnet.gin')

  def test_reason_without_gin_s_own_trailer(self):
    with self.assertRaises(gin_config.ConfigError) as caught:
      gin_files.load(bindings=["MODEL = 'resnet'"])
    self.assertNotIn('In call to configurable', str(caught.exception))

  def test_a_failed_load_leaves_the_next_one_alone(self):
    with self.assertRaises(gin_config.ConfigError):
      gin_files.load(bindings=['BACTH_SIZE = 3'])
    self.assertEqual(gin_files.load().model.name, 'coatnet_0')

  def test_any_working_directory(self):
    before = os.getcwd()
    os.chdir(self.create_tempdir().full_path)
    try:
      self.assertEqual(gin_files.load().model.name, 'coatnet_0')
    finally:
      os.chdir(before)

  def test_written_configuration_gives_the_same_experiment(self):
    experiment = gin_files.load(bindings=['BATCH_SIZE = 128', 'SEED = 3'])
    folder = self.create_tempdir().full_path
    gin_config.write_config(folder)
    gin_config.write_operative_config(folder)
    for name in ('config.gin', 'operative_config.gin'):
      again = gin_config.load(
        [os.path.join(folder, name)], root=repository.ROOT
      )
      self.assertEqual(again, experiment, name)
    with open(os.path.join(folder, 'operative_config.gin')) as f:
      # Python's own defaults are in it.
      self.assertIn('OptimizerConfig.beta_2 = 0.999', f.read())

  def setUp(self):
    super().setUp()
    self.addCleanup(gin.clear_config)


if __name__ == '__main__':
  absltest.main()
