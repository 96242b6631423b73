"""From a TensorFlow function to the XLA module that a TPU's compiler takes.

Nothing is run and, with `unallocated_variables`, nothing is stored: the
training step of the largest network is lowered in a few hundred megabytes.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2


@contextlib.contextmanager
def unallocated_variables() -> Iterator[None]:
  """Variables made in this context have shape and dtype, but no values.

  Their memory is reserved and never touched, so that the system gives none.
  Scalars, counters above all, keep their values.
  """

  def create(next_creator, **kwargs):
    initial = kwargs['initial_value']
    shape, dtype = kwargs.get('shape'), kwargs.get('dtype')
    if shape is None and callable(initial):
      # In a graph it is described and not computed: an optimizer's slots.
      with tf.Graph().as_default():
        initial = tf.convert_to_tensor(initial(), dtype)
    if shape is None and isinstance(initial, (tf.Tensor, tf.Variable)):
      shape, dtype = initial.shape, initial.dtype
    if shape is not None and tf.TensorShape(shape).rank:
      kwargs['initial_value'] = lambda: tf.raw_ops.Empty(
        shape=tf.TensorShape(shape).as_list(), dtype=tf.as_dtype(dtype)
      )
    return next_creator(**kwargs)

  with tf.variable_creator_scope(create):
    yield


def lower(function: Callable, *specs) -> bytes:
  """Lowers a function to XLA, without running it.

  Args:
    function: Takes tensors, and may read and assign variables: those become
      parameters and results that share their memory.
    *specs: `tf.TensorSpec`s of its arguments, or structures of them; all shapes
      static.

  Returns:
    A serialized HloModuleProto that a current XLA takes, without the paths of
    this machine's source files.
  """
  flat = tf.nest.flatten(specs)

  # TensorFlow's generator takes specs for flat arguments only.
  @tf.function(jit_compile=True)
  def flat_function(*args):
    return function(*tf.nest.pack_sequence_as(specs, args))

  generate = flat_function.experimental_get_compiler_ir(*flat)
  serialized = generate(stage='hlo_serialized')
  module = hlo_pb2.HloModuleProto.FromString(serialized)
  for computation in module.computations:
    for instruction in computation.instructions:
      # A layout that TensorFlow asks for by name; XLA's importer knows no copy,
      # and the compiler chooses its own layouts anyway.
      if instruction.opcode == 'copy':
        instruction.opcode = 'reshape'
      instruction.metadata.source_file = ''
      instruction.metadata.source_line = 0
  return module.SerializeToString(deterministic=True)


def content_hash(module: bytes) -> str:
  """Returns a hash of what a module computes: names and numbers do not count.

  Two blocks of equal shapes have the same hash, whatever their layers are
  called and whenever they were traced.

  Args:
    module: From `lower`.
  """
  proto = hlo_pb2.HloModuleProto.FromString(module)
  proto.name = proto.entry_computation_name = ''
  proto.id = 0
  computations = {c.id: i for i, c in enumerate(proto.computations, 1)}
  proto.entry_computation_id = computations[proto.entry_computation_id]
  for computation in proto.computations:
    computation.id = computations[computation.id]
    computation.name = ''
    numbers = {x.id: i for i, x in enumerate(computation.instructions, 1)}
    computation.root_id = numbers[computation.root_id]
    for x in computation.instructions:
      x.id = numbers[x.id]
      x.name = ''
      x.ClearField('metadata')
      for field, table in (
        (x.operand_ids, numbers),
        (x.control_predecessor_ids, numbers),
        (x.called_computation_ids, computations),
      ):
        field[:] = [table[i] for i in field]
  proto.host_program_shape.parameter_names[:] = []
  serialized = proto.SerializeToString(deterministic=True)
  return hashlib.sha256(serialized).hexdigest()
