"""Tests that the form for TPUs computes what the reference computes."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import blocks, config, layers, network, stems
from official_coatnet.modeling.implementations import tpu
from tests.fixtures import devices, weights

# Their gradients are zero in exact arithmetic.
_ZERO = ('attention/key/bias:0', 'pre_norm/beta:0')


def setUpModule():
  devices.use_two_cpus()


def results(layer, x, *, training):
  """Returns the output and all gradients, by name, and moving statistics."""
  layer(x, training=False)
  weights.randomize(layer)
  x = tf.constant(x)
  with tf.GradientTape() as tape:
    tape.watch(x)
    y = layer(x, training=training)
    d_y = tf.constant(np.random.default_rng(2).normal(size=y.shape), y.dtype)
  sources = {v.name: v for v in layer.trainable_variables}
  gradients = tape.gradient(y, {'x': x, **sources}, output_gradients=d_y)
  moving = {v.name: v for v in layer.non_trainable_variables}
  return {'y': y, **gradients, **{k: v.numpy() for k, v in moving.items()}}


class FusedTest(parameterized.TestCase, tf.test.TestCase):
  def assert_same(self, make, shape, *, training=True):
    x = np.random.default_rng(1).normal(size=shape)
    expected, actual = (
      results(make(form), x.astype('float64'), training=training)
      for form in ('reference', 'tpu')
    )
    self.assertEqual(list(expected), list(actual))
    for name, value in expected.items():
      value = np.asarray(value)
      scale = 1 if name.endswith(_ZERO) else np.abs(value).max()
      error = np.abs(value - np.asarray(actual[name])).max()
      self.assertLessEqual(error, 1e-7 * scale, name)

  @parameterized.parameters(
    (1, 'pre_softmax'), (2, 'pre_softmax'), (1, 'post_softmax'), (1, 'none')
  )
  def test_transformer_block(self, stride, relative_attention):
    def make(form):
      return blocks.TransformerBlock(
        12,
        head_size=4,
        stride=stride,
        relative_attention=relative_attention,
        implementation=form,
        dtype='float64',
        name='block',
      )

    self.assert_same(make, (2, 4, 6, 12 // stride))

  @parameterized.parameters(
    ('expand_conv', 'batch_norm', 1, True),
    ('expand_conv', 'batch_norm', 2, False),
    ('depthwise', 'batch_norm', 2, True),
    ('depthwise', 'layer_norm', 2, True),
  )
  def test_mbconv_block(self, downsample, kind, stride, training):
    norm = {**layers.DEFAULT_NORM, 'kind': kind}

    def make(form):
      return blocks.MBConvBlock(
        8,
        stride=stride,
        downsample=downsample,
        norm=norm,
        implementation=form,
        dtype='float64',
        name='block',
      )

    self.assert_same(make, (2, 4, 5, 8 // stride), training=training)

  @parameterized.parameters(True, False)
  def test_stem(self, training):
    def make(form):
      return stems.Stem(8, implementation=form, dtype='float64', name='stem')

    self.assert_same(make, (2, 9, 6, 3), training=training)

  def test_wide_stem(self):
    def make(form):
      return stems.Stem(128, implementation=form, dtype='float64', name='stem')

    self.assert_same(make, (2, 9, 6, 3))

  def test_stem_whose_bias_has_its_gradient_by_a_product(self):
    def make(form):
      return stems.Stem(4, implementation=form, dtype='float64', name='stem')

    self.assert_same(make, (1, 56, 56, 3))

  def test_synchronized_statistics_of_one_replica(self):
    norm = {**layers.DEFAULT_NORM, 'synchronized': True}

    def make(form):
      return blocks.MBConvBlock(
        8, norm=norm, implementation=form, dtype='float64', name='block'
      )

    self.assert_same(make, (2, 3, 4, 8))

  def test_synchronized_over_two_replicas(self):
    x = np.random.default_rng(1).normal(size=(4, 3, 4, 8)).astype('float32')
    d_y = np.random.default_rng(2).normal(size=x.shape).astype('float32')

    def pass_through(layer, x, d_y):
      x = tf.convert_to_tensor(x)
      with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True, activate=True)
      sources = [x, layer.gamma, layer.beta]
      return y, *tape.gradient(y, sources, output_gradients=d_y)

    whole = tpu.FusedBatchNorm(synchronized=True)
    expected = pass_through(whole, x, d_y)

    strategy = devices.two_replicas()
    with strategy.scope():
      split = tpu.FusedBatchNorm(synchronized=True)
      split.build(x.shape)

    def halves(values):
      return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(
          np.split(values, 2)[context.replica_id_in_sync_group]
        )
      )

    @tf.function
    def run(x, d_y):
      return strategy.run(lambda *args: pass_through(split, *args), (x, d_y))

    y, d_x, *d_variables = (
      strategy.experimental_local_results(each)
      for each in run(halves(x), halves(d_y))
    )
    self.assertAllClose(expected[0], tf.concat(y, 0), rtol=1e-5, atol=1e-5)
    self.assertAllClose(expected[1], tf.concat(d_x, 0), rtol=1e-5, atol=1e-5)
    for of_whole, of_halves in zip(expected[2:], d_variables):
      # Each replica has the gradient of its own images; training adds them up.
      self.assertAllClose(of_whole, sum(of_halves), rtol=1e-5, atol=1e-5)
    for variable, of_split in zip(whole.variables, split.variables):
      self.assertAllClose(variable, of_split, rtol=1e-6, atol=1e-6)

  def test_network_has_the_same_weights_and_logits(self):
    models = [
      network.classifier(
        config.ModelConfig(
          'coatnet_test', image_size=(32, 64), num_classes=5, implementation=i
        )
      )
      for i in ('reference', 'tpu')
    ]
    names = [[v.name for v in model.weights] for model in models]
    self.assertEqual(*names)
    weights.randomize(models[0])
    models[1].set_weights(models[0].get_weights())
    images = weights.images((2, 32, 64, 3))
    for training in (False, True):
      expected, actual = (m(images, training=training) for m in models)
      self.assertAllClose(expected, actual, rtol=1e-4, atol=1e-4)

  def test_unknown_implementation(self):
    with self.assertRaisesRegex(ValueError, "implementation.*'gpu'.*reference"):
      config.ModelConfig('coatnet_0', implementation='gpu')


if __name__ == '__main__':
  tf.test.main()
