import collections

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from official_coatnet.analysis.tpu import lowering, step
from tests.fixtures import experiments as fixture

_PRODUCTS = ('convolution', 'dot')


def _experiment(*, microbatches=1, **model):
  """Three blocks in S3; everything that a step may have."""
  return fixture.make_experiment(
    model={
      'blocks': (2, 1, 1, 3, 1),
      'dtype': 'mixed_bfloat16',
      'stochastic_depth': 0.2,
      **model,
    },
    train_data={'mixup_alpha': 0.8},
    optimizer={'ema_decay': 0.9, 'microbatches': microbatches},
  )


def _proto(module):
  return hlo_pb2.HloModuleProto.FromString(module)


def _opcodes(module):
  return collections.Counter(
    instruction.opcode
    for computation in _proto(module).computations
    for instruction in computation.instructions
  )


def _element_types(module):
  return {
    instruction.shape.element_type
    for computation in _proto(module).computations
    for instruction in computation.instructions
    if instruction.opcode in _PRODUCTS
  }


def _parameters(module):
  proto = hlo_pb2.HloModuleProto.FromString(module)
  return [
    list(shape.dimensions) for shape in proto.host_program_shape.parameters
  ]


class StepTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.experiment = _experiment()
    cls.parts = step.lower_parts(cls.experiment)
    cls.step = step.lower_step(cls.experiment)

  def test_parts(self):
    forward = [p for p in self.parts if p.stage != 'optimizer']
    update = [p for p in self.parts if p.stage == 'optimizer']
    self.assertEqual(
      [(p.name, p.stage, p.count) for p in forward],
      [
        ('s0', 's0', 1),
        ('s1_block0', 's1', 1),
        ('s2_block0', 's2', 1),
        ('s3_block0', 's3', 1),
        # Of stride 1, unlike the first.
        ('s3_block1', 's3', 2),
        ('s4_block0', 's4', 1),
        ('head', 'head', 1),
      ],
    )
    self.assertEqual(
      [(p.name, p.count) for p in update],
      [(f'update of {p.name}', p.count) for p in forward],
    )

  def test_parts_make_the_whole_step(self):
    """Convolutions and products of all parts are those of the one module."""
    total = collections.Counter()
    for part in self.parts:
      for opcode, count in _opcodes(part.module).items():
        total[opcode] += part.count * count
    whole = _opcodes(self.step)
    for opcode in _PRODUCTS:
      self.assertGreater(whole[opcode], 20)
      self.assertEqual(total[opcode], whole[opcode], opcode)

  def test_rematerialized_and_microbatches(self):
    """The parts of S3 are computed twice, and all but the update per part."""
    plain = {p.name: p for p in self.parts}
    parts = step.lower_parts(
      _experiment(rematerialize=('s3',), microbatches=2),
      stages=['s2', 's3'],
    )
    self.assertEqual([p.count for p in parts], [2, 2, 4])
    for part in parts:
      before, after = (
        sum(_opcodes(p.module)[opcode] for opcode in _PRODUCTS)
        for p in (plain[part.name], part)
      )
      if part.stage == 's3':
        # A third of the products are of the forward pass.
        self.assertAlmostEqual(after / before, 4 / 3, delta=0.1)
      else:
        self.assertEqual(after, before)

  def test_step_computes_in_bfloat16_and_assigns_all_variables(self):
    self.assertIn(16, _element_types(self.step))  # BF16 of xla_data.proto.
    proto = _proto(self.step)
    outputs = len(proto.host_program_shape.result.tuple_shapes)
    self.assertLen(proto.input_output_alias.entries, outputs)
    # Weights, two moments and an average of each, and the counters.
    self.assertGreater(outputs, 4 * 60)

  def test_stochastic_depth_is_in_the_parts(self):
    """A block that draws hashes its keys; the first block never drops."""
    by_name = {p.name: _opcodes(p.module) for p in self.parts}
    self.assertGreater(by_name['s2_block0']['xor'], 0)
    self.assertEqual(by_name['s1_block0']['xor'], 0)

  def test_equal_blocks_of_other_runs_are_equal_modules(self):
    """Rate of stochastic depth, place and name do not matter; shapes do."""
    other = step.lower_parts(
      _experiment(blocks=(2, 1, 1, 2, 1), stochastic_depth=0.4), stages=['s3']
    )
    hashes = {p.name: lowering.content_hash(p.module) for p in self.parts}
    self.assertLen(other, 2)
    for part in other:
      self.assertEqual(lowering.content_hash(part.module), hashes[part.name])
    self.assertNotEqual(hashes['s3_block1'], hashes['s4_block0'])

  def test_batch_per_core(self):
    experiment = step.with_batch(self.experiment, 6)
    specs = step.batch_specs(experiment)
    self.assertEqual(specs['image'].shape, [6, 32, 32, 3])
    self.assertEqual(specs['image'].dtype, tf.uint8)
    self.assertEqual(specs['mixup_ratio'].shape, [6])
    with self.assertRaisesRegex(ValueError, 'must be even with mixup'):
      step.lower_parts(step.with_batch(self.experiment, 5))


class ForwardTest(tf.test.TestCase):
  def test_parts(self):
    """The two products of a look-up are there, or its result is read."""
    experiment = fixture.make_experiment(
      model={'blocks': (2, 1, 1, 2, 1), 'dtype': 'mixed_bfloat16'}
    )
    parts = {}
    for cache_bias in (False, True):
      lowered = step.lower_forward(experiment, cache_bias=cache_bias)
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
