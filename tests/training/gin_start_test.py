"""Tests of what None in a gin file means where a run starts from weights."""

import os

import gin
from absl.testing import absltest

from official_coatnet.training import gin_config, model_dir as model_dir_lib
from tests.fixtures import experiments, repository


class TakenFromTheStartTest(absltest.TestCase):
  """A network that is None is that of the weights to start from."""

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    data = {
      'image_size': 64,
      'mean': (0.5, 0.5, 0.5),
      'interpolation': 'bicubic',
      'eval_crop_fraction': 0.9,
    }
    self.start = experiments.make_experiment(
      model={'image_size': 64, 'norm': 'layer_norm', 'head_bias': -1.0},
      train_data=data,
      eval_data=data,
    )
    model_dir_lib.write_experiment(self.folder, self.start)

  def load(self, *bindings, start='named', model_dir=None):
    names = [] if start is None else [f'INIT_CHECKPOINT = {start!r}']
    return gin_config.load(
      ['gin/custom_finetune.gin'],
      ['NUM_CLASSES = 3', *names, *bindings],
      root=repository.ROOT,
      find_start={'named': self.folder}.get,
      model_dir=model_dir,
    )

  def test_network_size_and_preparation(self):
    experiment = self.load('MODEL = None', 'IMAGE_SIZE = None')
    self.assertEqual(experiment.run.init_checkpoint, self.folder)
    self.assertEqual(experiment.model.name, 'coatnet_test')
    self.assertEqual(experiment.model.image_size, 64)
    self.assertEqual(experiment.model.norm, 'layer_norm')
    self.assertEqual(experiment.model.num_classes, 3)
    self.assertEqual(experiment.model.head_bias, 0.0)
    for data in (experiment.train_data, experiment.eval_data):
      self.assertTrue(data.center_crop)
      self.assertEqual(data.eval_crop_fraction, 0.9)
      self.assertEqual(data.interpolation, 'bicubic')
      self.assertEqual(data.mean, (0.5, 0.5, 0.5))
    self.assertIn("MODEL = 'coatnet_test'", gin.config_str())

  def test_command_lines_win(self):
    experiment = self.load('MODEL = None', 'DataConfig.center_crop = False')
    self.assertEqual(experiment.model.image_size, 224)
    self.assertFalse(experiment.train_data.center_crop)
    self.assertEqual(experiment.train_data.interpolation, 'bicubic')

  def test_what_is_bound_stays(self):
    experiment = self.load()
    self.assertEqual(experiment.model.name, 'coatnet_0')
    self.assertEqual(experiment.model.image_size, 224)
    self.assertEqual(experiment.eval_data.interpolation, 'bilinear')
    self.assertFalse(experiment.eval_data.center_crop)
    self.assertEqual(self.load('IMAGE_SIZE = None').model.name, 'coatnet_0')

  def test_a_run_that_is_there_knows_itself(self):
    experiment = self.load(
      'MODEL = None', 'IMAGE_SIZE = None', start=None, model_dir=self.folder
    )
    self.assertEqual(experiment.model.image_size, 64)
    self.assertIsNone(experiment.run.init_checkpoint)

  def test_nothing_to_take_it_from(self):
    for start, words in (
      (None, 'MODEL and IMAGE_SIZE is None.*INIT_CHECKPOINT is None'),
      ('other', 'MODEL and IMAGE_SIZE is None.*INIT_CHECKPOINT is None'),
    ):
      with self.assertRaisesRegex(gin_config.ConfigError, words):
        self.load('MODEL = None', 'IMAGE_SIZE = None', start=start)
    os.remove(os.path.join(self.folder, model_dir_lib.EXPERIMENT_FILE))
    with self.assertRaisesRegex(
      gin_config.ConfigError, 'no experiment.json beside'
    ):
      self.load('MODEL = None')


if __name__ == '__main__':
  absltest.main()
