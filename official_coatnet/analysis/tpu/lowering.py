"""From a TensorFlow function to the XLA module that a TPU's compiler takes.

And from a network to its distinct parts, each of which is lowered once. Nothing
is run and, with `unallocated_variables`, nothing is stored: the training step
of the largest network is lowered in a few hundred megabytes.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from official_coatnet.modeling import complexity, network, rematerialize
from official_coatnet.training import experiment as experiment_lib

# The rate and the salt of a block's stochastic depth are constants that do not
# change its cost. With these in their place equal blocks are equal modules.
_SALT, _DROP_RATE = 0, 0.5


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


@dataclasses.dataclass
class Group:
  """Layers that one part is made of, and how often the network has them."""

  name: str
  stage: str
  layers: list[tf.keras.layers.Layer]
  count: int = 1


def layer_groups(experiment: experiment_lib.Experiment) -> list[Group]:
  """Groups the network's layers into its distinct parts."""
  with unallocated_variables():
    model = network.classifier(experiment.model, draw_keys=True)
  groups, head = {}, None
  for layer in model.layers:
    if isinstance(layer, tf.keras.layers.InputLayer):
      continue
    stage = complexity.stage_of(layer.name)
    if stage == 'head':
      if head is None:
        head = groups['head'] = Group('head', stage, [])
      head.layers.append(layer)
      continue
    key = (stage, layer.input_shape, _settings(layer))
    if key in groups:
      groups[key].count += 1
    else:
      groups[key] = Group(layer.name, stage, [layer])
  return list(groups.values())


def _normal_config(layer: tf.keras.layers.Layer) -> dict:
  config = layer.get_config()
  if 'drop_rate' in config:
    config['salt'] = _SALT
    config['drop_rate'] = _DROP_RATE if config['drop_rate'] else 0.0
  return config


def _settings(layer: tf.keras.layers.Layer) -> str:
  """Returns all that makes a layer what it is, but for its name."""
  config = {**_normal_config(layer), 'name': None}
  return type(layer).__name__ + json.dumps(config, sort_keys=True, default=str)


def copy_layers(
  layers: list[tf.keras.layers.Layer], *, recompute: bool = False
) -> tf.keras.Model:
  """Copies a chain, `recompute`d or not; rate and salt become constants."""
  first = layers[0]
  inputs = {
    'x': tf.keras.Input(first.input_shape[1:], dtype=first.input.dtype.name)
  }
  keys = {}
  if 'draw_keys' in first.inbound_nodes[0].call_kwargs:
    inputs['draw_keys'] = tf.keras.Input((), dtype=tf.int32, name='draw_keys')
    keys = {'draw_keys': inputs['draw_keys']}
  with unallocated_variables():
    x = inputs['x']
    for layer in layers:
      twin = type(layer).from_config(_normal_config(layer))
      if recompute:
        twin = rematerialize.rematerialize(twin)
      x = twin(x, **keys)
    return tf.keras.Model(inputs, x)
