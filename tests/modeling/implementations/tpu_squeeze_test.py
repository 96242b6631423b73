"""Tests of fused_squeeze against plain TensorFlow and its gradients."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling.implementations import tpu_squeeze
from tests.fixtures import custom_gradients


class FusedSqueezeTest(parameterized.TestCase, custom_gradients.FusedTestCase):
  # The last batch is larger than a tile, and summed in another way.
  @parameterized.parameters(1, 3, 130)
  def test_spatial_mean(self, batch):
    self.assert_same(
      tpu_squeeze.spatial_mean,
      lambda x: tf.transpose(tf.reduce_mean(x, axis=[1, 2])),
      custom_gradients.values(batch, 3, 2, 5),
    )

  def test_spatial_mean_of_a_batch_of_unknown_size(self):
    spec = tf.TensorSpec([None, 3, 2, 5], tf.float64)
    mean = tf.function(tpu_squeeze.spatial_mean, input_signature=[spec])
    self.assert_same(
      mean,
      lambda x: tf.transpose(tf.reduce_mean(x, axis=[1, 2])),
      custom_gradients.values(4, 3, 2, 5),
    )

  def test_mean_is_not_summed_in_bfloat16(self):
    # Of 4096 ones a sum in bfloat16 sees 256: adding one changes no more.
    mean = tpu_squeeze.spatial_mean(tf.ones([2, 64, 64, 3], tf.bfloat16))
    self.assertAllEqual(tf.cast(mean, tf.float32), np.ones([3, 2]))

  def test_gate_and_project(self):
    self.assert_same(
      tpu_squeeze.gate_and_project,
      lambda x, gate, kernel: tf.einsum(
        'nhwc,co->nhwo', x * gate, kernel[0, 0]
      ),
      custom_gradients.values(2, 3, 4, 5),
      custom_gradients.values(2, 1, 1, 5, seed=1),
      custom_gradients.values(1, 1, 5, 6, seed=2),
    )


if __name__ == '__main__':
  tf.test.main()
