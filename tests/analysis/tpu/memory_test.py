"""Tests of analysis.tpu_memory: the search and what is said of it."""

from absl.testing import absltest

from official_coatnet.analysis.tpu import memory

_GIB = 2**30


def _needs(batch):
  """Not quite linear, as padding and fusion make it."""
  return 2.1 + 0.31 * batch + 0.05 * (batch % 7)


class TpuMemoryTest(absltest.TestCase):
  def test_largest_batch(self):
    """Found in few compilations, and exactly, wherever the search begins."""

    def sizes(batch):
      asked.append(batch)
      return _needs(batch), 16.0

    fitting = [b for b in range(1, 200) if _needs(b) <= 16.0]
    for start in (1, 16, 44, 300):
      asked = []
      largest, needs = memory.largest_batch(sizes, start)
      self.assertIn(largest, fitting)
      self.assertGreater(needs[largest + 1], 16.0)
      self.assertLess(len(asked), 10)
      self.assertLen(set(asked), len(asked))

  def test_largest_batch_where_the_compiler_makes_do(self):
    """Found though what it says it needs goes up in a step, or not at all."""
    for need in (
      lambda batch: 12.0 if batch <= 163_908 else 30.0,
      lambda batch: min(1e-4 * batch, 15.9) if batch <= 163_908 else 30.0,
      lambda batch: 1e-4 * batch if batch < 50_000 else 16.1,
    ):
      asked = []

      def sizes(batch, need=need, asked=asked):
        asked.append(batch)
        return need(batch), 16.0

      largest, _ = memory.largest_batch(sizes, 1_048_576, step=2)
      self.assertLessEqual(need(largest), 16.0)
      self.assertGreater(need(round(largest * 1.01)), 16.0)
      self.assertLess(len(asked), 30)
      self.assertLen(set(asked), len(asked))

  def test_largest_batch_of_even_ones_and_of_none(self):
    even, needs = memory.largest_batch(lambda b: (1.0 + b, 16.5), 64, step=2)
    self.assertEqual(even, 14)
    self.assertFalse([b for b in needs if b % 2])
    none, _ = memory.largest_batch(lambda b: (17.0 + b, 16.0), 8)
    self.assertEqual(none, 0)

  def test_out_of_memory_in_one_line(self):
    measured = {
      'batch_per_core': 64,
      'needed': 24.5 * _GIB,
      'available': 15.48 * _GIB,
    }
    self.assertEqual(
      memory.out_of_memory_line(measured, largest=38, topology='v3'),
      'Out of memory on v3: 64 images a core need 24.50 GiB of HBM, 15.48 GiB '
      'are available; the largest batch that fits is 38.',
    )
    self.assertIn(
      'not even the smallest',
      memory.out_of_memory_line(measured, largest=0, topology='v3'),
    )

  def test_format(self):
    measured = {
      'needed': 9.5 * _GIB,
      'available': 16 * _GIB,
      'cycles': 2_500_000,
      'memory': {'argument': 4 * _GIB, 'temp': 5.5 * _GIB},
    }
    self.assertEqual(
      memory.format_memory(measured),
      'Whole step: 9.50 GiB of HBM of 16.00 (argument 4.00, temp 5.50), 2.50 '
      'M cycles compiled as one.',
    )

  def test_what_the_compiler_accepts_fits(self):
    """Whatever its own figures add up to."""
    self.assertEqual(
      memory.needed_and_available(
        {'needed': 17, 'available': 16, 'fits': True}
      ),
      (16, 16),
    )
    self.assertEqual(
      memory.needed_and_available(
        {'needed': 17, 'available': 16, 'fits': False}
      ),
      (17, 16),
    )


if __name__ == '__main__':
  absltest.main()
