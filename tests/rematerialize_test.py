"""Tests of modeling.rematerialize: nothing differs but where memory goes."""

import re

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import blocks, network, rematerialize
from official_coatnet.modeling import config as config_lib
from official_coatnet.training import distribution
from tests import weights

_BATCH = 4


def setUpModule():
  tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
  )
  # Graphs that run once are not worth optimizing.
  options = {'disable_meta_optimizer': True}
  tf.config.optimizer.set_experimental_options(options)


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


def _run(config, *, jit_compile, strategy=None, seed=0):
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
    jit_compile=jit_compile,
  )
  results = [x.numpy() for x in run()]
  return results, {k: v.numpy() for k, v in weights.by_name(model).items()}


class RematerializeTest(tf.test.TestCase, parameterized.TestCase):
  def _compare(self, config, **kwargs):
    plain, plain_after = _run(config, **kwargs)
    config = _config(**{**vars(config), 'rematerialize': 'all'})
    again, again_after = _run(config, **kwargs)
    scale = max(np.abs(x).max() for x in plain[1:])
    for a, b in zip(again, plain, strict=True):
      self.assertAllClose(a, b, rtol=1e-9, atol=1e-11 * scale)
    self.assertAllClose(again_after, plain_after, rtol=1e-12, atol=1e-12)
    start = weights.randomize(network.classifier(config, draw_keys=True))
    moved = [k for k in start if not np.array_equal(start[k], plain_after[k])]
    self.assertTrue(all('moving_' in name for name in moved))
    return moved

  @parameterized.parameters(
    dict(implementation='reference', jit_compile=False),
    dict(implementation='tpu', jit_compile=True),
  )
  def test_gradients_and_statistics(self, implementation, jit_compile):
    config = _config(implementation=implementation)
    moved = self._compare(config, jit_compile=jit_compile)
    # The stem's BatchNorm, and three in each of two MBConv blocks.
    self.assertLen(moved, 2 * 7)

  def test_layer_norm_and_no_stochastic_depth(self):
    config = _config(norm='layer_norm', stochastic_depth=0.0)
    self.assertEmpty(self._compare(config, jit_compile=False))

  def test_two_replicas_with_synchronized_statistics(self):
    strategy = distribution.mirrored_cpu_strategy(2)
    config = _config(sync_batch_norm=True, stochastic_depth=0.9)
    self._compare(config, jit_compile=False, strategy=strategy)

  @parameterized.parameters('float32', 'mixed_bfloat16')
  def test_the_compiled_block_is_computed_twice(self, dtype):
    def products(recomputed):
      block = blocks.TransformerBlock(8, head_size=4, dtype=dtype)
      if recomputed:
        rematerialize.rematerialize(block)
      x = tf.random.stateless_normal([2, 4, 4, 8], [0, 1])
      block(x)
      # Keras casts the input, and the output has the compute dtype.
      x = tf.cast(x, block.compute_dtype)

      @tf.function(jit_compile=True)
      def run(x):
        with tf.GradientTape() as tape:
          # The gradient of a plain sum is a constant, after which a compiler
          # need not wait.
          loss = tf.reduce_sum(tf.cast(block(x, training=True), tf.float32) ** 2)
        return tape.gradient(loss, block.trainable_variables)

      hlo = run.experimental_get_compiler_ir(x)(stage='optimized_hlo')
      return len(re.findall(r' (?:dot|custom-call|convolution)\(', hlo))

    plain = products(False)
    # Query, key, value, the logits, their sum, the output, the bias and the
    # first of the feed-forward network; of its second the product is not
    # needed for the gradient.
    self.assertGreaterEqual(products(True), plain + 7)

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
