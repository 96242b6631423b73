"""Draws from Beta(alpha, alpha): the shares of mixup, of any alpha."""

import tensorflow as tf


def sample_beta(alpha: float, *, seed: tf.Tensor) -> tf.Tensor:
  """Draws from Beta(alpha, alpha), for any alpha > 0.

  The share of one of two Gamma(alpha) draws in their sum. A Gamma(alpha) draw
  is a Gamma(alpha + 1) draw times u ** (1 / alpha) with u uniform; taking
  logarithms, small alphas do not underflow to 0 / 0. On the host, since
  gamma has no TPU kernel.

  Args:
    alpha: parameter of the distribution.
    seed: integer [2] tensor.

  Returns:
    A scalar float32 tensor in [0, 1].
  """
  gamma_seed, uniform_seed = tf.unstack(tf.random.split(seed, 2))
  gammas = tf.random.stateless_gamma([2], gamma_seed, alpha=alpha + 1.0)
  # In (0, 1], for the logarithm.
  uniforms = 1.0 - tf.random.stateless_uniform([2], uniform_seed)
  logs = tf.math.log(gammas) + tf.math.log(uniforms) / alpha
  return tf.sigmoid(logs[0] - logs[1])
