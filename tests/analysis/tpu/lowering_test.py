import collections

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from official_coatnet.analysis.tpu import lowering


def _opcodes(module):
  proto = hlo_pb2.HloModuleProto.FromString(module)
  return collections.Counter(
    instruction.opcode
    for computation in proto.computations
    for instruction in computation.instructions
  )


def _convolution(size, *, name, scale=1.0):
  """Returns a function of a new variable and the spec of its argument."""
  with lowering.unallocated_variables():
    kernel = tf.Variable(tf.zeros([3, 3, 4, 4]), name=f'{name}_kernel')
    counter = tf.Variable(0, name=f'{name}_counter')

  def run(inputs):
    with tf.name_scope(name):
      counter.assign_add(1)
      y = tf.nn.conv2d(inputs['x'], kernel, 1, 'SAME') * scale
      return tf.transpose(y @ tf.ones([4, 5]), [0, 3, 1, 2])

  return run, {'x': tf.TensorSpec([2, size, size, 4])}


def _resident_megabytes():
  with open('/proc/self/status') as f:
    line = next(line for line in f if line.startswith('VmRSS'))
  return int(line.split()[1]) // 1024


class TpuLoweringTest(tf.test.TestCase):
  def test_module(self):
    """One convolution, one product, no copy; the counter shares memory."""
    module = lowering.lower(*_convolution(8, name='block'))
    opcodes = _opcodes(module)
    self.assertEqual(opcodes['convolution'], 1)
    self.assertEqual(opcodes['dot'], 1)
    self.assertNotIn('copy', opcodes)
    proto = hlo_pb2.HloModuleProto.FromString(module)
    self.assertLen(proto.host_program_shape.parameters, 3)
    self.assertLen(proto.input_output_alias.entries, 1)
    metadata = [x.metadata for c in proto.computations for x in c.instructions]
    self.assertIn('block/Conv2D', {m.op_name for m in metadata})
    self.assertEqual({m.source_file for m in metadata}, {''})

  def test_hash_is_of_content_alone(self):
    first = lowering.lower(*_convolution(8, name='first'))
    other_name = lowering.lower(*_convolution(8, name='second'))
    other_size = lowering.lower(*_convolution(9, name='first'))
    other_constant = lowering.lower(*_convolution(8, name='first', scale=2.0))
    self.assertNotEqual(first, other_name)
    hashes = [
      lowering.content_hash(m)
      for m in (first, other_name, other_size, other_constant)
    ]
    self.assertEqual(hashes[0], hashes[1])
    self.assertLen(set(hashes), 3)

  def test_unallocated_variables(self):
    """Four gigabytes cost nothing; scalars keep their values."""
    before = _resident_megabytes()
    with lowering.unallocated_variables():
      layer = tf.keras.layers.Dense(2**14)
      layer(tf.keras.Input([2**14]))
      average = tf.Variable(layer.kernel, name='average')
      optimizer = tf.keras.optimizers.legacy.Adam()
      optimizer._create_all_weights([layer.kernel])
      counter = tf.Variable(3)
    self.assertLess(_resident_megabytes() - before, 500)
    for variable in (
      layer.kernel,
      average,
      optimizer.get_slot(layer.kernel, 'm'),
    ):
      self.assertEqual(variable.shape, [2**14, 2**14])
    self.assertEqual(counter.numpy(), 3)
    # And only in the context.
    self.assertAllEqual(tf.Variable(tf.ones([2])), [1, 1])

  def test_dynamic_shape(self):
    with self.assertRaisesRegex(ValueError, 'static'):
      lowering.lower(tf.identity, tf.TensorSpec([None, 2]))


if __name__ == '__main__':
  tf.test.main()
