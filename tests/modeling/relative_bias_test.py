"""Tests of relative_bias."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import relative_bias
from tests import reference

# One position, one row, one column, square, wide, tall; and the 14x20 of S3 in
# a 224x320 image.
GRIDS = ((1, 1), (1, 5), (4, 1), (3, 3), (2, 5), (7, 4), (14, 20))


def random_table(height, width, *, heads=3, seed=0):
  shape = relative_bias.table_shape(heads, height=height, width=width)
  values = np.random.default_rng(seed).normal(size=shape)
  return values.astype(np.float32)


class RelativeBiasTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.product(grid=GRIDS, method=relative_bias.LOOKUPS)
  def test_lookup_is_the_formula_of_the_paper(self, grid, method):
    height, width = grid
    table = random_table(height, width)
    actual = relative_bias.lookup(
      tf.constant(table), height=height, width=width, method=method
    )
    expected = reference.relative_bias(table, height=height, width=width)
    self.assertEqual(actual.dtype, tf.float32)
    # Bit for bit: no tolerance.
    self.assertAllEqual(actual, expected)

  # Beyond 24 x 24 positions there is no constant for it.
  @parameterized.parameters(*GRIDS, (25, 24))
  def test_lookup_by_key_is_the_transpose(self, height, width):
    table = tf.constant(random_table(height, width, heads=2))
    upstream = tf.random.stateless_normal(
      [2, height * width, height * width], seed=[1, 2]
    )
    results = []
    for transposed in (False, True):
      with tf.GradientTape() as tape:
        tape.watch(table)
        look_up = (
          relative_bias.lookup_by_key if transposed else relative_bias.lookup
        )
        bias = look_up(table, height=height, width=width)
        if transposed:
          bias = tf.transpose(bias, [0, 2, 1])
        loss = tf.reduce_sum(bias * upstream)
      results.append((bias, tape.gradient(loss, table)))
    (bias, gradient), (bias_by_key, gradient_by_key) = results
    self.assertAllEqual(bias, bias_by_key)
    largest = tf.reduce_max(tf.abs(gradient))
    self.assertAllClose(
      gradient / largest, gradient_by_key / largest, rtol=0, atol=2e-6
    )

  @parameterized.parameters(*GRIDS)
  def test_gradients_of_the_lookups_are_the_loops(self, height, width):
    table = tf.Variable(random_table(height, width))
    length = height * width
    upstream = np.random.default_rng(1).normal(size=[3, length, length])
    upstream = upstream.astype(np.float32)

    expected = np.zeros(table.shape)
    for q in range(length):
      for k in range(length):
        row = q // width - k // width + height - 1
        column = q % width - k % width + width - 1
        expected[:, row, column] += upstream[:, q, k]

    gradients = []
    for method in relative_bias.LOOKUPS:
      with tf.GradientTape() as tape:
        bias = relative_bias.lookup(
          table, height=height, width=width, method=method
        )
        loss = tf.reduce_sum(bias * upstream)
      gradients.append(tape.gradient(loss, table).numpy())
    einsum, gather = gradients
    largest = np.max(np.abs(expected))
    self.assertLessEqual(np.max(np.abs(einsum - gather)), 1e-6 * largest)
    self.assertLessEqual(np.max(np.abs(einsum - expected)), 1e-6 * largest)
    self.assertLessEqual(np.max(np.abs(gather - expected)), 1e-6 * largest)

  @parameterized.product(grid=GRIDS, method=relative_bias.LOOKUPS)
  def test_bias_depends_on_the_offset_only(self, grid, method):
    height, width = grid
    # All values differ, so that equal biases mean the same entry.
    shape = relative_bias.table_shape(1, height=height, width=width)
    table = tf.reshape(tf.range(np.prod(shape), dtype=tf.float32), shape)
    bias = relative_bias.lookup(
      table, height=height, width=width, method=method
    )
    seen = {}
    for (q, k), value in np.ndenumerate(bias[0].numpy()):
      offset = (q // width - k // width, q % width - k % width)
      seen.setdefault(offset, set()).add(value)
    self.assertLen(seen, (2 * height - 1) * (2 * width - 1))
    self.assertTrue(all(len(values) == 1 for values in seen.values()))
    # Each offset has an entry of its own.
    self.assertLen(set.union(*seen.values()), len(seen))

  def test_the_sign_is_query_minus_key(self):
    # 1x2 positions. The key to the right of the query is at offset -1, which is
    # entry 0 of the width axis.
    table = tf.constant([[[10.0, 20.0, 30.0]]])
    for method in relative_bias.LOOKUPS:
      bias = relative_bias.lookup(table, height=1, width=2, method=method)
      self.assertAllEqual(bias[0], [[20, 10], [30, 20]])

  @parameterized.product(
    method=relative_bias.LOOKUPS, dtype=[tf.bfloat16, tf.float64]
  )
  def test_other_dtypes_are_kept(self, method, dtype):
    table = tf.cast(random_table(2, 3), dtype)
    bias = relative_bias.lookup(table, height=2, width=3, method=method)
    expected = reference.relative_bias(
      tf.cast(table, tf.float64).numpy(), height=2, width=3
    )
    self.assertEqual(bias.dtype, dtype)
    self.assertAllEqual(tf.cast(bias, tf.float64), expected)

  def test_lookups_are_equal_when_compiled(self):
    table = random_table(3, 5)
    for method in relative_bias.LOOKUPS:
      compiled = tf.function(relative_bias.lookup, jit_compile=True)
      self.assertAllEqual(
        compiled(tf.constant(table), height=3, width=5, method=method),
        reference.relative_bias(table, height=3, width=5),
      )

  def test_table_shape(self):
    self.assertEqual(
      relative_bias.table_shape(12, height=14, width=20), (12, 27, 39)
    )

  def test_a_table_of_another_grid_is_refused(self):
    table = tf.constant(random_table(3, 4))
    for method in relative_bias.LOOKUPS:
      with self.assertRaises((ValueError, tf.errors.InvalidArgumentError)):
        relative_bias.lookup(table, height=4, width=4, method=method)

  def test_unknown_method_is_named_with_the_choices(self):
    with self.assertRaisesRegex(
      ValueError, "`lookup` is 'scatter'; .*'einsum', 'gather'"
    ):
      relative_bias.lookup(
        tf.zeros([1, 1, 1]), height=1, width=1, method='scatter'
      )


if __name__ == '__main__':
  tf.test.main()
