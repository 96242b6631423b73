"""Tests of the compiler itself, where `make tpu-report` has installed it.

Manual, because the environment is not part of `make test`:

    PYTHONPATH=. .venv/bin/python tests/analysis/tpu/libtpu_test.py
"""

import tensorflow as tf

from official_coatnet.analysis.tpu import compiler, lowering


def _convolution(x, kernel):
  with tf.name_scope('block'):
    return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, 'SAME'))


def _product(size):
  spec = tf.TensorSpec([size, size], tf.bfloat16)
  return lowering.lower(tf.matmul, spec, spec)


class TpuLibtpuTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    try:
      compiler.find_python()
    except FileNotFoundError as e:
      self.skipTest(str(e))

  def _compile(self, module, topology='v3'):
    return compiler.compile_modules(
      {'module': module}, topology=topology, cache_dir=None
    )['module']

  def test_convolution(self):
    module = lowering.lower(
      _convolution,
      tf.TensorSpec([8, 32, 32, 128], tf.bfloat16),
      tf.TensorSpec([3, 3, 128, 128], tf.bfloat16),
    )
    result = self._compile(module)
    self.assertIsNone(result.error)
    # Fewer cycles than the matrix units need for it would be a wrong unit.
    least = 8 * 32 * 32 * 9 * 128 * 128 / (2 * 128 * 128)
    self.assertGreater(result.cycles, least)
    self.assertLess(result.cycles, 10 * least)
    self.assertTrue(any(name.startswith('block/') for name, *_ in result.ops))
    image, kernel = 2 * 8 * 32 * 32 * 128, 2 * 9 * 128 * 128
    self.assertEqual(result.memory['argument'], image + kernel)
    self.assertEqual(result.memory['output'], image)

  def test_a_product_runs_near_the_peak(self):
    """On every generation, which checks clocks and peaks."""
    size = 8192
    for name, target in compiler.TOPOLOGIES.items():
      result = self._compile(_product(size), name)
      seconds = result.cycles / target.clock
      share = 2 * size**3 / seconds / target.peak_flops
      self.assertBetween(share, 0.5, 1.05, name)

  def test_a_sum_runs_near_the_bandwidth(self):
    """On every generation, which checks clocks and bandwidths."""
    spec = tf.TensorSpec([8192, 8192])
    module = lowering.lower(tf.add, spec, spec)
    for name, target in compiler.TOPOLOGIES.items():
      seconds = self._compile(module, name).cycles / target.clock
      share = 3 * 4 * 8192**2 / seconds / target.bandwidth
      self.assertBetween(share, 0.4, 1.05, name)

  def test_out_of_memory(self):
    module = _product(2**18)
    for name, target in compiler.TOPOLOGIES.items():
      result = self._compile(module, name)
      needed, available = compiler.out_of_memory(result.error)
      # Two factors, one product.
      self.assertGreaterEqual(needed, 3 * 2 * 2**36)
      self.assertAllClose(available, target.hbm)


if __name__ == '__main__':
  tf.test.main()
