"""Compares a form with gradients of its own with the plain one, for tests."""

import numpy as np
import tensorflow as tf


def values(*shape, seed=0, dtype='float64'):
  """Returns draws from a normal distribution."""
  return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)


class FusedTestCase(tf.test.TestCase):
  def assert_same(self, function, expected, *args):
    """Compares results and all gradients of two functions."""
    found = []
    for f in (function, expected):
      with tf.GradientTape() as tape:
        tape.watch(args)
        y = f(*args)
        loss = tf.reduce_sum(y * values(*y.shape, seed=9))
      found.append((y, *tape.gradient(loss, args)))
    for a, b in zip(*found):
      self.assertAllClose(a, b, rtol=1e-8, atol=1e-8)
