"""Tests of the rows of families, and of what a configuration takes of them."""

from absl.testing import absltest, parameterized

from official_coatnet.modeling import config as config_lib, families, sizes


class FamiliesTest(parameterized.TestCase):
  def test_defaults_are_the_papers(self):
    config = config_lib.ModelConfig('coatnet_0')
    self.assertEqual(config.family, 'paper')
    self.assertEqual(
      (
        config.downsample,
        config.shortcut_pool,
        config.se_ratio,
        config.batch_norm_epsilon,
        config.representation_size,
      ),
      ('expand_conv', 'max', 0.25, 1e-3, 'width'),
    )

  def test_a_size_names_its_family(self):
    config = config_lib.ModelConfig('timm_coatnet_0_rw')
    self.assertEqual(config.family, 'timm_0_rw')
    self.assertEqual(config.downsample, 'pool')
    self.assertEqual(config.shortcut_pool, 'avg')
    self.assertEqual(config.batch_norm_epsilon, 1e-5)
    self.assertIsNone(config.representation_size)

  def test_what_is_given_counts(self):
    config = config_lib.ModelConfig(
      'timm_coatnet_0_rw', downsample='depthwise', representation_size=12
    )
    self.assertEqual(config.downsample, 'depthwise')
    self.assertEqual(config.representation_size, 12)
    self.assertIsNone(
      config_lib.ModelConfig(
        'coatnet_0', representation_size=None
      ).representation_size
    )

  def test_every_size_has_a_family(self):
    for name, size in sizes.SIZES.items():
      self.assertIn(size.family, families.FAMILIES, name)

  def test_every_activation_is_known(self):
    for name, row in families.FAMILIES.items():
      for activation in (
        row.conv_activation,
        row.ffn_activation,
        row.se_activation,
      ):
        self.assertIn(activation, families.ACTIVATIONS, name)

  @parameterized.parameters(
    (dict(family='timm_0_r'), "Did you mean 'timm_0_rw'"),
    (dict(downsample='pool'), "downsample` is 'pool', which the paper's"),
    (
      dict(family='kecam', implementation='tpu'),
      "implementation` is 'tpu', which has the blocks of the paper alone",
    ),
    (dict(family='kecam', norm='layer_norm'), "Config.norm` is 'layer_norm'"),
  )
  def test_errors(self, settings, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.ModelConfig('coatnet_0', **settings)


if __name__ == '__main__':
  absltest.main()
