"""The search for a batch, shallower networks, and what is said of both."""

from unittest import mock

from absl.testing import absltest

from official_coatnet.analysis.tpu import compiler, memory
from tests.fixtures import experiments as fixture

_GIB = 2**30


def _needs(batch):
  """Not quite linear, as padding and fusion make it."""
  return 2.1 + 0.31 * batch + 0.05 * (batch % 7)


class MemoryTest(absltest.TestCase):
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


def _network(blocks, *, batch_per_core=8, available=16 * _GIB):
  """A network whose memory is linear in the depth of each stage."""
  s1, s2, s3, s4 = blocks[1:]
  sizes = {
    'argument': 100 + 10 * s1 + 40 * s2 + 160 * s3 + 640 * s4,
    'output': 90 + 10 * s1 + 40 * s2 + 160 * s3 + 640 * s4,
    'alias': 90 + 10 * s1 + 40 * s2 + 160 * s3 + 640 * s4,
    'temp': 5000 + batch_per_core * (90 * s1 + 50 * s2 + 20 * s3 + 10 * s4),
    'code': 7 * sum(blocks),
  }
  needed = compiler.Compiled(memory=sizes).memory_needed
  result = {'batch_per_core': batch_per_core, 'available': available}
  if needed > available:
    return result | {'fits': False, 'needed': float(needed)}
  return result | {
    'fits': True,
    'needed': needed,
    'cycles': 1000 + 30 * s2 + 20 * s3,
    'memory': sizes,
    'compile_seconds': 100.0,
  }


def _predict(blocks, **kwargs):
  shallow = memory.shallow_depths(blocks)
  return memory.extrapolate(
    {depths: _network(depths, **kwargs) for depths in shallow}, blocks
  )


class DepthsTest(absltest.TestCase):
  def test_depths(self):
    self.assertEqual(
      memory.shallow_depths((2, 2, 12, 28, 2)),
      ((2, 2, 2, 2, 2), (2, 2, 4, 2, 2), (2, 2, 2, 4, 2)),
    )
    # None is deeper than the network.
    self.assertEqual(
      memory.shallow_depths((2, 1, 2, 3, 1)),
      ((2, 1, 2, 2, 1), (2, 1, 2, 3, 1)),
    )
    # ViT_REL has one stage behind its stem.
    self.assertEqual(memory.shallow_depths((1, 13)), ((1, 2), (1, 4)))
    self.assertEqual(memory.shallow_depths((2, 1)), ((2, 1),))

  def test_what_is_linear_is_predicted_exactly(self):
    for blocks in ((2, 2, 12, 28, 2), (2, 2, 3, 5, 2), (2, 2, 2, 2, 2)):
      predicted, whole = _predict(blocks), _network(blocks)
      self.assertTrue(predicted['fits'])
      for key in ('needed', 'available', 'cycles', 'memory', 'batch_per_core'):
        self.assertEqual(predicted[key], whole[key], key)

  def test_what_does_not_fit(self):
    blocks = (2, 2, 12, 28, 2)
    needed = _network(blocks)['needed']
    # All shallow networks fit, the deep one does not.
    predicted = _predict(blocks, available=needed - 1)
    self.assertFalse(predicted['fits'])
    self.assertEqual(predicted['needed'], needed)
    self.assertTrue(_predict(blocks, available=needed)['fits'])
    # One of them, or none, fits alone.
    sizes = sorted(
      _network(depths)['needed'] for depths in memory.shallow_depths(blocks)
    )
    for available in (sizes[0], sizes[0] - 1):
      predicted = _predict(blocks, available=available)
      self.assertFalse(predicted['fits'])
      self.assertEqual(predicted['needed'], needed)
      self.assertNotIn('memory', predicted)

  def test_it_says_that_it_is_extrapolated(self):
    blocks = (2, 2, 12, 28, 2)
    text = memory.format_memory(_predict(blocks))
    self.assertIn('extrapolation', text)
    self.assertIn('2-2-2-2-2, 2-2-4-2-2, 2-2-2-4-2', text)
    line = memory.out_of_memory_line(
      _predict(blocks, available=1000), largest=0, topology='v3'
    )
    self.assertIn('(extrapolated from shallower networks)', line)

  def test_measure(self):
    """Each depth is compiled as it is, with all else of the run."""
    experiment = fixture.make_experiment(model={'blocks': (2, 1, 3, 5, 1)})
    seen, done = [], []

    def measure(experiment, *, topology, batch_per_core, cache_dir):
      self.assertEqual((topology, cache_dir), ('v3', None))
      seen.append(experiment.model.blocks)
      return _network(experiment.model.blocks, batch_per_core=batch_per_core)

    with mock.patch.object(memory, 'measure', measure):
      predicted = memory.measure_by_depths(
        experiment,
        topology='v3',
        batch_per_core=4,
        cache_dir=None,
        progress=lambda *args: done.append(args),
      )
    self.assertEqual(seen, [(2, 1, 2, 2, 1), (2, 1, 3, 2, 1), (2, 1, 2, 4, 1)])
    self.assertEqual(done, [(1, 3), (2, 3), (3, 3)])
    self.assertEqual(
      predicted['needed'],
      _network((2, 1, 3, 5, 1), batch_per_core=4)['needed'],
    )


if __name__ == '__main__':
  absltest.main()
