"""A way through the blocks of a GIF, in graph operations and of bounded length.

A GIF has a size for each frame, whatever its header says, and TensorFlow reads
all frames even where the first alone is wanted. So who is to know what it will
cost has to go from block to block, and a step of a loop in a graph takes tens
of microseconds: a file of three-byte blocks would take minutes. What encoders
write takes few steps, for a run of chunks of equal length is one.
"""

import tensorflow as tf

# Steps after which the way ends: half a second of CPU. A frame takes five, so
# that an animation of 4,000 frames is gone through.
MAX_STEPS = 20_000
# Chunks of a run that are looked at in one step.
_RUN = 1024
# Bytes of a GIF: the header with the size of the screen, and the blocks.
_HEADER = 13
_IMAGE, _EXTENSION = 0x2C, 0x21
# An image block from its first byte to its colour table, the flags last.
_IMAGE_HEADER = 10


def count_pixels(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Adds up the frames of a GIF.

  Args:
    encoded: scalar string tensor, the file; it may be cut off, or no GIF.

  Returns:
    Height x width of all frames together, scalar int64; and whether that is
    all, scalar bool: False where `MAX_STEPS` were not enough.
  """
  size = tf.strings.length(encoded, unit='BYTE')
  # Zeros behind it, so that a header that is cut off can be read over its end.
  padded = tf.strings.join([encoded, b'\0' * 16])
  data = tf.io.decode_raw(padded, tf.uint8)

  def byte(position: tf.Tensor) -> tf.Tensor:
    return tf.cast(data[tf.minimum(position, size)], tf.int32)

  def integer(position: tf.Tensor) -> tf.Tensor:
    return tf.cast(byte(position) + 256 * byte(position + 1), tf.int64)

  def colors(flags: tf.Tensor) -> tf.Tensor:
    """Bytes of a colour table."""
    table = 3 * tf.bitwise.left_shift(2, tf.bitwise.bitwise_and(flags, 7))
    return tf.where(flags >= 128, table, 0)

  def is_inside(at: tf.Tensor, in_chunks: tf.Tensor, *_: tf.Tensor):
    kind = byte(at)
    is_block = tf.logical_or(tf.equal(kind, _IMAGE), tf.equal(kind, _EXTENSION))
    return tf.logical_and(at < size, tf.logical_or(in_chunks, is_block))

  def pass_run(at: tf.Tensor, pixels: tf.Tensor):
    """Passes chunks as long as the first, and the end, if it is behind them.

    A chunk has as many bytes as its first byte says; one of none is the end.
    """
    start = tf.minimum(at, size)
    stride = byte(start) + 1
    lengths = data[start : start + _RUN * stride : stride]
    others = tf.where(tf.not_equal(lengths, lengths[0]))[:, 0]
    count = tf.concat([others, [tf.size(lengths, tf.int64)]], 0)[0]
    at = start + stride * tf.cast(count, tf.int32)
    is_end = tf.equal(byte(at), 0)
    # An end at once is a run of its own: an empty block.
    is_empty = tf.equal(stride, 1)
    at = tf.where(is_empty, start + 1, at + tf.cast(is_end, tf.int32))
    return at, tf.logical_not(tf.logical_or(is_end, is_empty)), pixels

  def pass_head(at: tf.Tensor, pixels: tf.Tensor):
    """Passes what is before the chunks of a block."""
    is_image = tf.equal(byte(at), _IMAGE)
    frame = integer(at + 5) * integer(at + 7)
    flags = byte(at + _IMAGE_HEADER - 1)
    # Of an image the colours and one byte more; of an extension its kind.
    at += tf.where(is_image, _IMAGE_HEADER + colors(flags) + 1, 2)
    return at, tf.constant(True), pixels + tf.where(is_image, frame, 0)

  def step(at: tf.Tensor, in_chunks: tf.Tensor, pixels: tf.Tensor):
    return tf.cond(
      in_chunks, lambda: pass_run(at, pixels), lambda: pass_head(at, pixels)
    )

  start = (
    _HEADER + colors(byte(10)),
    tf.constant(False),
    tf.constant(0, tf.int64),
  )
  end = tf.while_loop(is_inside, step, start, maximum_iterations=MAX_STEPS)
  return end[2], tf.logical_not(is_inside(*end))
