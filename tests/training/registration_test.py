"""Tests of the registration modules of all floors."""

import gin
from absl.testing import absltest

from official_coatnet.data import config as data_config
from official_coatnet.modeling import config as model_config
from official_coatnet.training import registration


class RegistrationTest(absltest.TestCase):
  def test_names_make_plain_dataclasses(self):
    registration.register()
    registration.register()  # A second call changes nothing.
    self.addCleanup(gin.clear_config)
    gin.parse_config(
      "ModelConfig.name = 'coatnet_test'\n"
      'coatnet.DataConfig.num_classes = 3\n'
      'DataConfig.image_size = 32\n'
      'eval/DataConfig.batch_size = 2'
    )
    model = gin.get_configurable('ModelConfig')()
    self.assertIs(type(model), model_config.ModelConfig)
    self.assertEqual(model.name, 'coatnet_test')
    data = gin.get_configurable('eval/DataConfig')()
    self.assertIs(type(data), data_config.DataConfig)
    self.assertEqual((data.num_classes, data.batch_size), (3, 2))

  def test_classes_called_from_python_know_nothing_of_gin(self):
    registration.register()
    self.addCleanup(gin.clear_config)
    gin.parse_config('ModelConfig.head_bias = -10.0')
    self.assertEqual(model_config.ModelConfig('coatnet_0').head_bias, 0.0)

  def test_everything_configurable_is_registered(self):
    registration.register()
    for cls in registration.CONFIGURABLES:
      self.assertIsNotNone(gin.get_configurable(f'coatnet.{cls.__name__}'))


if __name__ == '__main__':
  absltest.main()
