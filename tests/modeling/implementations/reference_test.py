"""Tests of implementations.reference."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy import stats

from official_coatnet.modeling import layers
from official_coatnet.modeling.implementations import reference

FORM = reference.Reference()


class ReferenceTest(parameterized.TestCase, tf.test.TestCase):
  def test_norm(self):
    norm = FORM.norm(
      {
        'kind': 'batch_norm',
        'momentum': 0.5,
        'epsilon': 0.25,
        'synchronized': True,
      },
      name='mine',
      dtype='mixed_bfloat16',
    )
    self.assertIsInstance(norm, tf.keras.layers.BatchNormalization)
    self.assertEqual(
      (norm.name, norm.momentum, norm.epsilon), ('mine', 0.5, 0.25)
    )
    self.assertTrue(norm.synchronized)
    self.assertEqual(norm.compute_dtype, 'bfloat16')
    norm = FORM.norm({'kind': 'layer_norm'}, name='mine', dtype='float32')
    self.assertIsInstance(norm, tf.keras.layers.LayerNormalization)
    self.assertEqual((norm.name, norm.epsilon), ('mine', 1e-5))

  @parameterized.parameters('batch_norm', 'layer_norm')
  def test_statistics_are_float32_under_bfloat16(self, kind):
    norm = FORM.norm(
      {**layers.DEFAULT_NORM, 'kind': kind}, name='n', dtype='mixed_bfloat16'
    )
    # Differences that bfloat16, with 8 bits, cannot see beside the mean are
    # there in the input; a mean in bfloat16 would lose them.
    x = 100 + tf.tile(tf.constant([[-0.5, 0.0, 0.5, 0.0]]), [1000, 1])
    x = tf.cast(tf.reshape(x, [10, 10, 10, 4]), tf.bfloat16)
    y = norm(x, training=True)
    self.assertEqual(y.dtype, tf.bfloat16)
    self.assertEqual({v.dtype for v in norm.variables}, {tf.float32})
    if kind == 'layer_norm':
      expected = np.array([-0.5, 0, 0.5, 0]) / np.sqrt(0.125 + 1e-5)
      self.assertAllClose(y[0, 0, 0], expected, rtol=0.01, atol=0.01)
    else:
      # 1 % of the way from 0 to the mean of each channel.
      self.assertAllClose(norm.moving_mean, [0.995, 1.0, 1.005, 1.0], rtol=1e-5)

  def test_norm_names_what_it_does_not_know(self):
    with self.assertRaisesRegex(
      ValueError, "`norm` is 'group_norm'; .*'batch_norm', 'layer_norm'"
    ):
      FORM.norm({'kind': 'group_norm'}, name='n', dtype='float32')

  def test_gelu_is_the_tanh_approximation(self):
    x = np.linspace(-4, 4, 81)
    exact = x * stats.norm.cdf(x)
    error = np.abs(reference.gelu(tf.constant(x)) - exact)
    # The largest error of the approximation, which the exact one has not.
    self.assertBetween(error.max(), 4e-4, 5e-4)


if __name__ == '__main__':
  tf.test.main()
