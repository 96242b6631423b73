"""Tests of squeeze_excitation."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import implementations, squeeze_excitation
from tests.fixtures import weights


class SqueezeExcitationTest(parameterized.TestCase, tf.test.TestCase):
  def test_by_hand(self):
    layer = squeeze_excitation.SqueezeExcitation(1)
    # Channel means 2 and -1.
    x = np.array([[[[1.0, -3.0]], [[3.0, 1.0]]]], np.float32)
    layer(x)
    layer.reduce.kernel.assign([[[[1.0], [0.5]]]])
    layer.reduce.bias.assign([0.5])
    layer.expand.kernel.assign([[[[1.0, -2.0]]]])
    layer.expand.bias.assign([0.0, 1.0])
    hidden = 2.0 / (1 + np.exp(-2.0))  # swish(2 - 0.5 + 0.5)
    gate = 1 / (1 + np.exp([-hidden, 2 * hidden - 1]))
    self.assertAllClose(layer(x), x * gate, rtol=1e-6)

  def test_each_image_has_its_own_gate(self):
    layer = squeeze_excitation.SqueezeExcitation(2)
    x = tf.random.normal([3, 4, 5, 6])
    layer(x)
    weights.randomize(layer)
    alone = tf.concat([layer(x[i : i + 1]) for i in range(3)], axis=0)
    self.assertAllClose(layer(x), alone, atol=1e-6)
    gates = layer(tf.ones_like(x) * tf.reshape([1.0, 2.0, 3.0], [3, 1, 1, 1]))
    self.assertNotAllClose(gates[0], gates[1] / 2)

  @parameterized.parameters(
    ('mixed_bfloat16', tf.float32),
    ('float32', tf.float32),
    ('float64', tf.float64),
  )
  def test_the_mean_is_in_float32_at_least(self, dtype, mean_dtype):
    layer = squeeze_excitation.SqueezeExcitation(1, dtype=dtype)
    layer.build([None, 8, 8, 4])
    spec = tf.TensorSpec([2, 8, 8, 4], layer.compute_dtype)
    graph = tf.function(layer).get_concrete_function(spec).graph
    # Accelerators may sum in the dtype of the operation; this CPU does not, so
    # that the values would tell nothing.
    means = [op for op in graph.get_operations() if op.type == 'Mean']
    self.assertEqual([op.outputs[0].dtype for op in means], [mean_dtype])
    self.assertEqual(graph.outputs[0].dtype, layer.compute_dtype)

  def test_config_round_trip(self):
    layer = squeeze_excitation.SqueezeExcitation(3, kernel_stddev=0.5)
    copy = squeeze_excitation.SqueezeExcitation.from_config(layer.get_config())
    self.assertEqual((copy.hidden_size, copy.kernel_stddev), (3, 0.5))

  def test_gate_and_conv_is_the_same_in_each_form(self):
    x = tf.random.normal([3, 4, 5, 8])
    found = []
    for form in implementations.IMPLEMENTATIONS.values():
      squeeze = squeeze_excitation.SqueezeExcitation(2, implementation=form)
      conv = form.conv(6, 1)
      squeeze(x), conv(x)
      weights.randomize(squeeze)
      weights.randomize(conv)
      y = form.gate_and_conv(squeeze, conv, x)
      self.assertAllClose(y, conv(squeeze(x)), rtol=1e-5, atol=1e-5)
      found.append(y)
    self.assertAllClose(found[0], found[1], rtol=1e-5, atol=1e-5)
    self.assertAllClose(found[0], found[2], rtol=1e-5, atol=1e-5)


if __name__ == '__main__':
  tf.test.main()
