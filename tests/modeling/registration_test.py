"""Tests of modeling.registration."""

import dataclasses

import gin
from absl.testing import absltest

from official_coatnet.modeling import config, registration


@gin.configurable(module='modeling_registration_test')
def build(model):
  """Stands for a reader of the configuration."""
  return model


class RegistrationTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    registration.register()
    self.addCleanup(gin.clear_config)

  def test_a_file_makes_a_config(self):
    gin.parse_config("""
      MODEL = 'coatnet_2'
      build.model = @ModelConfig()
      coatnet.ModelConfig.name = %MODEL
      ModelConfig.image_size = (224, 320)
      ModelConfig.head_size = 64
    """)
    model = build()
    self.assertEqual(
      model,
      config.ModelConfig('coatnet_2', image_size=(224, 320), head_size=64),
    )

  def test_every_field_can_be_bound(self):
    default = config.ModelConfig('coatnet_0')
    for field in dataclasses.fields(config.ModelConfig):
      value = getattr(default, field.name)
      gin.bind_parameter(f'ModelConfig.{field.name}', value)
      self.assertEqual(gin.query_parameter(f'ModelConfig.{field.name}'), value)
    gin.parse_config('build.model = @ModelConfig()')
    self.assertEqual(build(), default)

  def test_a_misspelt_field_is_refused_when_it_is_read(self):
    with self.assertRaisesRegex(ValueError, 'image_sise'):
      gin.parse_config('ModelConfig.image_sise = 224')

  def test_errors_of_the_config_come_through(self):
    gin.parse_config("""
      build.model = @ModelConfig()
      ModelConfig.name = 'coatnet_9'
    """)
    with self.assertRaisesRegex(ValueError, "Unknown model 'coatnet_9'"):
      build()

  def test_the_class_itself_knows_nothing_of_gin(self):
    gin.parse_config('ModelConfig.num_classes = 7')
    self.assertEqual(config.ModelConfig('coatnet_0').num_classes, 1000)
    self.assertEqual(
      gin.get_configurable('ModelConfig')('coatnet_0').num_classes, 7
    )

  def test_registering_twice_changes_nothing(self):
    before = gin.get_configurable('coatnet.ModelConfig')
    registration.register()
    self.assertIs(gin.get_configurable('coatnet.ModelConfig'), before)


if __name__ == '__main__':
  absltest.main()
