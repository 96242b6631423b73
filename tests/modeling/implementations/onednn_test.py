"""Tests of implementations.onednn: the same network, in fewer passes."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import config as config_lib, network
from official_coatnet.modeling.implementations import onednn, reference
from tests.fixtures import weights


class OneDnnTest(tf.test.TestCase, parameterized.TestCase):
  def test_gelu(self):
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e9, -1e-20, 0, 1e9]])
    # By hand, in float64.
    u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    expected = 0.5 * x * (1 + np.tanh(u))
    self.assertAllClose(
      onednn.gelu(tf.constant(x)), expected, rtol=1e-9, atol=1e-12
    )
    self.assertAllClose(
      onednn.gelu(tf.constant(x, tf.float32)), expected, 1e-5, 1e-6
    )

  @parameterized.product(
    stride=(1, 2), use_bias=(True, False), size=((6, 4), (7, 9))
  )
  def test_pointwise_conv(self, stride, use_bias, size):
    x = weights.images((3, *size, 5))
    options = dict(
      strides=stride,
      padding='same',
      use_bias=use_bias,
      activation=reference.gelu,
      name='conv',
    )
    conv = tf.keras.layers.Conv2D(8, 1, **options)
    product = onednn.PointwiseConv2D(8, 1, **options)
    expected = conv(x)
    self.assertEqual(product(x).shape, expected.shape)
    self.assertEqual(
      list(weights.by_name(product)), list(weights.by_name(conv))
    )
    weights.randomize(conv)
    weights.randomize(product)
    self.assertAllClose(product(x), conv(x), rtol=1e-5, atol=1e-5)

  def test_pointwise_dense(self):
    x = weights.images((3, 4, 5, 6))
    dense = tf.keras.layers.Dense(7, activation=reference.gelu, name='dense')
    product = onednn.PointwiseDense(7, activation=reference.gelu, name='dense')
    self.assertEqual(product(x).shape, dense(x).shape)
    weights.randomize(dense)
    weights.randomize(product)
    self.assertAllClose(product(x), dense(x), rtol=1e-5, atol=1e-5)

  @parameterized.parameters(
    {},
    dict(norm='layer_norm', downsample='depthwise'),
    dict(norm='none', image_size=(41, 66)),
    dict(layout='ViT_REL', blocks=(1, 2), widths=(32, 32)),
  )
  def test_networks_of_the_same_weights_and_logits(self, **kwargs):
    settings = dict(name='coatnet_test', image_size=32, num_classes=5)
    settings['dtype'] = 'float64'
    config = config_lib.ModelConfig(**{**settings, **kwargs})
    plain = network.classifier(config)
    fused = network.classifier(
      dataclasses.replace(config, implementation='onednn')
    )
    values = weights.randomize(plain)
    self.assertEqual(set(weights.randomize(fused)), set(values))
    images = weights.images((2, *config.height_width, 3))
    self.assertAllClose(fused(images), plain(images), rtol=1e-9, atol=1e-9)


if __name__ == '__main__':
  tf.test.main()
