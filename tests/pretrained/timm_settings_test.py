"""Tests of what timm is told, and of what it cannot be told.

tests/golden/exported_test.py holds networks that were built by these settings
against timm's own results.
"""

import dataclasses

from absl.testing import absltest, parameterized

from official_coatnet.modeling import config as config_lib, sizes
from official_coatnet.pretrained import timm_settings


class TimmSettingsTest(parameterized.TestCase):
  def test_network_of_the_paper(self):
    args = timm_settings.model_args(config_lib.ModelConfig('coatnet_5'))
    self.assertEqual(args['embed_dim'], [256, 512, 1280, 2048])
    self.assertEqual(args['depths'], [2, 12, 28, 2])
    self.assertEqual(args['stem_width'], [192, 192])
    self.assertEqual(args['transformer_dim_head'], 64)
    self.assertEqual(args['head_hidden_size'], 2048)
    self.assertEqual(args['conv_stride_mode'], '1x1')
    self.assertEqual(args['conv_padding'], 'same')
    self.assertEqual(args['conv_norm_eps'], 1e-3)
    self.assertEqual(args['transformer_norm_eps'], 1e-5)
    self.assertEqual(args['transformer_act_layer'], 'gelu_tanh')

  def test_network_of_timm_has_the_biases_and_tables_that_we_train(self):
    config = config_lib.ModelConfig('timm_coatnet_rmlp_2_rw')
    args = timm_settings.model_args(config)
    self.assertEqual(args['transformer_rel_pos_type'], 'bias')
    self.assertTrue(args['conv_output_bias'])
    self.assertTrue(args['transformer_shortcut_bias'])
    self.assertTrue(args['stem_bias'])
    self.assertEqual(args['stem_width'], [64, 128])
    self.assertIsNone(args['head_hidden_size'])
    self.assertEqual(args['transformer_init_values'], 1e-6)

  @parameterized.parameters(
    ('coatnet_3', 'coatnet_3_224'),
    ('timm_coatnet_3', 'coatnet_3_224'),
    ('timm_coatnet_rmlp_1_rw2', 'coatnet_rmlp_1_rw2_224'),
    ('coatnet_2_v1', 'coatnet_0_224'),
    ('coatnet_demo', 'coatnet_0_224'),
  )
  def test_architecture_is_one_that_timm_has(self, name, expected):
    config = config_lib.ModelConfig(name)
    self.assertEqual(timm_settings.architecture(config), expected)

  @parameterized.named_parameters(
    ('layout', 'figure1_vit_rel', {}, "`layout` is 'ViT_REL'"),
    ('norm', 'coatnet_0', {'norm': 'layer_norm'}, "`norm` is 'layer_norm'"),
    (
      'bias after the softmax',
      'coatnet_0',
      {'relative_attention': 'post_softmax'},
      "`relative_attention` is 'post_softmax'",
    ),
    (
      'no bias',
      'coatnet_0',
      {'relative_attention': 'none'},
      "`relative_attention` is 'none'",
    ),
    (
      'head without tanh',
      'coatnet_0',
      {'representation_size': None},
      '`representation_size` is None',
    ),
    (
      'head with tanh',
      'timm_coatnet_0_rw',
      {'representation_size': 64},
      '`representation_size` is 64',
    ),
    ('pool', 'coatnet_0', {'shortcut_pool': 'max3'}, "is 'max3'"),
    ('odd size', 'coatnet_0', {'image_size': (224, 200)}, 'multiples of 32'),
    ('stem', 'coatnet_0', {'blocks': (3, 2, 3, 5, 2)}, 'two convolutions'),
    (
      'bottleneck',
      'coatnet_0',
      {'widths': (64, 97, 192, 384, 768)},
      '4 times 97',
    ),
    ('kecam', 'kecam_coatnet_0', {}, "`family` is 'kecam', whose head has no"),
  )
  def test_what_timm_has_no_setting_for_is_named(self, name, changes, message):
    config = config_lib.ModelConfig(name, **changes)
    with self.assertRaisesRegex(ValueError, message) as caught:
      timm_settings.model_args(config)
    self.assertStartsWith(
      str(caught.exception), f'timm cannot build the network {name!r} '
    )

  def test_all_problems_are_named_at_once(self):
    config = config_lib.ModelConfig(
      'coatnet_0', image_size=100, relative_attention='none', norm='layer_norm'
    )
    with self.assertRaises(ValueError) as caught:
      timm_settings.model_args(config)
    for field in ('image_size', 'relative_attention', 'norm'):
      self.assertIn(f'`{field}` is', str(caught.exception))

  def test_every_size_of_timm_and_of_the_paper_can_be_built(self):
    refused = []
    for name, size in sizes.SIZES.items():
      try:
        timm_settings.model_args(config_lib.ModelConfig(name))
      except ValueError:
        refused.append((name, size.layout, size.family))
    self.assertEqual(
      refused,
      [
        ('figure1_vit_rel', 'ViT_REL', 'paper'),
        ('kecam_coatnet_0', 'C-C-T-T', 'kecam'),
      ],
    )

  def test_settings_are_of_the_weights_and_not_of_the_run(self):
    config = config_lib.ModelConfig('coatnet_0')
    other = dataclasses.replace(
      config, stochastic_depth=0.2, dtype='mixed_bfloat16', implementation='tpu'
    )
    self.assertEqual(
      timm_settings.model_args(config), timm_settings.model_args(other)
    )


if __name__ == '__main__':
  absltest.main()
