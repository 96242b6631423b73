"""Tests of tools/benchmark/tpu.py, without the TPU's compiler."""

import functools
import math

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tools.benchmark import tpu, tpu_blocks


class TpuBenchmarkTest(tf.test.TestCase):
  def test_blocks_of_coatnet_3(self):
    blocks = tpu_blocks.blocks_of('coatnet_3', image_size=224)
    self.assertEqual(
      [b.name for b in blocks],
      ['s0'] + [f's{i}_block{j}' for i in range(1, 5) for j in range(2)],
    )
    self.assertEqual([b.count for b in blocks], [1, 1, 1, 1, 5, 1, 13, 1, 1])
    self.assertEqual(
      [b.input_shape for b in blocks[1:7:2]],
      [(112, 112, 192), (56, 56, 192), (28, 28, 384)],
    )
    self.assertEqual([b.kind for b in blocks], list('SCCCCTTTT'))

  def test_table_ends_with_the_ratio_of_sums(self):
    blocks = [
      tpu_blocks.Block('s1_block0', 'C', 8, (4, 4, 8), 2, 1),
      tpu_blocks.Block('s1_block1', 'C', 8, (2, 2, 8), 1, 3),
    ]
    cycles = {}
    for name, ours, peer in (('s1_block0', 2e6, 4e6), ('s1_block1', 1e6, 2e6)):
      cycles['ours', name] = int(ours)
      cycles['peer', name] = int(peer)
    lines = tpu.table(blocks, cycles, clock=1e9, batch_size=10)
    self.assertIn('5.00    10.00', lines[-3])
    self.assertIn('2000.0   1000.0', lines[-2])
    self.assertEqual(lines[-1], 'ours / peer: 0.500')

  def test_ours_and_the_peer_take_and_return_the_same(self):
    for block in (
      tpu_blocks.Block('s1_block0', 'C', 8, (4, 4, 8), 2, 1),
      tpu_blocks.Block('s3_block0', 'T', 8, (4, 4, 4), 2, 1),
    ):
      with self.subTest(block.name):
        # Shapes differ where the peer has the positions in one axis.
        sizes = []
        for make in (
          functools.partial(tpu_blocks.make_ours, implementation='tpu'),
          tpu_blocks.make_peer,
        ):
          module = tpu_blocks.lower(
            block, functools.partial(make, block, head_size=4), batch_size=2
          )
          shape = hlo_pb2.HloModuleProto.FromString(module).host_program_shape
          sizes.append(
            sorted(
              math.prod(s.dimensions)
              for s in (*shape.parameters, *shape.result.tuple_shapes)
            )
          )
        self.assertEqual(*sizes)


if __name__ == '__main__':
  tf.test.main()
