"""Parameters and multiply-adds of a network, counted from the built model.

The paper's "FLOPs" are multiply-adds (its 4.2B for CoAtNet-0 is 4.2e9 of them).
They are counted from the operations of the traced forward pass, for one image:
convolutions, matrix products and einsums, which is everything but element-wise
work. The look-up of the relative bias does not depend on the image, and is
cached at inference (appendix A.1): it is counted on its own.
"""

import dataclasses
import math
import re

import tensorflow as tf

from official_coatnet.modeling import (
  config as config_lib,
  network,
  relative_bias,
)


@dataclasses.dataclass(frozen=True)
class Count:
  """Counts of one stage, or of the whole network.

  Attributes:
    name: 's0' and on, 'head', or the network's name.
    params: Trainable parameters.
    multiply_adds: For one image.
    lookup_multiply_adds: Of the relative-bias look-ups, whatever the batch.
    output_shape: [height, width, channels] of the stage's output, or [classes].
  """

  name: str
  params: int
  multiply_adds: int
  lookup_multiply_adds: int
  output_shape: tuple[int, ...]


def stage_of(layer_name: str) -> str:
  """Returns the stage of a top-level layer: 's0' and on, or 'head'."""
  match = re.match(r's\d+', layer_name)
  return match.group() if match else 'head'


def count_params(model: tf.keras.Model) -> int:
  """Returns the number of trainable parameters."""
  return sum(v.shape.num_elements() for v in model.trainable_variables)


def _einsum_multiply_adds(op: tf.Operation) -> int:
  """Multiply-adds of an einsum: the product of all distinct dimensions."""
  terms = op.get_attr('equation').decode().split('->')[0].split(',')
  sizes: dict[str, int] = {}
  for term, tensor in zip(terms, op.inputs):
    sizes.update(zip(term, tensor.shape))
  # One operand (a transpose or a sum) multiplies nothing.
  return math.prod(sizes.values()) if len(terms) > 1 else 0


def _op_multiply_adds(op: tf.Operation) -> int:
  """Returns the multiply-adds of one operation with static shapes."""
  if op.type == 'Einsum':
    return _einsum_multiply_adds(op)
  if op.type == 'Conv2D':
    kernel = op.inputs[1].shape  # [height, width, in, out]
    return op.outputs[0].shape.num_elements() * math.prod(kernel[:3])
  if op.type == 'DepthwiseConv2dNative':
    kernel = op.inputs[1].shape  # [height, width, channels, multiplier]
    return op.outputs[0].shape.num_elements() * math.prod(kernel[:2])
  if op.type in ('MatMul', 'BatchMatMulV2'):
    axis = -2 if op.get_attr(_TRANSPOSE[op.type]) else -1
    return op.outputs[0].shape.num_elements() * op.inputs[0].shape[axis]
  return 0


_TRANSPOSE = {'MatMul': 'transpose_a', 'BatchMatMulV2': 'adj_x'}


def _multiply_adds_by_stage(
  model: tf.keras.Model,
) -> dict[tuple[str, bool], int]:
  """Returns multiply-adds by (stage, whether it is a relative-bias look-up)."""
  specs = [
    tf.TensorSpec([1, *x.shape[1:]], x.dtype)
    for x in tf.nest.flatten(model.inputs)
  ]

  def forward(*inputs):
    packed = tf.nest.pack_sequence_as(model.input, inputs)
    return model(packed, training=False)

  graph = tf.function(forward).get_concrete_function(*specs).graph
  stages = {layer.name: stage_of(layer.name) for layer in model.layers}
  counts: dict[tuple[str, bool], int] = {}
  for op in graph.get_operations():
    multiply_adds = _op_multiply_adds(op)
    if not multiply_adds:
      continue
    scopes = op.name.split('/')
    layer = next(s for s in scopes if s in stages)
    key = (stages[layer], relative_bias.SCOPE in scopes)
    counts[key] = counts.get(key, 0) + multiply_adds
  return counts


def count(config: config_lib.ModelConfig) -> list[Count]:
  """Counts a classifier by its configuration; the last is the whole of it.

  It is built without values for its weights, so that the largest takes seconds
  and no memory to speak of. Otherwise as `count_stages`.
  """
  with tf.Graph().as_default():
    return count_stages(network.classifier(config))


def count_stages(model: tf.keras.Model) -> list[Count]:
  """Counts each stage of a classifier or a backbone.

  Args:
    model: From `network.classifier` or `network.backbone`.

  Returns:
    A `Count` for S0 and on, for the head if there is one, and last for the
    whole network under the model's name.
  """
  multiply_adds = _multiply_adds_by_stage(model)
  params: dict[str, int] = {}
  shapes: dict[str, tuple[int, ...]] = {}
  for layer in model.layers:
    if isinstance(layer, tf.keras.layers.InputLayer):
      continue
    stage = stage_of(layer.name)
    params[stage] = params.get(stage, 0) + sum(
      v.shape.num_elements() for v in layer.trainable_variables
    )
    shapes[stage] = tuple(layer.output_shape[1:])
  counts = [
    Count(
      name=stage,
      params=params[stage],
      multiply_adds=multiply_adds.get((stage, False), 0),
      lookup_multiply_adds=multiply_adds.get((stage, True), 0),
      output_shape=shapes[stage],
    )
    for stage in params
  ]
  total = Count(
    name=model.name,
    params=sum(c.params for c in counts),
    multiply_adds=sum(c.multiply_adds for c in counts),
    lookup_multiply_adds=sum(c.lookup_multiply_adds for c in counts),
    output_shape=counts[-1].output_shape,
  )
  return [*counts, total]
