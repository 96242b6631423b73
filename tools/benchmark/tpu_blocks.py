"""CoAtNet's blocks, ours and Model Garden's, lowered for the TPU's compiler.

A block's module is its forward and backward pass: it takes an input and the
gradient of its output, and returns the output, the gradients of the input and
of all variables, and new BatchNorm statistics. The stem has no gradient of its
input, which is the image.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import tensorflow as tf
from official.projects.maxvit.modeling import (
  common_ops,
  layers as maxvit_layers,
)

from official_coatnet.analysis.tpu import lowering
from official_coatnet.modeling import blocks, sizes, stems


@dataclasses.dataclass(frozen=True)
class Block:
  """A block of a network with the layout C-C-T-T.

  Attributes:
    name: 's0' for the stem, else such as 's3_block1'.
    kind: 'S' for the stem, 'C' for MBConv, 'T' for transformer.
    width: Channels of the output.
    input_shape: (height, width, channels).
    stride: 1 or 2.
    count: How many such blocks the network has.
  """

  name: str
  kind: str
  width: int
  input_shape: tuple[int, int, int]
  stride: int
  count: int


def blocks_of(model: str, *, image_size: int) -> list[Block]:
  """Returns the distinct blocks of a network of the size table, in order."""
  size = sizes.get_size(model)
  side = -(-image_size // 2)
  found = [Block('s0', 'S', size.widths[0], (image_size, image_size, 3), 2, 1)]
  channels = size.widths[0]
  stages = zip(size.blocks[1:], size.widths[1:], 'CCTT')
  for i, (count, width, kind) in enumerate(stages, start=1):
    shape = (side, side, channels)
    found.append(Block(f's{i}_block0', kind, width, shape, 2, 1))
    side, channels = -(-side // 2), width
    shape = (side, side, channels)
    if count > 1:
      found.append(Block(f's{i}_block1', kind, width, shape, 1, count - 1))
  return found


@contextlib.contextmanager
def bfloat16_policy() -> Iterator[None]:
  """Makes layers compute in bfloat16: Model Garden's take no policy."""
  before = tf.keras.mixed_precision.global_policy()
  tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')
  try:
    yield
  finally:
    tf.keras.mixed_precision.set_global_policy(before)


def make_ours(
  block: Block, *, head_size: int, implementation: str
) -> tf.keras.layers.Layer:
  """Returns a block of this package."""
  common = dict(
    implementation=implementation,
    dtype=tf.keras.mixed_precision.global_policy(),
    name=block.name,
  )
  if block.kind == 'S':
    return stems.Stem(block.width, **common)
  if block.kind == 'C':
    return blocks.MBConvBlock(block.width, stride=block.stride, **common)
  return blocks.TransformerBlock(
    block.width, stride=block.stride, head_size=head_size, **common
  )


def make_peer(block: Block, *, head_size: int) -> tf.keras.layers.Layer:
  """Returns the block of Model Garden's MaxViT project.

  Its options are those of the paper and of our defaults: max pooling, and the
  stride in the first 1x1 convolution. (At the project's own defaults, the
  average and the depthwise convolution, the first MBConv block of a stage
  expands four times as many positions.) The rest is left as it is there.
  """
  if block.kind == 'S':
    return _peer_stem(block)
  if block.kind == 'C':
    return maxvit_layers.MBConvBlock(
      block.width,
      downsample_loc='expand_conv',
      pool_type='max',
      pool_stride=block.stride,
      name=block.name,
    )
  height, width = (-(-side // block.stride) for side in block.input_shape[:2])
  return maxvit_layers.TransformerBlock(
    block.width,
    head_size,
    height,
    width,
    pool_type='2d:max',
    pool_stride=block.stride,
    rel_attn_type='2d_multi_head',
    name=block.name,
  )


def _peer_stem(block: Block) -> tf.keras.layers.Layer:
  def conv(name, strides):
    return tf.keras.layers.Conv2D(
      block.width, 3, strides=strides, padding='same', name=name
    )

  return tf.keras.Sequential(
    [
      conv('conv_0', 2),
      tf.keras.layers.BatchNormalization(
        momentum=0.99, epsilon=1e-3, synchronized=True, name='norm_0'
      ),
      tf.keras.layers.Activation(common_ops.get_act_fn('gelu'), name='act_0'),
      conv('conv_1', 1),
    ],
    name=block.name,
  )


def lower(
  block: Block, make: Callable[[], tf.keras.layers.Layer], *, batch_size: int
) -> bytes:
  """Lowers the forward and backward pass of a block in bfloat16.

  Args:
    block: The block.
    make: Makes its layer.
    batch_size: Images.
  """
  with bfloat16_policy():
    return _lower(block, make(), batch_size=batch_size)


def _lower(block, layer, *, batch_size):
  spec = tf.TensorSpec([batch_size, *block.input_shape], tf.bfloat16)
  with lowering.unallocated_variables():
    layer.build(spec.shape)
    forward = tf.function(lambda x: layer(x, training=True))
    d_y_spec = tf.TensorSpec(
      forward.get_concrete_function(spec).output_shapes, tf.bfloat16
    )

  def both_passes(x, d_y):
    variables = list(layer.trainable_variables)
    sources = variables if block.kind == 'S' else [x, *variables]
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = layer(x, training=True)
    return y, tape.gradient(y, sources, output_gradients=d_y)

  return lowering.lower(both_passes, spec, d_y_spec)
