"""The operations of RandAugment, as functions of uint8 images.

They give, byte for byte, what `official.vision.ops.augment` of Model Garden
2.15 gives for the same argument, in a fraction of its time:

*   What moves pixels is a map of the image onto itself (`index_map`), which
    depends on the argument and the size only: TensorFlow's projective transform
    makes it once, when the graph is built, and each image is one gather.
*   What depends on a byte alone stays in bytes where it can.
*   The rest keeps Model Garden's float32 arithmetic, since a truncation comes
    after it, and saves its copies.
*   Gathers are `gather_nd`, which is twice as fast as `gather` for slices of a
    few bytes.

Every image is a uint8 [height, width, 3] tensor of static shape.
"""

import math

import numpy as np
import tensorflow as tf

GREY = 128


def invert(image: tf.Tensor) -> tf.Tensor:
  """Returns 255 - x."""
  return 255 - image


def solarize(image: tf.Tensor, threshold: int) -> tf.Tensor:
  """Inverts values from `threshold` on.

  The reference compares in uint8, in which a threshold wraps around: 384 (of
  magnitude 15) acts as 128, and 256 and 512 (of 10 and 20) invert everything.
  """
  is_bright = image >= tf.constant(threshold % 256, tf.uint8)
  return tf.bitwise.bitwise_xor(image, _byte_mask(is_bright))


def solarize_add(image: tf.Tensor, addition: int) -> tf.Tensor:
  """Adds `addition`, 0 or more, to values below 128, up to 255."""
  addition = min(addition, 255)
  # uint8 wraps around, so what would exceed 255 is lowered before.
  added = tf.minimum(image, tf.constant(255 - addition, tf.uint8)) + addition
  is_dark = image < tf.constant(128, tf.uint8)
  return image + tf.bitwise.bitwise_and(added - image, _byte_mask(is_dark))


def posterize(image: tf.Tensor, bits: int) -> tf.Tensor:
  """Keeps the highest `bits` bits of each value.

  The reference shifts by 8 - bits as a uint8, in which a negative shift wraps
  around, and TensorFlow shifts a byte by 7 at most. So 0 bits keep one, and so
  does anything above 8 bits (magnitudes from 22.5 on).
  """
  shift = min((8 - bits) % 256, 7)
  mask = tf.constant(0xFF >> shift << shift, tf.uint8)
  return tf.bitwise.bitwise_and(image, mask)


def brightness(image: tf.Tensor, factor: float) -> tf.Tensor:
  """Blends an image with black; a factor above 1 makes it brighter."""
  if factor == 1.0:
    return tf.identity(image)
  return _to_bytes(tf.cast(image, tf.float32) * factor)


def contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
  """Blends an image with one grey; a factor above 1 adds contrast.

  PIL takes the mean grey of the image. The reference means to, but divides the
  number of pixels by 256: whatever the image, its grey is 196 at 224 x 224, and
  white from 256 x 256 on. Recipes were run with that. Model Garden 2.20 has
  `tf.image.adjust_contrast` in its place, which differs in every pixel; it is
  the one operation that has changed since 2.15.
  """
  if factor == 1.0:
    return tf.identity(image)
  grey = float(min(math.prod(image.shape[:2]) // 256, 255))
  return _to_bytes(grey + factor * (tf.cast(image, tf.float32) - grey))


def autocontrast(image: tf.Tensor) -> tf.Tensor:
  """Stretches each channel to 0..255; one of a single value stays."""
  height, width, _ = image.shape
  # [height, width, 3] -> [height, 3 width]: rows are long enough for SIMD.
  values = tf.cast(tf.reshape(image, [height, 3 * width]), tf.float32)
  # [3 width] -> [width, 3] -> [3]
  low = tf.reduce_min(tf.reshape(tf.reduce_min(values, 0), [width, 3]), 0)
  high = tf.reduce_max(tf.reshape(tf.reduce_max(values, 0), [width, 3]), 0)
  scale = tf.where(high > low, 255.0 / (high - low), 1.0)
  offset = tf.where(high > low, -low * scale, 0.0)
  # [3] -> [3 width]
  values = values * tf.tile(scale, [width]) + tf.tile(offset, [width])
  return tf.reshape(_to_bytes(values), image.shape)


def equalize(image: tf.Tensor) -> tf.Tensor:
  """Flattens the histogram of each channel, by PIL's rule."""
  height, width, _ = image.shape
  # [height, 3 width]: 0..255 for red, 256..511 for green, 512..767 for blue.
  bins = tf.cast(tf.reshape(image, [height, 3 * width]), tf.int32)
  bins += tf.tile([0, 256, 512], [width])
  counts = tf.raw_ops.Bincount(
    arr=bins, size=768, weights=tf.zeros([0], tf.int32)
  )
  cumulative = tf.cumsum(tf.reshape(counts, [3, 256]), axis=1)
  # All pixels of a channel but those of its highest value, shared out.
  below = tf.where(cumulative < height * width, cumulative, 0)
  step = tf.reduce_max(below, axis=1, keepdims=True) // 255  # [3, 1]
  table = (cumulative + step // 2) // tf.maximum(step, 1)
  table = tf.concat([tf.zeros([3, 1], tf.int32), table[:, :-1]], axis=1)
  table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
  table = tf.reshape(tf.cast(table, tf.uint8), [768])
  return tf.reshape(tf.gather_nd(table, bins[..., tf.newaxis]), image.shape)


def color(image: tf.Tensor, factor: float) -> tf.Tensor:
  """Blends an image with its greyscale; a factor above 1 adds colour."""
  if factor == 1.0:
    return tf.identity(image)
  grey = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))
  return _blend(grey, image, factor)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
  """Blends an image with a smoothed one, except for the outermost pixels."""
  height, width, _ = image.shape
  if factor == 1.0 or min(height, width) < 3:
    return tf.identity(image)
  weights = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32)
  kernel = tf.constant(np.tile(weights[..., None, None] / 13, (1, 1, 3, 1)))
  values = tf.cast(image, tf.float32)
  smooth = tf.nn.depthwise_conv2d(
    values[tf.newaxis], kernel, strides=[1, 1, 1, 1], padding='VALID'
  )[0]
  smooth = _to_bytes(smooth)
  inner = _blend(smooth, image[1:-1, 1:-1], factor)
  middle = tf.concat([image[1:-1, :1], inner, image[1:-1, -1:]], axis=1)
  return tf.concat([image[:1], middle, image[-1:]], axis=0)


def cutout(
  image: tf.Tensor, *, row: tf.Tensor, column: tf.Tensor, half_side: int
) -> tf.Tensor:
  """Greys out a square, as far as it lies in the image.

  Args:
    image: the image.
    row: scalar int32 tensor, the row of the centre.
    column: scalar int32 tensor, the column of the centre.
    half_side: half the side of the square in pixels.

  Returns:
    A tensor like `image`.
  """
  height, width, _ = image.shape
  top = tf.maximum(row - half_side, 0)
  bottom = tf.minimum(row + half_side, height)
  left = tf.maximum(column - half_side, 0)
  right = tf.minimum(column + half_side, width)
  square = tf.fill([bottom - top, right - left, 3], tf.constant(GREY, tf.uint8))
  rows = image[top:bottom]
  middle = tf.concat([rows[:, :left], square, rows[:, right:]], axis=1)
  image = tf.concat([image[:top], middle, image[bottom:]], axis=0)
  return tf.ensure_shape(image, [height, width, 3])


def rotation(degrees: float, *, height: int, width: int) -> tf.Tensor:
  """Returns the float32 [8] transform of a turn about the middle."""
  # Factors are rounded to float32 one by one, as in the reference.
  radians = tf.constant(degrees, tf.float32) * (math.pi / 180)
  cos, sin = tf.cos(radians), tf.sin(radians)
  last_x, last_y = width - 1.0, height - 1.0
  x_offset = (last_x - (cos * last_x - sin * last_y)) / 2.0
  y_offset = (last_y - (sin * last_x + cos * last_y)) / 2.0
  return tf.stack([cos, -sin, x_offset, sin, cos, y_offset, 0.0, 0.0])


def index_map(
  transform: tf.Tensor, *, height: int, width: int, fill: str
) -> np.ndarray:
  """Returns where each pixel of a transformed image comes from.

  Args:
    transform: eager float32 [8] tensor, a projective transform from the result
      to the image, as `tf.raw_ops.ImageProjectiveTransformV3` takes it.
    height: height of the image in pixels.
    width: width of the image in pixels.
    fill: what comes from beyond the image: with 'reflect' its mirror image,
      with 'grey' a pixel after the last one.

  Returns:
    An int32 [height x width] array: the indices of the nearest pixels, which
    are counted row by row.
  """
  num_pixels = height * width
  indices = tf.reshape(tf.range(num_pixels), [1, height, width, 1])
  mapped = tf.raw_ops.ImageProjectiveTransformV3(
    images=indices,
    transforms=transform[tf.newaxis],
    output_shape=[height, width],
    fill_value=-1.0,  # Not num_pixels: a float32 has 24 bits.
    fill_mode={'reflect': 'REFLECT', 'grey': 'CONSTANT'}[fill],
    interpolation='NEAREST',
  )
  mapped = mapped.numpy().reshape(num_pixels)
  return np.where(mapped < 0, num_pixels, mapped)


def move_pixels(
  image: tf.Tensor, indices: tf.Tensor, *, fill: str
) -> tf.Tensor:
  """Takes each pixel from where a map says.

  Args:
    image: the image.
    indices: int32 [height x width] tensor, of `index_map`.
    fill: as given to `index_map`.

  Returns:
    A tensor like `image`.
  """
  num_pixels = math.prod(image.shape[:2])
  pixels = tf.reshape(image, [num_pixels, 3])
  if fill == 'grey':
    grey = tf.fill([1, 3], tf.constant(GREY, tf.uint8))
    pixels = tf.concat([pixels, grey], axis=0)
  # [pixels] -> [pixels, 1]
  moved = tf.gather_nd(pixels, indices[:, tf.newaxis])
  return tf.reshape(moved, image.shape)


def _blend(start: tf.Tensor, end: tf.Tensor, factor: float) -> tf.Tensor:
  """Returns start + factor (end - start), of uint8 images, truncated."""
  start = tf.cast(start, tf.float32)
  end = tf.cast(end, tf.float32)
  return _to_bytes(start + factor * (end - start))


def _to_bytes(values: tf.Tensor) -> tf.Tensor:
  """Returns float32 values as uint8 ones, truncated."""
  return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)


def _byte_mask(condition: tf.Tensor) -> tf.Tensor:
  """Returns uint8 255 where a condition holds, 0 elsewhere.

  For bitwise operations, which are several times as fast as tf.where on bytes.
  """
  return tf.cast(condition, tf.uint8) * 255
