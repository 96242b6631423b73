"""Tests of tpu_products against plain TensorFlow and its gradients."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling.implementations import tpu_products
from tests.fixtures import custom_gradients


def plain(query, key, value, bias=None):
  logits = tf.einsum('bndk,bndq->bnkq', key, query)
  if bias is not None:
    logits += bias
  weights = tf.nn.softmax(logits, axis=2)
  return tf.einsum('bndk,bnkq->bndq', value, weights)


def fused(query, key, value, bias=None):
  return tpu_products.attend(query, key, value, bias=bias)


def arguments(*, keys=5, queries=6, with_bias, dtype='float64', size=1.0):
  rng = np.random.default_rng(0)
  shapes = [(2, 3, 4, queries), (2, 3, 4, keys), (2, 3, 4, keys)]
  if with_bias:
    shapes.append((3, keys, queries))
  return [tf.constant(size * rng.normal(size=s), dtype) for s in shapes]


class AttendTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(True, False)
  def test_is_softmax_attention(self, with_bias):
    args = arguments(with_bias=with_bias)
    results = []
    for attend in (plain, fused):
      with tf.GradientTape() as tape:
        tape.watch(args)
        y = attend(*args)
        d_y = tf.constant(np.random.default_rng(1).normal(size=y.shape))
      results.append([y, *tape.gradient(y, args, output_gradients=d_y)])
    for expected, actual in zip(*results):
      self.assertAllClose(expected, actual, rtol=1e-10, atol=1e-10)

  def test_logits_of_hundreds(self):
    args = arguments(with_bias=True, dtype='float32', size=12.0)
    y = fused(*args)
    self.assertAllClose(y, plain(*args), rtol=1e-4, atol=1e-4)

  def test_bfloat16_is_as_near_as_the_plain_form(self):
    args = arguments(with_bias=True)
    exact = plain(*args)
    rounded = [tf.cast(a, tf.bfloat16) for a in args]
    errors = [
      float(tf.reduce_max(tf.abs(tf.cast(f(*rounded), 'float64') - exact)))
      for f in (plain, fused)
    ]
    self.assertLess(errors[1], 1.5 * errors[0])


class SqueezeTest(parameterized.TestCase, custom_gradients.FusedTestCase):
  # The last batch is larger than a tile, and summed in another way.
  @parameterized.parameters(1, 3, 130)
  def test_spatial_mean(self, batch):
    self.assert_same(
      tpu_products.spatial_mean,
      lambda x: tf.transpose(tf.reduce_mean(x, axis=[1, 2])),
      custom_gradients.values(batch, 3, 2, 5),
    )

  def test_spatial_mean_of_a_batch_of_unknown_size(self):
    spec = tf.TensorSpec([None, 3, 2, 5], tf.float64)
    mean = tf.function(tpu_products.spatial_mean, input_signature=[spec])
    self.assert_same(
      mean,
      lambda x: tf.transpose(tf.reduce_mean(x, axis=[1, 2])),
      custom_gradients.values(4, 3, 2, 5),
    )

  def test_mean_is_not_summed_in_bfloat16(self):
    # Of 4096 ones a sum in bfloat16 sees 256: adding one changes no more.
    mean = tpu_products.spatial_mean(tf.ones([2, 64, 64, 3], tf.bfloat16))
    self.assertAllEqual(tf.cast(mean, tf.float32), np.ones([3, 2]))

  def test_gate_and_project(self):
    self.assert_same(
      tpu_products.gate_and_project,
      lambda x, gate, kernel: tf.einsum(
        'nhwc,co->nhwo', x * gate, kernel[0, 0]
      ),
      custom_gradients.values(2, 3, 4, 5),
      custom_gradients.values(2, 1, 1, 5, seed=1),
      custom_gradients.values(1, 1, 5, 6, seed=2),
    )


class ProductsTest(custom_gradients.FusedTestCase):
  def test_convolve(self):
    for kernel_shape in ((3, 3, 4, 6), (5, 1, 2, 3)):
      self.assert_same(
        tpu_products.convolve,
        lambda x, kernel: tf.nn.conv2d(x, kernel, 1, 'SAME'),
        custom_gradients.values(2, 5, 4, kernel_shape[2]),
        custom_gradients.values(*kernel_shape, seed=1),
      )

  def test_project_to_heads(self):
    self.assert_same(
      tpu_products.project_to_heads,
      lambda x, kernel: tf.einsum('blc,cnd->bndl', x, kernel),
      custom_gradients.values(2, 3, 4),
      custom_gradients.values(4, 2, 5),
    )


if __name__ == '__main__':
  tf.test.main()
