"""Tests of layers."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy import stats

from official_coatnet.modeling import layers

# Consecutive, as the global indices of examples are; consecutive from high up;
# and anything, negative too.
KEYS = {
  'from_zero': np.arange(100_000),
  'from_a_billion': 1_000_000_000 + np.arange(100_000),
  'any': np.random.default_rng(0).integers(-(2**31), 2**31, 100_000),
}


def draw(keys, salt=0):
  return layers.uniform_from_keys(
    tf.constant(keys, tf.int32), salt=salt
  ).numpy()


class UniformFromKeysTest(parameterized.TestCase, tf.test.TestCase):
  """All keys and salts are fixed: what passes once passes always."""

  def assert_independent(self, a, b):
    """A chi-square test of a 16x16 table of counts."""
    counts, _, _ = np.histogram2d(a, b, bins=16, range=[[0, 1], [0, 1]])
    self.assertGreater(stats.chisquare(counts.ravel()).pvalue, 1e-3)
    self.assertLess(abs(np.corrcoef(a, b)[0, 1]), 4 / np.sqrt(len(a)))

  @parameterized.product(keys=list(KEYS), salt=[0, 1, 40, 87])
  def test_is_uniform(self, keys, salt):
    u = draw(KEYS[keys], salt)
    self.assertEqual(u.dtype, np.float32)
    self.assertGreaterEqual(u.min(), 0.0)
    self.assertLess(u.max(), 1.0)
    # Four standard errors.
    self.assertAllClose(u.mean(), 1 / 2, rtol=0, atol=4 / np.sqrt(12 * len(u)))
    self.assertAllClose(u.var(), 1 / 12, rtol=0, atol=4 / np.sqrt(180 * len(u)))
    self.assertGreater(stats.kstest(u, 'uniform').pvalue, 1e-3)
    counts, _ = np.histogram(u, bins=256, range=(0, 1))
    self.assertGreater(stats.chisquare(counts).pvalue, 1e-3)

  @parameterized.product(
    keys=list(KEYS), salts=[(0, 1), (0, 2), (1, 2), (7, 64)]
  )
  def test_salts_are_independent(self, keys, salts):
    self.assert_independent(*(draw(KEYS[keys], salt) for salt in salts))

  @parameterized.product(
    keys=['from_zero', 'from_a_billion'], step=[1, 2, 16, 256, 4096]
  )
  def test_neighbouring_keys_are_independent(self, keys, step):
    u = draw(KEYS[keys], salt=3)
    self.assert_independent(u[:-step], u[step:])

  def test_neighbouring_keys_of_neighbouring_salts_are_independent(self):
    u, v = draw(KEYS['from_zero'], 4), draw(KEYS['from_zero'], 5)
    self.assert_independent(u[:-1], v[1:])
    self.assert_independent(u[1:], v[:-1])

  def test_all_bits_of_a_key_and_of_a_salt_count(self):
    key = 0b1011 << 10
    flipped = [key ^ (1 << bit) for bit in range(31)] + [key - 2**31]
    self.assertLen({*draw([key, *flipped])}, 33)
    self.assertLen({draw([key], salt=salt)[0] for salt in range(1000)}, 1000)

  def test_same_key_same_draw_wherever_it_stands(self):
    keys = np.array([5, -1, 12, 2**31 - 1, 0, -(2**31), 7, 5])
    u = draw(keys, salt=9)
    self.assertAllEqual(draw(keys[::-1], salt=9), u[::-1])
    self.assertAllEqual([draw([k], salt=9)[0] for k in keys], u)
    self.assertEqual(u[0], u[-1])
    self.assertLen(set(u), 7)

  @parameterized.parameters(False, True)
  def test_is_the_same_in_a_graph(self, jit_compile):
    compiled = tf.function(layers.uniform_from_keys, jit_compile=jit_compile)
    keys = tf.constant(KEYS['any'], tf.int32)
    self.assertAllEqual(compiled(keys, salt=3), draw(keys, 3))


class StochasticDepthTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.product(
    rate=[0.05, 0.1, 0.5, 0.7], dtype=['float32', 'mixed_bfloat16']
  )
  def test_keep_rate_and_scale(self, rate, dtype):
    layer = layers.StochasticDepth(rate, salt=2, dtype=dtype)
    n = 1_000_000
    x = tf.ones([n, 1], layer.compute_dtype)
    tf.keras.utils.set_random_seed(0)
    for keys in (None, tf.range(n)):
      y = layer(x, draw_keys=keys, training=True)
      self.assertEqual(y.dtype, layer.compute_dtype)
      y = tf.cast(y, tf.float32).numpy()
      # Three standard errors: a draw in bfloat16 would keep 0.8983 for 0.9,
      # which is 5.7 of them away.
      self.assertAllClose(
        np.mean(y != 0),
        1 - rate,
        rtol=0,
        atol=3 * np.sqrt(rate * (1 - rate) / n),
      )
      scale = tf.cast(
        tf.constant(1 / (1 - rate), layer.compute_dtype), 'float32'
      )
      self.assertAllEqual(np.unique(y), [0, scale])

  def test_draw_does_not_depend_on_the_dtype(self):
    kept = []
    for dtype in ('float32', 'bfloat16', 'float64'):
      layer = layers.StochasticDepth(0.3, salt=2, dtype=dtype)
      x = tf.ones([10_000, 1], dtype)
      kept.append(layer(x, draw_keys=tf.range(10_000), training=True) != 0)
    self.assertAllEqual(kept[0], kept[1])
    self.assertAllEqual(kept[0], kept[2])

  def test_an_example_is_dropped_as_a_whole(self):
    x = np.random.default_rng(0).normal(size=[200, 3, 4, 5]).astype('float32')
    layer = layers.StochasticDepth(0.5)
    y = layer(x, draw_keys=tf.range(200), training=True).numpy()
    dropped = np.all(y == 0, axis=(1, 2, 3))
    self.assertBetween(dropped.sum(), 70, 130)
    self.assertAllEqual(y[~dropped], 2 * x[~dropped])

  def test_is_the_identity_at_inference_and_at_rate_zero(self):
    x = tf.random.normal([50, 3])
    for keys in (None, tf.range(50)):
      for rate, training in ((0.9, False), (0.9, None), (0.0, True)):
        layer = layers.StochasticDepth(rate)
        self.assertAllEqual(layer(x, draw_keys=keys, training=training), x)

  def test_keys_and_salt_decide_the_draw(self):
    x = tf.ones([1000, 1])
    keys = tf.range(1000)

    def kept(salt, keys):
      layer = layers.StochasticDepth(0.5, salt=salt)
      return layer(x, draw_keys=keys, training=True).numpy()

    self.assertAllEqual(kept(1, keys), kept(1, keys))
    self.assertAllEqual(kept(1, keys[::-1]), kept(1, keys)[::-1])
    self.assertNotAllEqual(kept(1, keys), kept(2, keys))

  def test_without_keys_the_global_seed_decides_the_draw(self):
    layer = layers.StochasticDepth(0.5)
    x = tf.ones([1000, 1])
    draws = []
    for seed in (1, 1, 2):
      tf.keras.utils.set_random_seed(seed)
      draws.append([layer(x, training=True), layer(x, training=True)])
    self.assertAllEqual(draws[0], draws[1])
    self.assertNotAllEqual(draws[0], draws[2])
    self.assertNotAllEqual(draws[0][0], draws[0][1])

  def test_gradient_is_that_of_the_kept(self):
    layer = layers.StochasticDepth(0.5)
    x = tf.ones([100, 2])
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = layer(x, draw_keys=tf.range(100), training=True)
    self.assertAllEqual(tape.gradient(y, x), y)

  @parameterized.parameters(-0.1, 1.0, 1.5)
  def test_rate_is_checked(self, rate):
    with self.assertRaisesRegex(
      ValueError, rf'`stochastic_depth` rate is {rate}; .*\[0, 1\)'
    ):
      layers.StochasticDepth(rate)

  def test_config_round_trip(self):
    layer = layers.StochasticDepth(0.25, salt=7, name='drop')
    copy = layers.StochasticDepth.from_config(layer.get_config())
    self.assertEqual((copy.rate, copy.salt, copy.name), (0.25, 7, 'drop'))
    x = tf.ones([100, 1])
    self.assertAllEqual(
      copy(x, draw_keys=tf.range(100), training=True),
      layer(x, draw_keys=tf.range(100), training=True),
    )


class SmallLayersTest(parameterized.TestCase, tf.test.TestCase):
  def test_default_norm(self):
    self.assertEqual(
      layers.DEFAULT_NORM,
      {
        'kind': 'batch_norm',
        'momentum': 0.99,
        'epsilon': 1e-3,
        'synchronized': False,
      },
    )

  @parameterized.parameters(
    ('max', [[5, 6], [8, 9]]), ('avg', [[3, 4.5], [7.5, 9]])
  )
  def test_pooling_rounds_up_and_padding_does_not_count(self, kind, expected):
    x = tf.reshape(tf.range(1.0, 10.0), [1, 3, 3, 1])
    y = layers.make_pool(kind, name='p', dtype='float32')(x)
    self.assertAllEqual(y[0, :, :, 0], expected)
    self.assertAllEqual(
      layers.make_pool(kind, name='p', dtype='float32')(-x)[0, 1, 1], [-9]
    )

  def test_make_pool_names_what_it_does_not_know(self):
    with self.assertRaisesRegex(
      ValueError, "`shortcut_pool` is 'mean'; .*'max', 'avg'"
    ):
      layers.make_pool('mean', name='p', dtype='float32')

  def test_kernel_initializer_gives_fresh_values_of_the_spread(self):
    kernels = [
      layers.kernel_initializer(0.02)([100, 100]).numpy() for _ in range(2)
    ]
    for kernel in kernels:
      self.assertAllClose(kernel.mean(), 0, atol=4 * 0.02 / 100)
      self.assertAllClose(kernel.std(), 0.02, rtol=4 / np.sqrt(2 * 10_000))
    self.assertLess(np.abs(np.corrcoef(*map(np.ravel, kernels))[0, 1]), 0.05)

  def test_wide_dtype(self):
    for dtype in ('bfloat16', 'mixed_bfloat16', 'float16', 'float32'):
      self.assertEqual(layers.wide_dtype(dtype), 'float32')
    self.assertEqual(layers.wide_dtype(tf.bfloat16), 'float32')
    self.assertEqual(layers.wide_dtype(tf.float64), 'float64')
    self.assertEqual(layers.wide_dtype('float64'), 'float64')


if __name__ == '__main__':
  tf.test.main()
