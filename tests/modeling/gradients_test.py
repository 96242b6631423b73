"""Tests of the network: which variables learn, in every variant.

In float64, so that a gradient of zero in exact arithmetic is 1e-16 of the
others and not 1e-7.
"""

import re

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import config, network
from tests.fixtures import weights

BASE = dict(image_size=(64, 96), num_classes=7, dtype='float64')
VARIANTS = (
  dict(layout='C-C-C-C'),
  dict(layout='C-C-C-T'),
  dict(layout='C-T-T-T'),
  dict(layout='C-C-C-C', norm='layer_norm', downsample='depthwise'),
  dict(norm='layer_norm', representation_size=None),
  dict(sync_batch_norm=True),
  dict(downsample='depthwise', lookup='gather'),
  dict(relative_attention='post_softmax', shortcut_pool='avg'),
  dict(relative_attention='none', head_size=8),
  dict(head_size=8, expansion=2, se_ratio=0.5),
  dict(head_size=4, blocks=(2, 2, 2, 2, 2)),
  dict(stochastic_depth=0.5, blocks=(2, 2, 2, 2, 2)),
  dict(widths=(8, 8, 16, 16, 32), relative_attention='post_softmax'),
)
# Relative to the largest gradient of the network. Rounding is at 1e-16, and the
# smallest gradient of these networks that is none of rounding is above 1e-6.
NOISE = 1e-12
ALIVE = 1e-7


def is_zero_in_exact_arithmetic(name, c):
  """The three families; a convolution before a BatchNorm has no bias at all."""
  if name.endswith('attention/key/bias'):
    # Adds the same to all logits of a query.
    return True
  # The mean that the next BatchNorm takes away. LayerNorm takes another one.
  return name.endswith('/pre_norm/beta') and c.norm == 'batch_norm'


def gradients_of(model, c):
  """Returns |gradient| by name, of a random combination of the logits."""
  rng = np.random.default_rng(2)
  # As many images as it takes for each block to keep some.
  x = rng.normal(0.5, 1.0, [16, *c.height_width, 3]).astype(np.float32)
  upstream = rng.normal(size=[16, c.num_classes])
  tf.keras.utils.set_random_seed(3)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(model(x, training=True) * upstream)
  variables = {k: v for k, v in weights.by_name(model).items() if v.trainable}
  gradients = tape.gradient(loss, variables)
  return {k: np.abs(g.numpy()) for k, g in gradients.items() if g is not None}


class GradientsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters({}, *VARIANTS)
  def test_every_variable_learns_but_three_families(self, **kwargs):
    c = config.ModelConfig('coatnet_test', **{**BASE, **kwargs})
    model = network.classifier(c)
    weights.randomize(model)
    gradients = gradients_of(model, c)
    trainable = {v.name.removesuffix(':0') for v in model.trainable_variables}
    self.assertEqual(set(gradients), trainable)

    largest = max(np.max(g) for g in gradients.values())
    dead = {
      name
      for name, gradient in gradients.items()
      if np.max(gradient) <= NOISE * largest
    }
    expected = {k for k in trainable if is_zero_in_exact_arithmetic(k, c)}
    self.assertEqual(dead, expected)
    for name in trainable - dead:
      self.assertGreater(np.max(gradients[name]), ALIVE * largest, name)

    # Every entry of a table is the bias of some query and key.
    tables = [k for k in trainable if k.endswith('/relative_bias')]
    transformers = sum(
      n for n, kind in zip(c.blocks[1:], c.stage_kinds) if kind == 'T'
    )
    used = 0 if c.relative_attention == 'none' else transformers
    self.assertLen(tables, used)
    for name in tables:
      self.assertGreater(np.min(gradients[name]), NOISE * largest, name)

  @parameterized.parameters('C-C-T-T', 'C-C-C-C')
  def test_no_bias_stands_before_a_batch_norm(self, layout):
    def biases(norm):
      with tf.Graph().as_default():
        model = network.classifier(
          config.ModelConfig('coatnet_test', layout=layout, norm=norm)
        )
        return {
          k for k in weights.by_name(model)
          if re.search(r'(s0/conv0|expand_conv|depthwise_conv)/bias', k)
        }  # fmt: skip

    self.assertEmpty(biases('batch_norm'))
    # One for the stem, two for each of the MBConv blocks.
    self.assertLen(biases('layer_norm'), 1 + 2 * layout.count('C'))

  def test_a_bias_before_a_batch_norm_would_not_learn(self):
    # The third family, made by hand: no network of ours has it.
    rng = np.random.default_rng(0)
    conv = tf.keras.layers.Conv2D(4, 1, dtype='float64')
    norm = tf.keras.layers.BatchNormalization(dtype='float64')
    x = rng.normal(size=[4, 5, 5, 3])
    upstream = rng.normal(size=[4, 5, 5, 4])
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(norm(conv(x), training=True) * upstream)
    kernel, bias = tape.gradient(loss, [conv.kernel, conv.bias])
    self.assertLess(np.max(np.abs(bias)), NOISE * np.max(np.abs(kernel)))

  def test_at_one_position_attention_has_nothing_to_choose(self):
    # At 32x32, S4 is 1x1: the softmax over one key is 1 whatever the logits.
    c = config.ModelConfig('coatnet_test', **{**BASE, 'image_size': 32})
    model = network.classifier(c)
    weights.randomize(model)
    gradients = gradients_of(model, c)
    largest = max(np.max(g) for g in gradients.values())
    dead = {k for k, g in gradients.items() if np.max(g) <= NOISE * largest}
    attends = {f's4_block0/attention/{v}' for v in (
      'relative_bias', 'query/kernel', 'query/bias', 'key/kernel', 'key/bias'
    )}  # fmt: skip
    self.assertEqual({k for k in dead if k.startswith('s4')}, attends)


if __name__ == '__main__':
  tf.test.main()
