"""How much an image will take to decode, told before it is decoded.

A file of 20 kB can hold an image of gigabytes. For JPEG, PNG, BMP and WebP the
header says how large; a GIF has a size for each frame, whatever its header
says, and TensorFlow reads all frames even where the first alone is wanted.
"""

import tensorflow as tf

# Bytes of a GIF: the header with the size of the screen, and the blocks.
_GIF_HEADER = 13
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
# An image block from its first byte to its colour table, the flags last.
_GIF_IMAGE_HEADER = 10
# A side of a WebP, lossy or lossless, has 14 bits.
_WEBP_SIDE = 0x3FFF


def count_pixels(encoded: tf.Tensor, *, all_frames: bool = False) -> tf.Tensor:
  """Counts the pixels of an image from headers alone.

  Args:
    encoded: scalar string tensor, the image file.
    all_frames: whether to go through all of a GIF and add up its frames, as is
      wise where strangers send it. Otherwise its header is believed.

  Returns:
    Height x width, a scalar int64 tensor; 0 for an unknown format.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, if it is a JPEG whose
      header cannot be read.
  """

  def of_one_image() -> tf.Tensor:
    return tf.cond(
      tf.io.is_jpeg(encoded),
      lambda: of_shape(tf.io.extract_jpeg_shape(encoded)),
      lambda: of_header(encoded),
    )

  if not all_frames:
    return of_one_image()
  is_gif = tf.equal(tf.strings.substr(encoded, 0, 4), b'GIF8')
  return tf.cond(is_gif, lambda: _count_gif_pixels(encoded), of_one_image)


def of_shape(shape: tf.Tensor) -> tf.Tensor:
  """Returns the number of pixels, int64, of an image of int32 [3] `shape`."""
  # An int32 would overflow.
  return tf.reduce_prod(tf.cast(shape[:2], tf.int64))


def of_header(encoded: tf.Tensor) -> tf.Tensor:
  """Returns the number of pixels of a PNG, GIF, BMP or WebP; otherwise 0."""
  # Zeros behind it, for what is shorter than a header.
  header = tf.strings.substr(
    tf.strings.join([tf.strings.substr(encoded, 0, 32), b'\0' * 32]), 0, 32
  )
  is_png = tf.equal(tf.strings.substr(header, 0, 4), b'\x89PNG')
  is_gif = tf.equal(tf.strings.substr(header, 0, 4), b'GIF8')
  is_webp = tf.logical_and(
    tf.equal(tf.strings.substr(header, 0, 4), b'RIFF'),
    tf.equal(tf.strings.substr(header, 8, 4), b'WEBP'),
  )
  # One of OS/2 has 2 bytes a side, and is not decoded.
  is_bmp = tf.logical_and(
    tf.equal(tf.strings.substr(header, 0, 2), b'BM'),
    tf.not_equal(tf.strings.substr(header, 14, 1), b'\x0c'),
  )
  sides = tf.where(
    is_png,
    _integers(header, at=16, dtype=tf.int32, little_endian=False),
    tf.where(
      is_gif,
      _integers(header, at=6, dtype=tf.uint16),
      tf.where(is_bmp, _integers(header, at=18, dtype=tf.int32), [0, 0]),
    ),
  )
  # The height of a BMP is negative where its top row comes first.
  return tf.cond(
    is_webp,
    lambda: _count_webp_pixels(header),
    lambda: tf.reduce_prod(tf.abs(sides)),
  )


def _count_webp_pixels(header: tf.Tensor) -> tf.Tensor:
  """Returns the pixels of a WebP, whose first chunk says how large it is.

  Whether or not this TensorFlow decodes it: the one that runs an export may.
  An extended file cannot lie about its image, which its decoder compares.
  """
  data = tf.cast(tf.io.decode_raw(header, tf.uint8), tf.int64)

  def integer(at: int, size: int) -> tf.Tensor:
    weights = tf.constant([256**place for place in range(size)], tf.int64)
    return tf.reduce_sum(data[at : at + size] * weights)

  def masked(number: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(number, tf.constant(_WEBP_SIDE, tf.int64))

  bits = integer(21, 4)
  lossless = (1 + masked(bits)) * (1 + masked(bits // (_WEBP_SIDE + 1)))
  kind = tf.strings.substr(header, 12, 4)
  return tf.case(
    [
      (
        tf.equal(kind, b'VP8 '),
        lambda: masked(integer(26, 2)) * masked(integer(28, 2)),
      ),
      (tf.equal(kind, b'VP8L'), lambda: lossless),
      (
        tf.equal(kind, b'VP8X'),
        lambda: (1 + integer(24, 3)) * (1 + integer(27, 3)),
      ),
    ],
    default=lambda: tf.constant(0, tf.int64),
  )


def _integers(
  header: tf.Tensor, *, at: int, dtype: tf.DType, little_endian: bool = True
) -> tf.Tensor:
  """Reads two integers in a row from bytes; returns int64 [2]."""
  pair = tf.strings.substr(header, at, 2 * dtype.size)
  return tf.cast(
    tf.io.decode_raw(pair, dtype, little_endian=little_endian), tf.int64
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
