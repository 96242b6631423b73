"""Tests of sizes: layouts, the table, and the network that ViT_REL makes."""

import dataclasses
import types

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.analysis.paper import tables
from official_coatnet.modeling import (
  blocks,
  config,
  families,
  network,
  sizes,
  stems,
)
from tests import reference
from tests.fixtures import weights

PAPER = {size.model: size for size in tables.SIZES}
OWN = {'coatnet_demo', 'coatnet_test'}
# What Tables 7 and 8 change of a printed size.
CHANGED = {
  'coatnet_2_v1': ('coatnet_2', {'blocks': (2, 2, 2, 18, 2)}),
  'coatnet_2_v2': ('coatnet_2', {'blocks': (2, 2, 8, 12, 2)}),
  'coatnet_3_v1': ('coatnet_3', {'blocks': (2, 2, 2, 18, 2)}),
  'coatnet_2_head64': ('coatnet_2', {'head_size': 64}),
}
# Differences from a small ViT_REL: image sizes that 16 does and does not
# divide, and every option that a transformer block has.
VARIANTS = {
  'plain': {},
  'odd_image': dict(image_size=(50, 71)),
  'wider_blocks': dict(widths=(24, 32)),
  'after_softmax': dict(relative_attention='post_softmax', image_size=(64, 40)),
  'no_bias': dict(relative_attention='none', head_size=8),
  'plain_head': dict(representation_size=None, lookup='gather'),
}


def make(**kwargs):
  small = dict(blocks=(1, 2), widths=(32, 32), head_size=16, num_classes=7)
  return config.ModelConfig(
    'figure1_vit_rel', **{'image_size': (48, 64), **small, **kwargs}
  )


def images(c, *, batch=3):
  rng = np.random.default_rng(1)
  values = rng.normal(size=(batch, *c.height_width, 3))
  values += rng.normal(size=(batch, 1, 1, 3))
  return values.astype(np.float32)  # What the models take, whatever the dtype.


class SizesTest(parameterized.TestCase):
  @parameterized.parameters(*PAPER)
  def test_is_the_row_of_the_paper(self, name):
    size, printed = sizes.get_size(name), PAPER[name]
    for field in ('blocks', 'widths', 'head_size'):
      self.assertEqual(getattr(size, field), getattr(printed, field))
    self.assertEqual(size.origin, f'Table {printed.table}')
    self.assertEqual(size.layout, 'C-C-T-T')

  def test_only_our_own_sizes_are_not_of_the_paper(self):
    self.assertEqual(
      {
        name
        for name, size in sizes.SIZES.items()
        # Those of others have another family: see families_test.
        if name not in PAPER and size.family == families.PAPER
      },
      OWN | set(CHANGED) | set(tables.FIGURE_1.values()) - PAPER.keys(),
    )

  @parameterized.parameters(*((n, *c) for n, c in CHANGED.items()))
  def test_an_ablation_changes_one_size(self, name, base, changes):
    size = sizes.get_size(name)
    self.assertEqual(
      size,
      dataclasses.replace(sizes.get_size(base), origin=size.origin, **changes),
    )
    self.assertIn(size.origin, ('Table 7', 'Table 8'))

  @parameterized.parameters(*sizes.SIZES)
  def test_heads_fit_the_transformer_stages(self, name):
    size = sizes.get_size(name)
    stages = sizes.LAYOUTS[size.layout]
    self.assertLen(size.blocks, len(stages))
    self.assertLen(size.widths, len(stages))
    self.assertEqual(list(size.widths), sorted(size.widths))
    for stage, width in zip(stages, size.widths):
      # In the paper's, any stage but the stem may become a transformer's.
      if stage.kind == 'T' or (name not in OWN and stage.kind == 'C'):
        self.assertEqual(width % size.head_size, 0)

  def test_the_table_cannot_be_changed(self):
    self.assertIsInstance(sizes.SIZES, types.MappingProxyType)
    with self.assertRaises(TypeError):
      sizes.SIZES['coatnet_9'] = sizes.get_size('coatnet_0')
    with self.assertRaises(AttributeError):
      sizes.get_size('coatnet_0').head_size = 64

  @parameterized.parameters(
    ('coatnet0', 'coatnet_0'),
    ('CoAtNet_3', 'coatnet_3'),
    ('coatnet-5', 'coatnet_5'),
    ('coatnet_tst', 'coatnet_test'),
    ('cotnet_demo', 'coatnet_demo'),
  )
  def test_the_nearest_name_is_proposed(self, name, nearest):
    with self.assertRaisesRegex(
      ValueError,
      f"Unknown model '{name}'.*Did you mean '{nearest}'.*Known models: "
      'coatnet_0, coatnet_1, .*coatnet_test',
    ):
      sizes.get_size(name)

  @parameterized.parameters('resnet', '', None, 3)
  def test_a_name_like_no_other_gets_the_list_alone(self, name):
    with self.assertRaises(ValueError) as caught:
      sizes.get_size(name)
    message = str(caught.exception)
    self.assertStartsWith(message, f'Unknown model {name!r}')
    self.assertNotIn('Did you mean', message)
    self.assertIn('Known models: coatnet_0', message)


class LayoutsTest(parameterized.TestCase, tf.test.TestCase):
  def test_the_five_of_the_paper(self):
    self.assertEqual(
      list(sizes.LAYOUTS),
      ['C-C-C-C', 'C-C-C-T', 'C-C-T-T', 'C-T-T-T', 'ViT_REL'],
    )
    self.assertIsInstance(sizes.LAYOUTS, types.MappingProxyType)

  @parameterized.parameters(*sizes.LAYOUTS)
  def test_levels_are_what_the_reductions_make(self, name):
    stages = sizes.LAYOUTS[name]
    total = 1
    for stage in stages:
      total *= stage.reduction
      self.assertEqual(total, 2**stage.level)
    self.assertEqual(total, 16 if name == 'ViT_REL' else 32)
    kinds = [stage.kind for stage in stages]
    if name == 'ViT_REL':
      self.assertEqual(kinds, ['patch_stem', 'T'])
    else:
      self.assertEqual(kinds, ['conv_stem', *name.split('-')])
      # Convolutions come before transformers (Sec. 2.2).
      self.assertEqual(kinds[1:], sorted(kinds[1:]))


class ViTRelTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.product(variant=list(VARIANTS), dtype=['float32', 'float64'])
  def test_is_the_reference(self, variant, dtype):
    c = make(dtype=dtype, **VARIANTS[variant])
    model = network.classifier(c)
    values = weights.randomize(model)
    x = images(c)
    ref = reference.Reference(
      {k: v.astype(np.float64) for k, v in values.items()}
    )
    expected = ref.classifier(
      x.astype(np.float64),
      blocks=c.blocks,
      layout='ViT_REL',
      relative_attention=c.relative_attention,
    )
    self.assertGreater(np.min(np.std(expected, axis=0)), 0.01)
    error = np.max(np.abs(model(x) - expected))
    relative = 1e-5 * np.max(np.abs(expected))
    self.assertLessEqual(error, 1e-9 if dtype == 'float64' else relative)
    # There is no BatchNorm: training is the same, but for what is dropped.
    self.assertAllEqual(model(x, training=True), model(x))

  def test_backbone_has_one_level(self):
    c = make(image_size=(50, 71), dtype='float64')
    model = network.backbone(c)
    ref = reference.Reference(weights.randomize(model))
    x = images(c)
    endpoints = model(x)
    self.assertEqual(list(endpoints), ['4'])
    self.assertEqual(endpoints['4'].shape, [3, 4, 5, 32])
    expected = ref.stages(
      x.astype(np.float64), blocks=c.blocks, layout='ViT_REL'
    )[-1]
    self.assertAllClose(endpoints['4'], expected, rtol=0, atol=1e-9)

  def test_options_reach_the_layers(self):
    c = make(blocks=(1, 3), stochastic_depth=0.6, kernel_stddev=0.1)
    model = network.classifier(c)
    stem = model.get_layer('s0')
    self.assertIsInstance(stem, stems.PatchStem)
    self.assertEqual((stem.patch_size, stem.kernel_stddev), (16, 0.1))
    found = [x for x in model.layers if isinstance(x, blocks.TransformerBlock)]
    self.assertEqual(
      [b.name for b in found], ['s1_block0', 's1_block1', 's1_block2']
    )
    for i, block in enumerate(found):
      self.assertEqual((block.stride, block.salt), (1, i))
      self.assertAlmostEqual(block.drop_rate, 0.6 * i / 3)
    self.assertEqual(
      model.get_layer('s1_block0').attention.relative_bias.shape,
      # 3 x 4 patches.
      [2, 5, 7],
    )
    # Nothing is pooled, and nothing projected where the width stays.
    names = ' '.join(weights.by_name(model))
    self.assertNotIn('shortcut', names)
    wider = network.classifier(make(widths=(16, 32)))
    projections = [k for k in weights.by_name(wider) if 'shortcut' in k]
    self.assertEqual(
      projections,
      [f's1_block0/shortcut_projection/{v}' for v in ('kernel', 'bias')],
    )

  @parameterized.parameters('float64', 'mixed_bfloat16')
  def test_every_variable_learns_but_the_key_biases(self, dtype):
    c = make(dtype=dtype, blocks=(1, 2))
    model = network.classifier(c)
    weights.randomize(model)
    upstream = np.random.default_rng(2).normal(size=[3, 7])
    with tf.GradientTape() as tape:
      logits = model(images(c), training=True)
      loss = tf.reduce_sum(logits * tf.cast(upstream, logits.dtype))
    variables = {k: v for k, v in weights.by_name(model).items()}
    gradients = tape.gradient(loss, variables)
    largest_of = {k: np.max(np.abs(g)) for k, g in gradients.items()}
    self.assertEqual(set(largest_of), {v.name[:-2] for v in model.variables})
    if dtype == 'float64':
      largest = max(largest_of.values())
      dead = {k for k, size in largest_of.items() if size < 1e-12 * largest}
      self.assertEqual(
        dead, {f's1_block{i}/attention/key/bias' for i in range(2)}
      )

  def test_round_trip_of_config_and_weights(self):
    c = make()
    model = network.classifier(c)
    weights.randomize(model)
    copy = tf.keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    self.assertAllEqual(copy(images(c)), model(images(c)))
    # A run writes its configuration with all fields and reads it again.
    again = config.ModelConfig(**dataclasses.asdict(c))
    self.assertEqual(again, c)


if __name__ == '__main__':
  tf.test.main()
