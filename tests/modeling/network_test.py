"""Tests of network."""

import ast
import os
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import (
  blocks,
  config,
  implementations,
  network,
  stems,
)
from official_coatnet.modeling.implementations import reference
from tests.fixtures import weights


def make_config(**kwargs):
  kwargs = {'image_size': (64, 96), 'num_classes': 7, **kwargs}
  return config.ModelConfig('coatnet_test', **kwargs)


def images(c, *, batch=3):
  return weights.images((batch, *c.height_width, 3))


class StructureTest(parameterized.TestCase, tf.test.TestCase):
  def test_stochastic_depth_rises_by_the_block(self):
    c = config.ModelConfig('coatnet_0', stochastic_depth=0.6)
    rates = network.block_drop_rates(c)
    self.assertEqual([len(r) for r in rates], [2, 3, 5, 2])
    self.assertAllClose(
      sum(rates, []), [0.6 * i / 12 for i in range(12)], rtol=1e-12
    )
    # The rate itself is that of a block after the last one.
    self.assertEqual(rates[0][0], 0.0)

  def test_blocks_drop_at_their_rates_and_draw_apart(self):
    c = make_config(blocks=(2, 1, 2, 1, 2), stochastic_depth=0.6)
    model = network.classifier(c)
    found = [b for b in model.layers if isinstance(b, blocks._Block)]
    self.assertEqual(
      [b.name for b in found],
      [
        's1_block0',
        's2_block0',
        's2_block1',
        's3_block0',
        's4_block0',
        's4_block1',
      ],
    )
    drops = []
    for i, block in enumerate(found):
      if isinstance(block, blocks.MBConvBlock):
        own = [block.drop]
      else:
        own = [block.attention_drop, block.ffn_drop]
      for drop in own:
        self.assertAlmostEqual(drop.rate, 0.6 * i / 6)
      drops += own
    self.assertLen(drops, 3 + 2 * 3)
    self.assertLen({drop.salt for drop in drops}, len(drops))

  @parameterized.parameters('C-C-C-C', 'C-C-C-T', 'C-C-T-T', 'C-T-T-T')
  def test_layout_strides_and_options_reach_the_blocks(self, layout):
    c = make_config(
      layout=layout,
      blocks=(2, 2, 2, 2, 2),
      downsample='depthwise',
      shortcut_pool='avg',
      relative_attention='post_softmax',
      lookup='gather',
      head_size=8,
      expansion=2,
      se_ratio=0.5,
      norm='layer_norm',
      kernel_stddev=0.1,
    )
    with tf.Graph().as_default():
      model = network.classifier(c)
    for stage, kind in enumerate(layout.split('-'), start=1):
      for i in range(2):
        block = model.get_layer(f's{stage}_block{i}')
        got = block.get_config()
        expected = dict(
          width=c.widths[stage],
          stride=2 if i == 0 else 1,
          expansion=2,
          shortcut_pool='avg',
          kernel_stddev=0.1,
        )
        if kind == 'C':
          self.assertIsInstance(block, blocks.MBConvBlock)
          expected |= dict(
            downsample='depthwise', se_ratio=0.5, norm={'kind': 'layer_norm'}
          )
        else:
          self.assertIsInstance(block, blocks.TransformerBlock)
          expected |= dict(
            head_size=8, relative_attention='post_softmax', lookup='gather'
          )
        self.assertEqual({k: got[k] for k in expected}, expected)

  @parameterized.parameters(
    ((224, 320), [(112, 160), (56, 80), (28, 40), (14, 20), (7, 10)]),
    ((240, 320), [(120, 160), (60, 80), (30, 40), (15, 20), (8, 10)]),
    ((33, 47), [(17, 24), (9, 12), (5, 6), (3, 3), (2, 2)]),
    ((100, 65), [(50, 33), (25, 17), (13, 9), (7, 5), (4, 3)]),
    (32, [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]),
  )
  def test_endpoints(self, image_size, grids):
    c = make_config(image_size=image_size)
    model = network.backbone(c)
    expected = {
      str(level): (2, *grid, width)
      for level, (grid, width) in enumerate(zip(grids, c.widths), start=1)
    }
    endpoints = model(images(c, batch=2))
    self.assertEqual({k: v.shape for k, v in endpoints.items()}, expected)
    self.assertEqual(
      {k: (2, *v[1:]) for k, v in model.output_shape.items()}, expected
    )
    for value in endpoints.values():
      self.assertAllInRange(value, -1e4, 1e4)

  def test_a_batch_is_a_batch_of_single_images(self):
    c = make_config(image_size=(33, 47))
    model = network.classifier(c)
    weights.randomize(model)
    x = images(c)
    alone = tf.concat([model(x[i : i + 1]) for i in range(3)], axis=0)
    self.assertAllClose(model(x), alone, rtol=1e-4, atol=1e-5)

  @parameterized.parameters(('width', 32), (48, 48), (None, None))
  def test_representation_size(self, size, units):
    model = network.classifier(make_config(representation_size=size))
    if units is None:
      self.assertNotIn('pre_logits', [layer.name for layer in model.layers])
    else:
      self.assertEqual(model.get_layer('pre_logits').units, units)

  def test_head_bias_is_that_of_the_logits_at_the_start(self):
    model = network.classifier(make_config(head_bias=-10.0))
    self.assertAllEqual(model.get_layer('logits').bias, [-10.0] * 7)
    self.assertAllClose(
      model(images(make_config())), tf.fill([3, 7], -10.0), atol=1.0
    )

  def test_start_is_normal_and_no_two_kernels_are_alike(self):
    model = network.classifier(make_config(kernel_stddev=0.05))
    kernels = [
      v.numpy().ravel()
      for k, v in weights.by_name(model).items()
      if k.endswith(('kernel', 'relative_bias'))
    ]
    for kernel in kernels:
      error = 5 * 0.05 / np.sqrt(2 * kernel.size)
      self.assertAllClose(kernel.std(), 0.05, rtol=0, atol=error + 2e-3)
    self.assertLen({kernel[0] for kernel in kernels}, len(kernels))

  def test_the_seed_decides_the_start(self):
    starts = []
    for seed in (1, 1, 2):
      tf.keras.utils.set_random_seed(seed)
      starts.append(network.classifier(make_config()).get_weights())
    for a, b in zip(starts[0], starts[1]):
      self.assertAllEqual(a, b)
    self.assertTrue(any(np.any(a != c) for a, c in zip(starts[0], starts[2])))


class ImplementationTest(parameterized.TestCase, tf.test.TestCase):
  """No TPUStrategy can be made without a TPU: one is pretended here."""

  @parameterized.parameters(
    (None, tf.distribute.TPUStrategy, 'tpu'),
    (None, tf.distribute.MirroredStrategy, 'reference'),
    ('reference', tf.distribute.TPUStrategy, 'reference'),
    ('tpu', tf.distribute.MirroredStrategy, 'tpu'),
  )
  def test_default_is_of_the_strategy(self, chosen, strategy, expected):
    c = make_config(implementation=chosen)
    pretended = mock.create_autospec(strategy, instance=True)
    with mock.patch.object(
      tf.distribute, 'get_strategy', return_value=pretended
    ):
      self.assertEqual(network.choose_implementation(c).name, expected)

  def forms_of(self, model):
    """Returns the implementations that the layers of a network have."""
    return {
      layer.implementation
      for layer in model.submodules
      if hasattr(layer, 'implementation')
    }

  def test_default_reaches_all_layers(self):
    c = make_config()
    for form in implementations.IMPLEMENTATIONS.values():
      with mock.patch.object(
        network, 'choose_implementation', return_value=form
      ):
        model = network.classifier(c)
      self.assertEqual(self.forms_of(model), {form})
      for layer in model.layers:
        if isinstance(layer, (blocks._Block, stems.Stem)):
          self.assertEqual(layer.get_config()['implementation'], form.name)

  def test_a_fifth_is_a_class_and_an_entry(self):
    class Fifth(reference.Reference):
      name = 'fifth'
      conv_class = type('FifthConv', (tf.keras.layers.Conv2D,), {})

    fifth = Fifth()
    with mock.patch.dict(implementations._ENTRIES, fifth=fifth):
      c = make_config(implementation='fifth')
      model = network.classifier(c)
      copy = tf.keras.Model.from_config(model.get_config())
    for each in (model, copy):
      self.assertEqual(self.forms_of(each), {fifth})
      convolutions = [
        layer
        for layer in each.submodules
        if isinstance(layer, Fifth.conv_class)
      ]
      # Of the stem, of two MBConv blocks, and of the shortcut of S3.
      self.assertLen(convolutions, 2 + 2 * 2 + 1)
    plain = network.classifier(make_config())
    weights.randomize(plain)
    model.set_weights(plain.get_weights())
    self.assertAllEqual(model(images(c)), plain(images(c)))

  def test_an_unknown_name_is_refused_where_layers_are_made_from_it(self):
    for make in (blocks.MBConvBlock, blocks.TransformerBlock, stems.Stem):
      with self.assertRaisesRegex(
        ValueError,
        r"`implementation` is 'gpu'; it must be one of \('reference', 'cpu', "
        r"'onednn', 'tpu'\)",
      ):
        make(16, implementation='gpu')

  def test_names_are_told_apart_nowhere_else(self):
    # But for the default of the strategy, in network.py.
    folder = os.path.dirname(network.__file__)
    for name in sorted(os.listdir(folder)):
      if not name.endswith('.py') or name == 'network.py':
        continue
      with open(os.path.join(folder, name)) as f:
        compared = [
          constant.value
          for node in ast.walk(ast.parse(f.read()))
          if isinstance(node, (ast.Compare, ast.Dict, ast.Match))
          for constant in ast.walk(node)
          if isinstance(constant, ast.Constant)
        ]
      self.assertNoCommonElements(
        compared, implementations.IMPLEMENTATIONS, name
      )


class SavingTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    {},
    dict(layout='C-T-T-T', relative_attention='post_softmax', lookup='gather'),
    dict(norm='layer_norm', downsample='depthwise', shortcut_pool='avg'),
    dict(dtype='mixed_bfloat16'),
  )
  def test_config_round_trip(self, **kwargs):
    c = make_config(stochastic_depth=0.3, **kwargs)
    model = network.classifier(c, draw_keys=True)
    weights.randomize(model)
    copy = tf.keras.Model.from_config(model.get_config())
    self.assertEqual(copy.get_config(), model.get_config())
    copy.set_weights(model.get_weights())
    self.assertEqual(list(weights.by_name(copy)), list(weights.by_name(model)))
    x = {'image': images(c), 'draw_keys': tf.range(3)}
    for training in (False, True):
      self.assertAllEqual(
        copy(x, training=training), model(x, training=training)
      )

  @parameterized.parameters('model.keras', 'model.h5', 'saved_model')
  def test_save_and_load(self, file_name):
    c = make_config()
    model = network.classifier(c)
    weights.randomize(model)
    path = os.path.join(self.create_tempdir().full_path, file_name)
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    self.assertAllClose(loaded(images(c)), model(images(c)), rtol=0, atol=1e-6)

  def test_weights_travel_by_name_to_another_head(self):
    model = network.classifier(make_config())
    weights.randomize(model)
    path = os.path.join(self.create_tempdir().full_path, 'weights.h5')
    model.save_weights(path)
    backbone = network.backbone(make_config())
    backbone.load_weights(path, by_name=True)
    source = weights.by_name(model)
    for name, variable in weights.by_name(backbone).items():
      self.assertAllEqual(variable, source[name])


class DrawKeysTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    # LayerNorm: BatchNorm would tie the images of a batch together.
    c = make_config(
      norm='layer_norm', stochastic_depth=0.7, blocks=(2, 2, 2, 2, 2)
    )
    self.model = network.classifier(c, draw_keys=True)
    weights.randomize(self.model)
    self.images = images(c, batch=12)
    self.keys = np.arange(12, dtype=np.int32) + 1_000_000

  def run_model(self, images, keys, *, training=True):
    return self.model(
      {'image': images, 'draw_keys': keys}, training=training
    ).numpy()

  def test_dropping_depends_on_the_key_alone(self):
    logits = self.run_model(self.images, self.keys)
    order = np.random.default_rng(0).permutation(12)
    permuted = self.run_model(self.images[order], self.keys[order])
    self.assertAllClose(permuted, logits[order], rtol=0, atol=1e-5)
    # As two replicas would compute it.
    halves = [
      self.run_model(self.images[part], self.keys[part])
      for part in (slice(0, 6), slice(6, 12))
    ]
    self.assertAllClose(np.concatenate(halves), logits, rtol=0, atol=1e-5)
    # And the place of a key matters: with the keys alone permuted, most images
    # lose other blocks.
    moved = self.run_model(self.images, self.keys[::-1])
    changed = np.max(np.abs(moved - logits), axis=-1) > 1e-3
    self.assertGreater(changed.sum(), 8)

  def test_the_global_seed_plays_no_part(self):
    draws = []
    for seed in (1, 2):
      tf.keras.utils.set_random_seed(seed)
      draws.append(self.run_model(self.images, self.keys))
    self.assertAllEqual(*draws)

  def test_same_image_and_key_same_logits(self):
    x = np.repeat(self.images[:1], 12, axis=0)
    same = self.run_model(x, np.repeat(self.keys[:1], 12))
    self.assertAllClose(same, np.repeat(same[:1], 12, axis=0), atol=1e-5)
    different = self.run_model(x, self.keys)
    self.assertGreater(len(np.unique(different[:, 0].round(3))), 6)

  def test_inference_drops_nothing(self):
    logits = self.run_model(self.images, self.keys, training=False)
    self.assertAllEqual(
      self.run_model(self.images, self.keys[::-1], training=False), logits
    )
    plain = network.classifier(
      make_config(norm='layer_norm', blocks=(2, 2, 2, 2, 2))
    )
    plain.set_weights(self.model.get_weights())
    self.assertAllEqual(plain(self.images), logits)

  def test_without_keys_the_draw_is_of_the_global_seed(self):
    model = network.classifier(
      make_config(
        norm='layer_norm', stochastic_depth=0.7, blocks=(2, 2, 2, 2, 2)
      )
    )
    model.set_weights(self.model.get_weights())
    draws = []
    for seed in (1, 1, 2):
      tf.keras.utils.set_random_seed(seed)
      draws.append(model(self.images, training=True).numpy())
    self.assertAllEqual(draws[0], draws[1])
    self.assertGreater(np.max(np.abs(draws[0] - draws[2])), 1e-3)


if __name__ == '__main__':
  tf.test.main()
