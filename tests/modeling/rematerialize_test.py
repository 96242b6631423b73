"""Tests of modeling.rematerialize: nothing differs but where memory goes."""

import re
import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import (
  blocks,
  config as config_lib,
  network,
  rematerialize,
)
from tests.fixtures import devices, graphs, weights

_BATCH = 4


def setUpModule():
  devices.use_two_cpus()
  unittest.enterModuleContext(graphs.unoptimized())


def _config(**kwargs):
  return config_lib.ModelConfig(
    **{
      'name': 'coatnet_test',
      'image_size': 32,
      'num_classes': 5,
      'blocks': (2, 1, 1, 1, 1),
      'widths': (8, 8, 8, 8, 8),
      'head_size': 4,
      'stochastic_depth': 0.5,
      'batch_norm_momentum': 0.5,
      'dtype': 'float64',
      **kwargs,
    }
  )


def _gradients(model, images, keys):
  """Returns loss, gradients, all in training mode."""
  variables = model.trainable_variables
  with tf.GradientTape() as tape:
    logits = model({'image': images, 'draw_keys': keys}, training=True)
    loss = tf.reduce_sum(logits**2)
  return [loss, *tape.gradient(loss, variables)]


def _run(config, *, strategy=None, seed=0):
  """Returns loss, gradients and the variables after a forward pass."""
  strategy = strategy or tf.distribute.get_strategy()
  replicas = strategy.num_replicas_in_sync
  with strategy.scope():
    model = network.classifier(config, draw_keys=True)
  weights.randomize(model, seed=seed)
  images = tf.constant(weights.images((_BATCH, 32, 32, 3)), tf.float64)
  keys = tf.range(_BATCH) * 7919

  def step():
    i = tf.distribute.get_replica_context().replica_id_in_sync_group
    size = _BATCH // replicas
    share = slice(i * size, (i + 1) * size) if replicas > 1 else slice(None)
    return _gradients(model, images[share], keys[share])

  run = tf.function(
    lambda: [strategy.reduce('SUM', x, axis=None) for x in strategy.run(step)],
  )
  results = [x.numpy() for x in run()]
  return results, {k: v.numpy() for k, v in weights.by_name(model).items()}


def _compiled(kind, dtype, *, recompute=False):
  """Returns the number of products of a compiled block, and its results."""
  if kind == 'T':
    block = blocks.TransformerBlock(8, head_size=4, dtype=dtype, name='b')
  else:
    block = blocks.MBConvBlock(8, dtype=dtype, name='b')
  if recompute:
    rematerialize.rematerialize(block)
  # Keras casts the input, and the output has the compute dtype.
  x = tf.cast(weights.images((2, 4, 4, 8)), block.compute_dtype)
  block(x)
  weights.randomize(block)

  @tf.function(jit_compile=True)
  def run(x):
    with tf.GradientTape() as tape:
      # The gradient of a plain sum is a constant, after which a compiler need
      # not wait.
      loss = tf.reduce_sum(tf.cast(block(x, training=True), tf.float32) ** 2)
    return tape.gradient(loss, block.trainable_variables)

  hlo = run.experimental_get_compiler_ir(x)(stage='optimized_hlo')
  products = len(re.findall(r' (?:dot|custom-call|convolution)\(', hlo))
  results = [*run(x), *block.non_trainable_variables]
  return products, [tf.cast(v, tf.float32).numpy() for v in results]


class RematerializeTest(tf.test.TestCase, parameterized.TestCase):
  def _compare(self, config, *, strategy=None):
    plain, plain_after = _run(config, strategy=strategy)
    config = _config(**{**vars(config), 'rematerialize': 'all'})
    again, again_after = _run(config, strategy=strategy)
    scale = max(np.abs(x).max() for x in plain[1:])
    for a, b in zip(again, plain, strict=True):
      self.assertAllClose(a, b, rtol=1e-9, atol=1e-11 * scale)
    self.assertAllClose(again_after, plain_after, rtol=1e-12, atol=1e-12)
    start = weights.randomize(network.classifier(config, draw_keys=True))
    moved = [k for k in start if not np.array_equal(start[k], plain_after[k])]
    self.assertTrue(all('moving_' in name for name in moved))
    return moved

  @parameterized.parameters('reference', 'tpu')
  def test_gradients_and_statistics(self, implementation):
    moved = self._compare(_config(implementation=implementation))
    # The stem's BatchNorm, and three in each of two MBConv blocks.
    self.assertLen(moved, 2 * 7)

  def test_two_replicas_with_synchronized_statistics(self):
    strategy = devices.two_replicas()
    config = _config(sync_batch_norm=True, stochastic_depth=0.9)
    self._compare(config, strategy=strategy)

  @parameterized.parameters(
    # Query, key, value, the logits, their sum, the output, the first of the
    # feed-forward network; the product of its second is in no gradient.
    dict(kind='T', dtype='mixed_bfloat16', products=7),
    # The 1x1 and the depthwise convolution, squeeze and excitation.
    dict(kind='C', dtype='float32', products=4),
  )
  def test_xla_computes_the_block_twice(self, kind, dtype, products):
    plain = _compiled(kind, dtype)
    again = _compiled(kind, dtype, recompute=True)
    self.assertGreaterEqual(again[0], plain[0] + products)
    tolerance = 1e-5 if dtype == 'float32' else 0.03
    for a, b in zip(again[1], plain[1], strict=True):
      self.assertAllClose(a, b, tolerance, tolerance * np.abs(b).max())

  def test_draws_without_keys_are_the_same_both_times(self):
    x = tf.ones([64, 4, 4, 8])
    block = blocks.TransformerBlock(8, head_size=4, drop_rate=0.5)
    rematerialize.rematerialize(block)
    block(x)
    weights.randomize(block)
    for compiled in (False, True):

      def run():
        with tf.GradientTape() as tape:
          tape.watch(x)
          y = block(x, training=True)
        return y, tape.gradient(y, x)

      y, gradient = (tf.function(run) if compiled else run)()
      # All examples are alike but for what is dropped of them: two branches.
      # Equal outputs must have equal gradients, other outputs others.
      outputs = [tuple(v) for v in np.round(y.numpy().reshape(64, -1), 3)]
      slopes = [tuple(v) for v in np.round(gradient.numpy().reshape(64, -1), 3)]
      self.assertLen(set(outputs), 4)
      self.assertLen(set(zip(outputs, slopes)), 4)

  def test_inference_and_configuration(self):
    config = _config(rematerialize=('s1', 's3'))
    model, plain = network.classifier(config), network.classifier(_config())
    weights.randomize(model)
    weights.randomize(plain)
    images = weights.images((2, 32, 32, 3))
    self.assertAllEqual(model(images), plain(images))
    self.assertEqual(
      _config(rematerialize='all').rematerialize,
      ('s0', 's1', 's2', 's3', 's4'),
    )
    with self.assertRaisesRegex(ValueError, "'s7'.*must be a tuple of s0, s1"):
      _config(rematerialize=('s7',))


if __name__ == '__main__':
  tf.test.main()
