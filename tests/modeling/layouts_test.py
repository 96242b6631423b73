"""Tests of layouts: what each is, and the network that ViT_REL makes."""

import dataclasses
import types

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import blocks, config, layouts, network, stems
from tests import reference
from tests.fixtures import weights

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


class LayoutsTest(parameterized.TestCase, tf.test.TestCase):
  def test_the_five_of_the_paper(self):
    self.assertEqual(
      list(layouts.LAYOUTS),
      ['C-C-C-C', 'C-C-C-T', 'C-C-T-T', 'C-T-T-T', 'ViT_REL'],
    )
    self.assertIsInstance(layouts.LAYOUTS, types.MappingProxyType)

  @parameterized.parameters(*layouts.LAYOUTS)
  def test_levels_are_what_the_reductions_make(self, name):
    stages = layouts.LAYOUTS[name]
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
    sizes = {k: np.max(np.abs(g)) for k, g in gradients.items()}
    self.assertEqual(set(sizes), {v.name[:-2] for v in model.variables})
    if dtype == 'float64':
      largest = max(sizes.values())
      dead = {k for k, size in sizes.items() if size < 1e-12 * largest}
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
