"""Tests of data.beta."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy import stats

from official_coatnet.data import beta


class SampleBetaTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(0.1, 0.8, 4.0)
  def test_distribution(self, alpha):
    sample = tf.function(
      lambda index: beta.sample_beta(alpha, seed=tf.stack([7, index]))
    )
    draws = tf.map_fn(
      sample, tf.range(3000), fn_output_signature=tf.float32
    ).numpy()
    # Kolmogorov's distance, away from the ends, where a float32 is 0 or 1.
    grid = np.linspace(0.001, 0.999, 499)
    empirical = np.searchsorted(np.sort(draws), grid) / len(draws)
    distance = np.abs(empirical - stats.beta(alpha, alpha).cdf(grid)).max()
    self.assertLess(distance, 1.95 / len(draws) ** 0.5)  # Chance: 1 in 1000.
    # What tells it from the uniform distribution that Model Garden draws from.
    self.assertAllClose(draws.std(), stats.beta(alpha, alpha).std(), atol=0.015)

  def test_tiny_alpha_is_finite(self):
    draws = [
      beta.sample_beta(1e-3, seed=tf.constant([0, i])).numpy()
      for i in range(50)
    ]
    self.assertAllInRange(draws, 0.0, 1.0)
    self.assertBetween(np.mean(np.array(draws) > 0.5), 0.2, 0.8)


if __name__ == '__main__':
  tf.test.main()
