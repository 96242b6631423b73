"""Tests of fused_attention against attention as it is written in papers."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling.implementations import tpu_attention


def plain(query, key, value, bias=None):
  logits = tf.einsum('bndk,bndq->bnkq', key, query)
  if bias is not None:
    logits += bias
  weights = tf.nn.softmax(logits, axis=2)
  return tf.einsum('bndk,bnkq->bndq', value, weights)


def fused(query, key, value, bias=None):
  return tpu_attention.attend(query, key, value, bias=bias)


def arguments(*, keys=5, queries=6, with_bias, dtype='float64', size=1.0):
  rng = np.random.default_rng(0)
  shapes = [(2, 3, 4, queries), (2, 3, 4, keys), (2, 3, 4, keys)]
  if with_bias:
    shapes.append((3, keys, queries))
  return [tf.constant(size * rng.normal(size=s), dtype) for s in shapes]


class FusedAttentionTest(parameterized.TestCase, tf.test.TestCase):
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


if __name__ == '__main__':
  tf.test.main()
