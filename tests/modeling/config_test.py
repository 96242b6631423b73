"""Tests of modeling.config."""

import dataclasses

from absl.testing import absltest, parameterized

from official_coatnet.modeling import config, sizes


class ModelConfigTest(parameterized.TestCase):
  def test_defaults_are_the_network_of_the_paper(self):
    c = config.ModelConfig('coatnet_3')
    self.assertEqual(c.height_width, (224, 224))
    self.assertEqual(c.stage_kinds, ('C', 'C', 'T', 'T'))
    self.assertEqual(
      (c.downsample, c.shortcut_pool, c.relative_attention, c.norm),
      ('expand_conv', 'max', 'pre_softmax', 'batch_norm'),
    )
    self.assertEqual((c.expansion, c.se_ratio, c.num_classes), (4, 0.25, 1000))
    self.assertEqual((c.lookup, c.dtype), ('einsum', 'float32'))

  @parameterized.parameters(*sizes.SIZES)
  def test_what_is_not_given_comes_from_the_size_table(self, name):
    c, size = config.ModelConfig(name), sizes.get_size(name)
    self.assertEqual(
      (c.layout, c.blocks, c.widths, c.head_size),
      (size.layout, size.blocks, size.widths, size.head_size),
    )

  def test_what_is_given_wins(self):
    # V1 of Table 7, with the heads of Table 8.
    c = config.ModelConfig('coatnet_2', blocks=[2, 2, 2, 18, 2], head_size=64)
    self.assertEqual(c.blocks, (2, 2, 2, 18, 2))
    self.assertEqual(c.widths, (128, 128, 256, 512, 1024))
    self.assertEqual(c.head_size, 64)

  def test_lists_become_tuples_so_that_a_config_can_be_a_key(self):
    lists = config.ModelConfig(
      'coatnet_0', image_size=[224, 320], widths=[32, 32, 64, 64, 64]
    )
    tuples = config.ModelConfig(
      'coatnet_0', image_size=(224, 320), widths=(32, 32, 64, 64, 64)
    )
    self.assertEqual(lists.height_width, (224, 320))
    self.assertLen({lists, tuples}, 1)

  def test_replacing_the_image_size_keeps_the_rest(self):
    c = config.ModelConfig('coatnet_0', num_classes=5)
    larger = dataclasses.replace(c, image_size=384)
    self.assertEqual(larger.height_width, (384, 384))
    self.assertEqual(dataclasses.replace(larger, image_size=224), c)

  def test_norm_settings(self):
    c = config.ModelConfig(
      'coatnet_0',
      batch_norm_momentum=0.9,
      batch_norm_epsilon=1e-2,
      sync_batch_norm=True,
    )
    self.assertEqual(
      c.norm_settings,
      {
        'kind': 'batch_norm',
        'momentum': 0.9,
        'epsilon': 1e-2,
        'synchronized': True,
      },
    )
    c = config.ModelConfig('coatnet_0', norm='layer_norm')
    self.assertEqual(c.norm_settings, {'kind': 'layer_norm'})

  def test_unknown_model_is_named_with_the_nearest(self):
    with self.assertRaisesRegex(ValueError, "'coatnet3'.*mean 'coatnet_3'"):
      config.ModelConfig('coatnet3')

  @parameterized.parameters(
    31,
    0,
    -224,
    [(224, 16)],
    [(224,)],
    [(1, 2, 3)],
    224.0,
    [(224, 1e3)],
    '224',
    True,
    [(224, True)],
  )
  def test_image_size_is_checked(self, size):
    with self.assertRaisesRegex(
      ValueError, 'Config.image_size` is .*(IMAGE_SIZE|Write image_size = 224)'
    ) as caught:
      config.ModelConfig('coatnet_0', image_size=size)
    self.assertIn(f'is {size!r}', str(caught.exception))

  @parameterized.parameters(15, [(224, 15)])
  def test_image_size_of_vit_rel_is_at_least_a_patch(self, size):
    config.ModelConfig('figure1_vit_rel', image_size=16)
    with self.assertRaisesRegex(ValueError, '16 pixels.* reduces .* 16 times'):
      config.ModelConfig('figure1_vit_rel', image_size=size)

  @parameterized.parameters(32, 33, 225, [(32, 800)])
  def test_sizes_that_32_does_not_divide_are_accepted(self, size):
    c = config.ModelConfig('coatnet_0', image_size=size)
    self.assertEqual(c.image_size, size)

  @parameterized.parameters(
    (
      'layout',
      'C-T-C-T',
      "'C-C-C-C', 'C-C-C-T', 'C-C-T-T', 'C-T-T-T', 'ViT_REL'",
    ),
    ('layout', 'CCTT', "'C-C-C-C', 'C-C-C-T', 'C-C-T-T', 'C-T-T-T', 'ViT_REL'"),
    ('downsample', 'conv', "'expand_conv', 'depthwise'"),
    ('shortcut_pool', 'mean', "'max', 'avg'"),
    ('relative_attention', True, "'pre_softmax', 'post_softmax', 'none'"),
    ('lookup', 'scatter', "'einsum', 'gather'"),
    ('norm', 'group_norm', "'batch_norm', 'layer_norm'"),
    ('dtype', 'bfloat16', "'float32', 'mixed_bfloat16', 'float64'"),
  )
  def test_unknown_choices_are_listed(self, field, value, choices):
    with self.assertRaisesRegex(
      ValueError,
      f'`ModelConfig.{field}` is {value!r}; it must be one of {choices}',
    ):
      config.ModelConfig('coatnet_0', **{field: value})

  @parameterized.product(
    field=['blocks', 'widths'],
    value=[
      (2, 2, 2, 2),
      (2, 2, 0, 2, 2),
      (2, 2, 2.0, 2, 2),
      2,
      (2, True, 2, 2, 2),
    ],
  )
  def test_blocks_and_widths_are_checked(self, field, value):
    with self.assertRaisesRegex(
      ValueError, rf'`ModelConfig.{field}` is .*positive integers, one for each'
    ) as caught:
      config.ModelConfig('coatnet_0', **{field: value})
    self.assertNotIn('another layout', str(caught.exception))

  def test_vit_rel_has_a_stem_and_one_stage(self):
    c = config.ModelConfig(
      'coatnet_0', layout='ViT_REL', blocks=[1, 12], widths=[384, 384]
    )
    self.assertEqual((c.blocks, c.widths), ((1, 12), (384, 384)))
    self.assertEqual(c.stage_kinds, ('T',))
    with self.assertRaisesRegex(ValueError, 'does not divide the width 100'):
      dataclasses.replace(c, widths=(96, 100))
    # The stem has no heads.
    dataclasses.replace(c, widths=(100, 96))

  @parameterized.parameters(
    (dict(layout='ViT_REL'), r'two positive integers, .*S0 to S1\. This is '
     "the row of 'coatnet_0', which has another layout; give `blocks` and"),
    (dict(layout='ViT_REL', blocks=(1, 2)), r'widths` is \(64,.*two positive'),
    (dict(layout='ViT_REL', blocks=(1,), widths=(8, 8)), 'two positive'),
    (dict(layout='ViT_REL', blocks=(2, 3), widths=(32, 32)),
     r'`ModelConfig.blocks` is \(2, 3\); the stem .*first number must be 1'),
    (dict(name='figure1_vit_rel', layout='C-C-T-T'), 'five positive integers'),
  )  # fmt: skip
  def test_blocks_and_widths_are_those_of_the_layout(self, kwargs, message):
    with self.assertRaisesRegex(ValueError, message):
      config.ModelConfig(**{'name': 'coatnet_0', **kwargs})

  @parameterized.product(
    field=['num_classes', 'head_size', 'expansion'],
    value=[0, -1, 2.5, '8', True],
  )
  def test_counts_are_checked(self, field, value):
    with self.assertRaisesRegex(
      ValueError,
      f'Config.{field}` is {value!r}.*; .*integer of at least 1',
    ):
      config.ModelConfig('coatnet_0', **{field: value})

  @parameterized.product(
    field=['stochastic_depth', 'batch_norm_momentum'], value=[-0.1, 1.0, 2]
  )
  def test_rates_are_checked(self, field, value):
    with self.assertRaisesRegex(
      ValueError, rf'`ModelConfig.{field}` is {value}; .*\[0, 1\)'
    ):
      config.ModelConfig('coatnet_0', **{field: value})

  @parameterized.parameters(0, -1, 'widht', 1.5, True)
  def test_representation_size_is_checked(self, value):
    with self.assertRaisesRegex(
      ValueError,
      f"Config.representation_size` is {value!r}.*; .*'width'.*None",
    ):
      config.ModelConfig('coatnet_0', representation_size=value)

  @parameterized.parameters('width', None, 1, 512)
  def test_representation_sizes(self, value):
    c = config.ModelConfig('coatnet_0', representation_size=value)
    self.assertEqual(c.representation_size, value)

  def test_head_size_divides_the_widths_of_the_transformer_stages(self):
    widths = (16, 24, 40, 96, 192)
    c = config.ModelConfig('coatnet_0', widths=widths)
    self.assertEqual(c.head_size, 32)
    with self.assertRaisesRegex(
      ValueError,
      'head_size` is 32, .*the width 40 of a transformer',
    ):
      config.ModelConfig('coatnet_0', widths=widths, layout='C-T-T-T')
    # Without a transformer there are no heads.
    config.ModelConfig('coatnet_0', widths=(5,) * 5, layout='C-C-C-C')


if __name__ == '__main__':
  absltest.main()
