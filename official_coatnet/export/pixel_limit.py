"""How much an image will take to decode, told before it is decoded.

A file of 20 kB can hold an image of gigabytes. For JPEG, PNG and BMP the header
says how large; a GIF has a size for each frame, whatever its header says, and
TensorFlow reads all frames even where the first alone is wanted.
"""

import tensorflow as tf

from official_coatnet.data import images

# Bytes of a GIF: the header with the size of the screen, and the blocks.
_GIF_HEADER = 13
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
# An image block from its first byte to its colour table, the flags last.
_GIF_IMAGE_HEADER = 10


def count_pixels(encoded: tf.Tensor) -> tf.Tensor:
  """Counts the pixels that a decoder will make, from headers alone.

  Args:
    encoded: Scalar string tensor, the image file.

  Returns:
    Scalar int64: height x width, of a GIF summed over its frames; 0 for an
    unknown format.

  Raises:
    tf.errors.InvalidArgumentError: When the graph runs, if it is a JPEG whose
      header cannot be read.
  """
  return tf.cond(
    tf.equal(tf.strings.substr(encoded, 0, 4), b'GIF8'),
    lambda: _count_gif_pixels(encoded),
    lambda: images.count_pixels(encoded),
  )


def _count_gif_pixels(encoded: tf.Tensor) -> tf.Tensor:
  """Goes from block to block of a GIF and adds up its frames."""
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

  def is_block(position: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    del pixels
    kind = byte(position)
    known = tf.logical_or(
      tf.equal(kind, _GIF_IMAGE), tf.equal(kind, _GIF_EXTENSION)
    )
    return tf.logical_and(position < size, known)

  def read_block(
    position: tf.Tensor, pixels: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    is_image = tf.equal(byte(position), _GIF_IMAGE)
    frame = integer(position + 5) * integer(position + 7)
    flags = byte(position + _GIF_IMAGE_HEADER - 1)
    # Of an image the colours and one byte more; of an extension its kind.
    position += tf.where(is_image, _GIF_IMAGE_HEADER + colors(flags) + 1, 2)
    # Chunks of as many bytes as their first byte says, until one of none.
    (position,) = tf.while_loop(
      lambda at: tf.logical_and(at < size, byte(at) > 0),
      lambda at: (at + byte(at) + 1,),
      (position,),
    )
    return position + 1, pixels + tf.where(is_image, frame, 0)

  start = _GIF_HEADER + colors(byte(10))
  _, pixels = tf.while_loop(
    is_block, read_block, (start, tf.constant(0, tf.int64))
  )
  return pixels
