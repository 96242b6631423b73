"""How much an image will take to decode, told before it is decoded.

A file of 20 kB can hold an image of gigabytes, and one of 300 kB a JPEG that is
gone over thousands of times. For JPEG, PNG, BMP and WebP the header says how
large; a GIF has a size for each frame. `estimate` is for images that strangers
send: it reads a file once, and in a bounded number of steps.
"""

from typing import NamedTuple

import tensorflow as tf

from official_coatnet.data import gif_blocks

# Each scan goes over all of a progressive JPEG. Encoders write 10, and some 15.
_SCANS = 20
_BLOCK = 16
# How a scan begins; its length, of two bytes, is 14 at most.
_SCAN = b'\xff\xda\x00'
# Compressed texts of a PNG; each is unpacked, to 8 MB at most, in 30 ms.
MAX_TEXTS = 20
_TEXTS = (b'zTXt', b'iTXt')

# What is wrong with an image that `is_intricate`, behind its name.
INTRICATE = (
  'is made of more parts than are read (a GIF of thousands of frames or '
  f'blocks, or a PNG of more than {MAX_TEXTS} compressed texts); save it anew.'
)


class Cost(NamedTuple):
  """What it will cost to decode an image, as far as its bytes tell.

  Attributes:
    pixels: height x width, scalar int64; of a GIF those of all its frames, of a
      JPEG once for every 20 scans; 0 for an unknown format.
    is_intricate: scalar bool, whether it has more parts than are read: more
      texts than `MAX_TEXTS` in a PNG, or a GIF that is longer than
      `gif_blocks.MAX_STEPS`.
  """

  pixels: tf.Tensor
  is_intricate: tf.Tensor


def estimate(encoded: tf.Tensor) -> Cost:
  """Tells what an image will cost, without decoding it.

  Args:
    encoded: scalar string tensor, the image file.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, if it is a JPEG whose
      header cannot be read.
  """

  def of_jpeg() -> Cost:
    rounds = (_count(encoded, _SCAN) + _SCANS - 1) // _SCANS
    shape = tf.io.extract_jpeg_shape(encoded)
    # Scans go over blocks, which a narrow image does not fill.
    scanned = of_shape((shape + _BLOCK - 1) // _BLOCK * _BLOCK) * rounds
    pixels = tf.where(rounds > 1, scanned, of_shape(shape))
    return Cost(pixels, tf.constant(False))

  def of_gif() -> Cost:
    pixels, is_all = gif_blocks.count_pixels(encoded)
    return Cost(pixels, tf.logical_not(is_all))

  def of_other() -> Cost:
    texts = sum(_count(encoded, kind) for kind in _TEXTS)
    return Cost(of_header(encoded), _is_png(encoded) & (texts > MAX_TEXTS))

  is_gif = tf.equal(tf.strings.substr(encoded, 0, 4), b'GIF8')
  return tf.cond(
    tf.io.is_jpeg(encoded),
    of_jpeg,
    lambda: tf.cond(is_gif, of_gif, of_other),
  )


def count_pixels(encoded: tf.Tensor) -> tf.Tensor:
  """Counts the pixels of an image, and believes its header.

  Args:
    encoded: scalar string tensor, the image file.

  Returns:
    Height x width, a scalar int64 tensor; 0 for an unknown format.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, if it is a JPEG whose
      header cannot be read.
  """
  return tf.cond(
    tf.io.is_jpeg(encoded),
    lambda: of_shape(tf.io.extract_jpeg_shape(encoded)),
    lambda: of_header(encoded),
  )


def of_shape(shape: tf.Tensor) -> tf.Tensor:
  """Returns the number of pixels, int64, of an image of int32 [3] `shape`."""
  # An int32 would overflow.
  return tf.reduce_prod(tf.cast(shape[:2], tf.int64))


def of_header(encoded: tf.Tensor) -> tf.Tensor:
  """Returns the pixels of a PNG, GIF, BMP or WebP; 0 for what is none."""
  # Zeros behind it, for what is shorter than a header.
  header = tf.strings.substr(
    tf.strings.join([tf.strings.substr(encoded, 0, 32), b'\0' * 32]), 0, 32
  )
  is_gif = tf.equal(tf.strings.substr(header, 0, 4), b'GIF8')
  # One of OS/2 has 2 bytes a side, and is not decoded.
  is_bmp = tf.logical_and(
    tf.equal(tf.strings.substr(header, 0, 2), b'BM'),
    tf.not_equal(tf.strings.substr(header, 14, 1), b'\x0c'),
  )
  sides = tf.where(
    _is_png(header),
    _integers(header, at=16, dtype=tf.int32, little_endian=False),
    tf.where(
      is_gif,
      _integers(header, at=6, dtype=tf.uint16),
      tf.where(
        is_bmp,
        _integers(header, at=18, dtype=tf.int32),
        _webp_sides(header),
      ),
    ),
  )
  # The height of a BMP is negative where its top row comes first.
  return tf.reduce_prod(tf.abs(sides))


def _is_png(encoded: tf.Tensor) -> tf.Tensor:
  return tf.equal(tf.strings.substr(encoded, 0, 4), b'\x89PNG')


def _webp_sides(header: tf.Tensor) -> tf.Tensor:
  """Reads the sides of a WebP, int64 [2]; zeros for what is none.

  There are three kinds: lossy, without loss, and extended.
  """
  kind = tf.strings.substr(header, 12, 4)
  is_webp = tf.equal(tf.strings.substr(header, 8, 4), b'WEBP')
  numbers = tf.cast(tf.io.decode_raw(header, tf.uint8), tf.int64)  # [32]
  bits = tf.reduce_sum(numbers[21:25] * [1, 1 << 8, 1 << 16, 1 << 24])
  canvas = tf.reshape(numbers[24:30], [2, 3]) * [1, 1 << 8, 1 << 16]
  sides = tf.where(
    tf.equal(kind, b'VP8X'),
    tf.reduce_sum(canvas, 1) + 1,
    tf.where(
      tf.equal(kind, b'VP8L'),
      tf.stack([bits % (1 << 14), bits // (1 << 14) % (1 << 14)]) + 1,
      _integers(header, at=26, dtype=tf.uint16) % (1 << 14),
    ),
  )
  return tf.where(is_webp, sides, 0)


def _count(encoded: tf.Tensor, pattern: bytes) -> tf.Tensor:
  """Counts how often bytes come one after the other, scalar int64."""
  pieces = tf.strings.split(encoded[tf.newaxis], pattern).values
  return tf.size(pieces, tf.int64) - 1


def _integers(
  header: tf.Tensor, *, at: int, dtype: tf.DType, little_endian: bool = True
) -> tf.Tensor:
  """Reads two integers in a row from bytes; returns int64 [2]."""
  pair = tf.strings.substr(header, at, 2 * dtype.size)
  return tf.cast(
    tf.io.decode_raw(pair, dtype, little_endian=little_endian), tf.int64
  )
