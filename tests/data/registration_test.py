"""Tests of official_coatnet.data.registration."""

import dataclasses

import gin
from absl.testing import absltest

from official_coatnet.data import config, registration


@gin.configurable(module='data_registration_test')
def take(train=None, evaluation=None):
  return train, evaluation


class RegistrationTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    registration.register()
    registration.register()  # A second call changes nothing.
    self.addCleanup(gin.clear_config)

  def test_scopes(self):
    gin.parse_config("""
      take.train = @train/coatnet.DataConfig()
      take.evaluation = @evaluation/DataConfig()
      DataConfig.num_classes = 10
      DataConfig.image_size = (32, 48)
      DataConfig.batch_size = 4
      train/DataConfig.randaugment = (2, 15)
      evaluation/DataConfig.split = 'validation'
    """)
    train, evaluation = take()
    self.assertIsInstance(train, config.DataConfig)
    self.assertEqual(train.randaugment, (2, 15))
    self.assertEqual(train.height_width, (32, 48))
    self.assertIsNone(evaluation.randaugment)
    self.assertEqual(evaluation.split, 'validation')
    changed = dataclasses.replace(train, batch_size=8)
    self.assertEqual((changed.batch_size, changed.randaugment), (8, (2, 15)))

  def test_unknown_field(self):
    with self.assertRaisesRegex(ValueError, 'batchsize'):
      gin.parse_config('DataConfig.batchsize = 4')

  def test_python_is_left_alone(self):
    gin.parse_config('DataConfig.num_classes = 10')
    with self.assertRaises(TypeError):
      config.DataConfig(image_size=8, batch_size=2)


if __name__ == '__main__':
  absltest.main()
