"""Tests of the blocks of other families, in ways that goldens do not look.

tests/golden/published_test.py holds what each family computes against those who
published it; here is what training and saved models need.
"""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import (
  config as config_lib,
  families,
  layers,
  network,
  variants,
)

# One of each kind of difference.
FAMILIES = ('timm_0_rw', 'timm_bn_0_rw', 'timm_rmlp_2_rw', 'kecam', 'timm')


def make_config(family, **kwargs):
  settings = {'image_size': 32, 'num_classes': 5, 'stochastic_depth': 0.2}
  return config_lib.ModelConfig(
    'coatnet_test', family=family, **{**settings, **kwargs}
  )


class VariantsTest(tf.test.TestCase, parameterized.TestCase):
  def test_a_symmetric_border_moves_the_grid(self):
    """Of an even size, SAME looks at pixels 0..2 first, PyTorch at -1..1."""
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 0] = 1
    pool = layers.make_pool('max3', name='pool', dtype='float32')
    self.assertAllEqual(pool(x)[0, :, :, 0], [[1, 0], [0, 0]])
    x[0, 0, 0], x[0, 1, 1] = 0, 1  # Which all four windows see.
    self.assertAllEqual(pool(x)[0, :, :, 0], np.ones((2, 2)))

  def test_a_maximum_of_negative_values_ignores_the_border(self):
    pool = layers.make_pool('max3', name='pool', dtype='float32')
    x = tf.random.stateless_uniform([1, 5, 7, 2], (1, 2), -2.0, -1.0)
    found = pool(x)
    self.assertEqual(found.shape, (1, 3, 4, 2))
    self.assertAllEqual(found[0, 0, 0], tf.reduce_max(x[0, :2, :2], [0, 1]))

  @parameterized.parameters(*FAMILIES)
  def test_all_weights_learn(self, family):
    model = network.classifier(make_config(family))
    images = tf.random.stateless_normal([2, 32, 32, 3], (3, 4))
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model(images, training=True) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    without = [
      variable.name
      for variable, gradient in zip(model.trainable_variables, gradients)
      if gradient is None
    ]
    self.assertEmpty(without)

  @parameterized.parameters(*FAMILIES)
  def test_a_saved_network_is_the_same(self, family):
    model = network.classifier(make_config(family))
    images = tf.random.stateless_normal([1, 32, 32, 3], (5, 6))
    again = tf.keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    self.assertAllEqual(again(images), model(images))

  def test_layer_scale_starts_small(self):
    model = network.classifier(make_config('timm_3_rw'))
    scale = model.get_layer('s3_block0').attention_scale
    self.assertIsInstance(scale, variants.Scale)
    self.assertAllEqual(scale.gamma, np.full(32, 1e-6, np.float32))

  def test_statistics_of_batch_norms_in_the_transformer(self):
    config = make_config('timm_bn_0_rw', batch_norm_momentum=0.5)
    model = network.classifier(config)
    norm = model.get_layer('s3_block0').attention_norm
    before = norm.moving_mean.numpy()
    images = tf.random.stateless_normal([2, 32, 32, 3], (7, 8))
    model(images, training=False)
    self.assertAllEqual(norm.moving_mean, before)
    model(images, training=True)
    self.assertNotAllClose(norm.moving_mean, before)
    self.assertEqual(
      norm.epsilon, families.get_family('timm_bn_0_rw').transformer_norm_epsilon
    )


if __name__ == '__main__':
  tf.test.main()
