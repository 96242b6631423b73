"""Tests of analysis.tpu_depths: depths, arithmetic and what is said."""

from unittest import mock

from absl.testing import absltest

from official_coatnet.analysis.tpu import (
  compiler,
  depths as depths_lib,
  memory as memory_lib,
)
from tests.fixtures import experiments as fixture

_GIB = 2**30


def _network(blocks, *, batch_per_core=8, available=16 * _GIB):
  """A network whose memory is linear in the depth of each stage."""
  s1, s2, s3, s4 = blocks[1:]
  memory = {
    'argument': 100 + 10 * s1 + 40 * s2 + 160 * s3 + 640 * s4,
    'output': 90 + 10 * s1 + 40 * s2 + 160 * s3 + 640 * s4,
    'alias': 90 + 10 * s1 + 40 * s2 + 160 * s3 + 640 * s4,
    'temp': 5000 + batch_per_core * (90 * s1 + 50 * s2 + 20 * s3 + 10 * s4),
    'code': 7 * sum(blocks),
  }
  needed = compiler.Compiled(memory=memory).memory_needed
  result = {'batch_per_core': batch_per_core, 'available': available}
  if needed > available:
    return result | {'fits': False, 'needed': float(needed)}
  return result | {
    'fits': True,
    'needed': needed,
    'cycles': 1000 + 30 * s2 + 20 * s3,
    'memory': memory,
    'compile_seconds': 100.0,
  }


def _predict(blocks, **kwargs):
  shallow = depths_lib.shallow_depths(blocks)
  return depths_lib.extrapolate(
    {depths: _network(depths, **kwargs) for depths in shallow}, blocks
  )


class TpuDepthsTest(absltest.TestCase):
  def test_depths(self):
    self.assertEqual(
      depths_lib.shallow_depths((2, 2, 12, 28, 2)),
      ((2, 2, 2, 2, 2), (2, 2, 4, 2, 2), (2, 2, 2, 4, 2)),
    )
    # None is deeper than the network.
    self.assertEqual(
      depths_lib.shallow_depths((2, 1, 2, 3, 1)),
      ((2, 1, 2, 2, 1), (2, 1, 2, 3, 1)),
    )
    # ViT_REL has one stage behind its stem.
    self.assertEqual(depths_lib.shallow_depths((1, 13)), ((1, 2), (1, 4)))
    self.assertEqual(depths_lib.shallow_depths((2, 1)), ((2, 1),))

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
      _network(depths)['needed'] for depths in depths_lib.shallow_depths(blocks)
    )
    for available in (sizes[0], sizes[0] - 1):
      predicted = _predict(blocks, available=available)
      self.assertFalse(predicted['fits'])
      self.assertEqual(predicted['needed'], needed)
      self.assertNotIn('memory', predicted)

  def test_it_says_that_it_is_extrapolated(self):
    blocks = (2, 2, 12, 28, 2)
    text = memory_lib.format_memory(_predict(blocks))
    self.assertIn('extrapolation', text)
    self.assertIn('2-2-2-2-2, 2-2-4-2-2, 2-2-2-4-2', text)
    line = memory_lib.out_of_memory_line(
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

    with mock.patch.object(memory_lib, 'measure', measure):
      predicted = depths_lib.measure(
        experiment,
        topology='v3',
        batch_per_core=4,
        cache_dir=None,
        on_measured=lambda *args: done.append(args),
      )
    self.assertEqual(seen, [(2, 1, 2, 2, 1), (2, 1, 3, 2, 1), (2, 1, 2, 4, 1)])
    self.assertEqual(done, [(1, 3), (2, 3), (3, 3)])
    self.assertEqual(
      predicted['needed'],
      _network((2, 1, 3, 5, 1), batch_per_core=4)['needed'],
    )


if __name__ == '__main__':
  absltest.main()
