"""Tests of analysis.tpu_forward."""

import collections

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from official_coatnet.analysis.tpu import forward
from tests.fixtures import experiments as fixture


def _opcodes(module):
  proto = hlo_pb2.HloModuleProto.FromString(module)
  return collections.Counter(
    instruction.opcode
    for computation in proto.computations
    for instruction in computation.instructions
  )


def _parameters(module):
  proto = hlo_pb2.HloModuleProto.FromString(module)
  return [
    list(shape.dimensions) for shape in proto.host_program_shape.parameters
  ]


class TpuForwardTest(tf.test.TestCase):
  def test_parts(self):
    """The two products of a look-up are there, or its result is read."""
    experiment = fixture.make_experiment(
      model={'blocks': (2, 1, 1, 2, 1), 'dtype': 'mixed_bfloat16'}
    )
    parts = {}
    for cache_bias in (False, True):
      lowered = forward.lower_forward(experiment, cache_bias=cache_bias)
      parts[cache_bias] = {p.name: p for p in lowered}
      self.assertEqual(
        {p.name: p.count for p in lowered},
        {
          's0': 1,
          's1_block0': 1,
          's2_block0': 1,
          's3_block0': 1,
          's3_block1': 1,
          's4_block0': 1,
          'head': 1,
        },
      )
    looked_up, cached = (
      parts[cache_bias]['s3_block1'].module for cache_bias in (False, True)
    )
    # Query, key, logits, value, mixture, output and two of the network.
    self.assertEqual(_opcodes(cached)['dot'], 8)
    self.assertEqual(_opcodes(looked_up)['dot'], 8 + 2)
    heads, length = 32 // 16, 2 * 2
    self.assertIn([heads, length, length], _parameters(cached))
    self.assertNotIn([heads, length, length], _parameters(looked_up))
    # Statistics are read and not moved: nothing is assigned.
    convolution = hlo_pb2.HloModuleProto.FromString(
      parts[False]['s1_block0'].module
    )
    self.assertEmpty(convolution.input_output_alias.entries)


if __name__ == '__main__':
  tf.test.main()
