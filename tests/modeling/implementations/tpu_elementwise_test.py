"""Tests of tpu_elementwise against TensorFlow's functions and gradients."""

import functools

import numpy as np
import tensorflow as tf

from official_coatnet.modeling.implementations import tpu_elementwise
from tests.fixtures import custom_gradients


class ElementwiseTest(custom_gradients.FusedTestCase):
  def test_gelu(self):
    self.assert_same(
      tpu_elementwise.gelu,
      lambda x: tf.nn.gelu(x, approximate=True),
      tf.constant(np.linspace(-9.0, 9.0, 101)),
    )

  def test_bias_add(self):
    x, bias = custom_gradients.values(2, 3, 4, 5), custom_gradients.values(5)
    for sum_by_product in (False, True):
      self.assert_same(
        functools.partial(
          tpu_elementwise.bias_add, sum_by_product=sum_by_product
        ),
        tf.add,
        x,
        bias,
      )

  def test_gradient_of_a_bias_is_not_summed_in_bfloat16(self):
    # Of 4096 ones a sum in bfloat16 sees 256: adding one changes no more.
    x = tf.ones([4096, 3], tf.bfloat16)
    bias = tf.zeros([3])
    for sum_by_product in (False, True):
      with tf.GradientTape() as tape:
        tape.watch(bias)
        y = tpu_elementwise.bias_add(x, bias, sum_by_product=sum_by_product)
        loss = tf.reduce_sum(y)
      self.assertAllEqual(tape.gradient(loss, bias), [4096.0] * 3)

  def test_layer_norm(self):
    def expected(x, gamma, beta):
      mean, variance = tf.nn.moments(x, -1, keepdims=True)
      return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)

    self.assert_same(
      lambda *args: tpu_elementwise.layer_norm(*args, epsilon=1e-5),
      expected,
      custom_gradients.values(2, 3, 4, 6) + 5.0,
      custom_gradients.values(6, seed=1),
      custom_gradients.values(6, seed=2),
    )

  def test_batch_norm(self):
    for activate in (False, True):
      for stride in (1, 2):
        self._check_batch_norm(activate=activate, stride=stride)

  def _check_batch_norm(self, *, activate, stride):
    def function(*args):
      return tpu_elementwise.batch_norm(
        *args, epsilon=1e-3, activate=activate, stride=stride
      )[0]

    def expected(x, gamma, beta):
      mean, variance = tf.nn.moments(x, [0, 1, 2])
      y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
      y = y[:, ::stride, ::stride]
      return tf.nn.gelu(y, approximate=True) if activate else y

    # Odd sizes: the last row is one of those that a stride takes.
    self.assert_same(
      function,
      expected,
      custom_gradients.values(2, 5, 4, 3) + 2.0,
      custom_gradients.values(3, seed=1),
      custom_gradients.values(3, seed=2),
    )


if __name__ == '__main__':
  tf.test.main()
