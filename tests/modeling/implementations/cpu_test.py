"""Tests of implementations.cpu: GELU by XLA, and the network that has it."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import config as config_lib, network
from official_coatnet.modeling.implementations import cpu, reference
from tests.fixtures import weights


class CpuTest(tf.test.TestCase, parameterized.TestCase):
  def test_gelu_and_its_gradient(self):
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e9, -1e-20, 0, 1e9]])
    slope = np.sqrt(2 / np.pi)
    # By hand, in float64; the sign of a huge tanh is all that counts.
    tanh = np.tanh(slope * (x + 0.044715 * x**3))
    expected = 0.5 * x * (1 + tanh)
    inside = np.abs(x) < 100
    derivative = 0.5 * (1 + tanh)
    derivative[inside] += (
      0.5 * x * (1 - tanh**2) * slope * (1 + 3 * 0.044715 * x**2)
    )[inside]
    for dtype, tolerance in ((tf.float64, 1e-9), (tf.float32, 2e-6)):
      values = tf.constant(x, dtype)
      with tf.GradientTape() as tape:
        tape.watch(values)
        result = cpu.gelu(values)
      gradient = tape.gradient(result, values, output_gradients=3.0 * values)
      self.assertEqual(result.dtype, dtype)
      self.assertAllClose(result, expected, rtol=1e-5, atol=tolerance)
      self.assertAllClose(
        gradient, 3.0 * x * derivative, rtol=1e-5, atol=50 * tolerance
      )

  def test_shape_is_known_and_the_batch_free(self):
    @tf.function(input_signature=[tf.TensorSpec([None, 3, 3, 5])])
    def run(x):
      y = cpu.gelu(x)
      self.assertEqual(y.shape.as_list(), [None, 3, 3, 5])
      return y

    for batch in (2, 4):
      x = weights.images((batch, 3, 3, 5))
      self.assertAllClose(run(x), reference.gelu(tf.constant(x)), atol=1e-6)

  @parameterized.parameters(
    {}, dict(norm='layer_norm'), dict(rematerialize='all')
  )
  def test_networks_of_the_same_weights_logits_and_gradients(self, **kwargs):
    config = config_lib.ModelConfig(
      'coatnet_test',
      image_size=32,
      num_classes=5,
      dtype='float64',
      implementation='reference',
      **kwargs,
    )
    images = tf.constant(weights.images((2, 32, 32, 3)))
    results = {}
    for implementation in ('reference', 'cpu'):
      model = network.classifier(
        dataclasses.replace(config, implementation=implementation)
      )
      weights.randomize(model)
      with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_sum(tf.square(logits))
      gradients = tape.gradient(loss, model.trainable_variables)
      results[implementation] = [logits, *gradients]
    for ours, expected in zip(*results.values(), strict=True):
      self.assertAllClose(ours, expected, rtol=1e-8, atol=1e-8)


if __name__ == '__main__':
  tf.test.main()
