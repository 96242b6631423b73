"""From encoded bytes to uint8 images of one size, in graph operations.

JPEG takes the fast way: libjpeg decodes no more than the crop. Anything else
that TensorFlow reads (`DECODED`) is decoded whole and sliced. What follows
is in `resizing`: bilinear with half-pixel centres and without antialiasing, as
in Model Garden, unless bicubic is asked for. EXIF orientation is not applied,
as in training corpora.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import tensorflow as tf

from official_coatnet.data import messages, pixel_count, resizing

# Formats that this TensorFlow decodes: WebP that of 2.20, and not that of 2.15.
DECODED = (
  'JPEG',
  'PNG',
  'GIF',
  'BMP',
  *(('WebP',) if hasattr(tf.raw_ops, 'DecodeWebP') else ()),
)
# The last two bytes of a JPEG, a PNG and a GIF.
_ENDS = (b'\xff\xd9', b'\x60\x82', b'\x00;')
# The shortest header of a BMP that says all that is asked.
_BMP_HEADER = 40
# Where red, green and blue lie within 32 bits, if a BMP says so.
_BGR_MASKS = b'\0\0\xff\0\0\xff\0\0\xff\0\0\0'

# What checks the number of pixels, a scalar int64 tensor, before decoding, and
# returns what to wait for.
Limit = Callable[[tf.Tensor], tf.Operation]


def height_width(image_size: int | Sequence[int]) -> tuple[int, int]:
  """Returns (height, width) of a size given as an int or a pair."""
  if isinstance(image_size, int):
    return image_size, image_size
  height, width = image_size
  return int(height), int(width)


def looks_whole(encoded: tf.Tensor) -> tf.Tensor:
  """Whether an image ends as JPEG, PNG or GIF demand.

  Five small operations, for every image passes here.

  Args:
    encoded: scalar string tensor, the image file.

  Returns:
    A scalar bool tensor. A BMP or WebP has no end that could be told: False.
  """
  size = tf.strings.length(encoded, unit='BYTE')
  tail = tf.strings.substr(encoded, tf.maximum(size - 2, 0), 2)
  return tf.reduce_any(tf.equal(tail, _ENDS))


def decode_and_crop_train(
  encoded: tf.Tensor,
  *,
  image_size: int | Sequence[int],
  seed: tf.Tensor,
  center_crop: bool = True,
  area_range: Sequence[float] = (0.08, 1.0),
  aspect_range: Sequence[float] = (3 / 4, 4 / 3),
  random_flip: bool = True,
  interpolation: str = resizing.BILINEAR,
  limit: Limit | None = None,
) -> tf.Tensor:
  """Decodes an image for training.

  Args:
    encoded: scalar string tensor, the image file.
    image_size: side, or (height, width), of the result in pixels.
    seed: integer [2] tensor; equal seeds give equal crops and flips.
    center_crop: True for a random crop of random area and aspect (Szegedy et
      al. 2015); False for the whole image, squeezed into `image_size`. The name
      is that of Table 10 of the paper, which does not define it: this reading
      follows the published code of the same group.
    area_range: smallest and largest area of the crop, as a share of the image.
    aspect_range: smallest and largest width / height of the crop.
    random_flip: whether to mirror every other image left to right.
    interpolation: one of `resizing.METHODS`.
    limit: checks the number of pixels before decoding, or None.

  Returns:
    A uint8 [height, width, 3] tensor.
  """
  method = resizing.METHODS[interpolation]
  crop_seed, flip_seed = tf.unstack(tf.random.split(seed, num=2))

  def sample_window(shape: tf.Tensor) -> resizing.Window:
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
      shape,
      bounding_boxes=tf.zeros([1, 0, 4]),
      seed=crop_seed,
      # The area range alone decides. Nobody knows where the object is: of the
      # whole image, which stands for it in Google's code, 0.1 would refuse
      # crops of less than 10 % of the area, one in fifteen.
      min_object_covered=0.0,
      area_range=area_range,
      aspect_ratio_range=aspect_range,
      max_attempts=10,
      use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)

  image, _ = _decode(
    encoded,
    sample_window if center_crop else None,
    dct_method=method.dct_method,
    limit=limit,
  )
  image = method.resize(image, height_width(image_size))
  if random_flip:
    image = tf.image.stateless_random_flip_left_right(image, flip_seed)
  return image


def decode_for_eval(
  encoded: tf.Tensor,
  *,
  image_size: int | Sequence[int],
  center_crop: bool = True,
  crop_fraction: float = 0.875,
  interpolation: str = resizing.BILINEAR,
  limit: Limit | None = None,
) -> tf.Tensor:
  """Decodes an image for evaluation and serving.

  Args:
    encoded: scalar string tensor, the image file: JPEG, PNG, BMP or GIF (its
      first frame); grey, RGB, RGBA (alpha is dropped) or CMYK; 8 or 16 bits.
      Where it is in `DECODED`, WebP of one frame without alpha, too.
    image_size: side, or (height, width), of the result in pixels.
    center_crop: whether to cut out the middle; False squeezes the whole image
      into `image_size`.
    crop_fraction: height of the cut, as a share of the largest window of the
      aspect of `image_size` that fits into the image.
    interpolation: one of `resizing.METHODS`; 'bicubic' resizes before it cuts.
    limit: checks the number of pixels before decoding, or None.

  Returns:
    A uint8 [height, width, 3] tensor.
  """
  method = resizing.METHODS[interpolation]
  size = height_width(image_size)

  def central_window(shape: tf.Tensor) -> resizing.Window:
    return method.central_window(shape, size, crop_fraction=crop_fraction)

  image, shape = _decode(
    encoded,
    central_window if center_crop else None,
    dct_method=method.dct_method,
    limit=limit,
  )
  if not center_crop:
    return method.resize(image, size)
  return method.resize_middle(
    image, size, shape=shape, crop_fraction=crop_fraction
  )


def decode_whole(encoded: tf.Tensor) -> tf.Tensor:
  """Decodes all of an image, to uint8 [height, width, 3]."""
  image, _ = _decode(encoded, None)
  return image


def _decode(
  encoded: tf.Tensor,
  choose_window: Callable[[tf.Tensor], resizing.Window] | None,
  *,
  dct_method: str = '',
  limit: Limit | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Decodes a window of an image, or all of it.

  Args:
    encoded: scalar string tensor.
    choose_window: maps the image's int32 [3] shape to a window; None for all.
    dct_method: of libjpeg, '' for its default.
    limit: checks the number of pixels before decoding, or None.

  Returns:
    The window, uint8 [?, ?, 3], and the shape of the whole image, int32 [3].
  """

  def decode_all() -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method=dct_method)
    return image, tf.shape(image)

  def decode_jpeg() -> tuple[tf.Tensor, tf.Tensor]:
    if choose_window is None and limit is None:
      return decode_all()
    shape = tf.io.extract_jpeg_shape(encoded)
    with _limited(limit, lambda: pixel_count.of_shape(shape)):
      if choose_window is None:
        return decode_all()
      window = choose_window(shape)
      image = tf.io.decode_and_crop_jpeg(
        encoded, window, channels=3, dct_method=dct_method
      )
      return image, shape

  def decode_other() -> tuple[tf.Tensor, tf.Tensor]:
    with _limited(limit, lambda: pixel_count.of_header(encoded)):
      image = _decode_other(encoded)
    shape = tf.shape(image)
    if choose_window is None:
      return image, shape
    top, left, height, width = tf.unstack(choose_window(shape))
    return image[top : top + height, left : left + width], shape

  image, shape = tf.cond(tf.io.is_jpeg(encoded), decode_jpeg, decode_other)
  return tf.ensure_shape(image, [None, None, 3]), shape


def _limited(
  limit: Limit | None, pixels: Callable[[], tf.Tensor]
) -> AbstractContextManager:
  """Within this context, operations wait for the check of the limit."""
  if limit is None:
    return nullcontext()
  return tf.control_dependencies([limit(pixels())])


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
  """Decodes a PNG, a GIF, a BMP, or a WebP where TensorFlow knows it."""
  return tf.cond(
    tf.equal(tf.strings.substr(encoded, 0, 2), b'BM'),
    lambda: _decode_bmp(encoded),
    # Without expand_animations=False a GIF has rank 4. Three channels refuse a
    # WebP with alpha or several frames; any number (0) would take the former,
    # but the latter would end the process (TensorFlow 2.20, a segmentation
    # fault).
    lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
  )


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
  """Decodes a BMP of 24 or 32 bits, or of 8 bits by its palette.

  TensorFlow's own decoder takes the first two for what they are, numbers of
  colours for grey values, and any order and width of channels for BGR.
  """
  # Zeros behind it, for what is shorter than a header and a palette.
  header = tf.strings.join([tf.strings.substr(encoded, 0, 2048), b'\0' * 2048])

  def integer(at: tf.Tensor | int, size: int = 4) -> tf.Tensor:
    word = tf.strings.substr(header, at, size)
    dtype = tf.int32 if size == 4 else tf.uint16
    return tf.cast(tf.io.decode_raw(word, dtype)[0], tf.int32)

  header_size = integer(14)
  has_all = header_size >= _BMP_HEADER
  bits = integer(tf.where(has_all, 28, 24), 2)
  compression = tf.where(has_all, integer(30), 0)
  in_order = tf.equal(tf.strings.substr(header, 54, 12), _BGR_MASKS)
  known = tf.logical_and(
    has_all,
    tf.logical_or(
      tf.logical_and(
        tf.equal(compression, 0), tf.reduce_any(tf.equal(bits, [8, 24, 32]))
      ),
      tf.equal(compression, 3) & tf.equal(bits, 32) & in_order,
    ),
  )
  accepted = messages.require(
    known,
    lambda: [
      'a BMP of ',
      bits,
      ' bits a pixel, compression ',
      compression,
      ' and a header of ',
      header_size,
      ' bytes is not decoded: only of 8, 24 or 32 bits, uncompressed, with '
      'channels of 8 bits in the usual order; save it as PNG, or let '
      'tools/tfrecords.py, predict.py or query.py convert it.',
    ],
  )
  with tf.control_dependencies([accepted]):
    image = tf.io.decode_bmp(encoded)

  def look_up() -> tf.Tensor:
    start = tf.clip_by_value(header_size, 0, 512) + 14
    palette = tf.strings.substr(header, start, 4 * 256)
    # Blue, green, red and nothing.
    colors = tf.reshape(tf.io.decode_raw(palette, tf.uint8), [256, 4])
    numbers = tf.cast(image[:, :, 0], tf.int32)
    return tf.gather(colors[:, 2::-1], numbers)  # [height, width, 3]

  return tf.cond(
    tf.equal(tf.shape(image)[-1], 1), look_up, lambda: image[:, :, :3]
  )
