"""How an image is cut and resized: bilinearly, or bicubically as PIL does it.

'bilinear' cuts out the middle and then resizes it, with half-pixel centres and
without antialiasing, as in Model Garden: our reading of the paper. Google's
ResNet, EfficientNet and MaxViT for TPUs resize bicubically unless told
otherwise.

'bicubic' gives what PIL's `Image.resize(..., BICUBIC)` gives, and in the
evaluation what timm does with it: resize first, then cut out the middle. It is
for weights that were trained so. Three things make the numbers PIL's: its
kernel, stretched where the image shrinks; a first pass along rows that is
rounded to whole levels, as PIL stores it; and libjpeg's accurate transform,
where TensorFlow takes the fast one by default. Of photographs 99 values in 100
or more are PIL's, and the rest one level off; with the fast transform a quarter
of the values of a JPEG are further off than that.
"""

import math
import types
from collections.abc import Mapping
from typing import Protocol, TypeAlias

import tensorflow as tf

# (height, width) in pixels.
Size: TypeAlias = tuple[int, int]
# A window of pixels: int32 [4] tensor of top, left, height, width.
Window: TypeAlias = tf.Tensor

# Pixels to each side that the bicubic kernel reaches.
_RADIUS = 2
# Beyond these: libjpeg does not know what lies outside of a window, and takes
# colours at its edge from within.
_MARGIN = 2


class Method(Protocol):
  """What the two ways of resizing have in common.

  Attributes:
    dct_method: Of libjpeg, as `tf.io.decode_jpeg` names it.
  """

  dct_method: str

  def central_window(
    self, shape: tf.Tensor, size: Size, *, crop_fraction: float
  ) -> Window:
    """Returns what of an image has to be decoded to take its middle.

    Args:
      shape: int32 tensor of the image's height, width, and perhaps channels.
      size: Of the result.
      crop_fraction: Share of the side that is the middle.
    """

  def resize(self, image: tf.Tensor, size: Size) -> tf.Tensor:
    """Squeezes a uint8 [?, ?, 3] image into uint8 [height, width, 3]."""

  def resize_middle(
    self,
    image: tf.Tensor,
    size: Size,
    *,
    shape: tf.Tensor,
    crop_fraction: float,
  ) -> tf.Tensor:
    """Resizes the middle of an image.

    Args:
      image: uint8 [?, ?, 3], what lies in its `central_window`.
      size: Of the result.
      shape: As in `central_window`, of the whole image.
      crop_fraction: Likewise.

    Returns:
      A uint8 [height, width, 3] tensor.
    """


class _Bilinear:
  """Cuts, then resizes."""

  dct_method = ''

  def central_window(self, shape, size, *, crop_fraction):
    height, width = size
    sides = tf.cast(shape[:2], tf.float32)
    # What the other side allows: width x H / W for the height, and conversely.
    allowed = tf.reverse(sides, [0]) * [height / width, width / height]
    crop = tf.cast(tf.minimum(sides, allowed) * crop_fraction, tf.int32)
    crop = tf.maximum(crop, 1)  # An image of 1 x 1 pixel still has a middle.
    begin = (shape[:2] - crop + 1) // 2
    return tf.concat([begin, crop], axis=0)

  def resize(self, image, size):
    resized = tf.image.resize(image, size, method='bilinear')
    # A cast cuts off; bilinear values lie within 0..255: nothing overflows.
    image = tf.cast(resized + 0.5, tf.uint8)
    return tf.ensure_shape(image, [*size, 3])

  def resize_middle(self, image, size, *, shape, crop_fraction):
    del shape, crop_fraction  # The window is the middle.
    return self.resize(image, size)


class _Bicubic:
  """Resizes, then cuts, but computes and decodes no more than what is left."""

  dct_method = 'INTEGER_ACCURATE'

  def central_window(self, shape, size, *, crop_fraction):
    sides = shape[:2]
    scaled = _scaled_sides(sides, size, crop_fraction=crop_fraction)
    step = tf.cast(sides / scaled, tf.float32)
    begin = tf.cast(_middle(scaled, size), tf.float32)
    reach = _RADIUS * tf.maximum(step, 1.0) + _MARGIN
    low = tf.cast(tf.floor(begin * step - reach), tf.int32)
    high = tf.cast(tf.math.ceil((begin + size) * step + reach), tf.int32)
    low, high = tf.maximum(low, 0), tf.minimum(high, sides)
    return tf.concat([low, high - low], axis=0)

  def resize(self, image, size):
    scale = tf.constant(size, tf.float32) / _sides(image)
    return _resample(image, size, scale=scale, begin=tf.zeros([2]))

  def resize_middle(self, image, size, *, shape, crop_fraction):
    sides = shape[:2]
    scaled = _scaled_sides(sides, size, crop_fraction=crop_fraction)
    scale = tf.cast(scaled / sides, tf.float32)
    window = self.central_window(shape, size, crop_fraction=crop_fraction)
    begin = tf.cast(_middle(scaled, size), tf.float32)
    decoded_begin = tf.cast(window[:2], tf.float32) * scale
    return _resample(image, size, scale=scale, begin=begin - decoded_begin)


def _sides(image: tf.Tensor) -> tf.Tensor:
  return tf.cast(tf.shape(image)[:2], tf.float32)


def _scaled_sides(
  sides: tf.Tensor, size: Size, *, crop_fraction: float
) -> tf.Tensor:
  """What height and width an image is resized to, before it is cut.

  As torchvision's Resize does it where the result is a square (the longer side
  is cut off to a whole number), and timm's ResizeKeepRatio elsewhere (both
  sides are rounded).

  Returns:
    An int32 [2] tensor; no side is smaller than that of `size`.
  """
  target = [math.floor(side / crop_fraction) for side in size]
  if target[0] == target[1]:
    long = tf.cast(sides, tf.int64)
    scaled = long * target[0] // tf.reduce_min(long)
  else:
    exact = tf.cast(sides, tf.float64)
    scaled = tf.round(exact / tf.reduce_min(exact / target))
  return tf.cast(scaled, tf.int32)


def _middle(scaled: tf.Tensor, size: Size) -> tf.Tensor:
  """Where the middle begins; half a pixel goes to the even number."""
  return tf.cast(tf.round((scaled - size) / 2), tf.int32)


def _resample(
  image: tf.Tensor, size: Size, *, scale: tf.Tensor, begin: tf.Tensor
) -> tf.Tensor:
  """Resamples along rows, rounds, resamples along columns, and rounds.

  Args:
    image: uint8 [?, ?, 3].
    size: Of the result.
    scale: float32 [2], pixels of the result to one of the image, down and
      across.
    begin: float32 [2], top and left of the result within the scaled image.

  Returns:
    A uint8 [height, width, 3] tensor.
  """
  height, width = size
  down, across = tf.unstack(scale)
  top, left = tf.unstack(begin)
  # The operation takes both directions at once. In the one that a pass leaves
  # alone its tensor is one pixel long, or it would pass over each pixel there,
  # too: rows are a batch in the first pass, columns are channels in the second.
  rows = tf.raw_ops.ScaleAndTranslate(
    images=image[:, tf.newaxis],  # [rows, 1, columns, 3]
    size=[1, width],
    scale=tf.stack([1.0, across]),
    translation=tf.stack([0.0, -left]),
    kernel_type='keyscubic',
    antialias=True,
  )
  # [rows, 1, width, 3] -> [1, rows, 1, width x 3]
  rows = tf.reshape(_to_levels(rows), [1, -1, 1, width * 3])
  resized = tf.raw_ops.ScaleAndTranslate(
    images=rows,
    size=[height, 1],
    scale=tf.stack([down, 1.0]),
    translation=tf.stack([-top, 0.0]),
    kernel_type='keyscubic',
    antialias=True,
  )
  # [1, height, 1, width x 3] -> [height, width, 3]
  resized = tf.reshape(resized, [height, width, 3])
  return tf.cast(_to_levels(resized), tf.uint8)


def _to_levels(values: tf.Tensor) -> tf.Tensor:
  """Rounds to 0..255: a cubic overshoots at edges."""
  return tf.floor(tf.clip_by_value(values, 0.0, 255.0) + 0.5)


BILINEAR = 'bilinear'
METHODS: Mapping[str, Method] = types.MappingProxyType(
  {BILINEAR: _Bilinear(), 'bicubic': _Bicubic()}
)
