"""Decoding of images that may be damaged: they are named, or left out.

A decoder that fails says neither which image nor which file it was given, and
nothing in a graph can catch its error but a data set of one element with
`ignore_errors`, which costs a tenth or more of the time of decoding. So an
image that ends as its format demands takes the plain way. One that does not,
which is what truncated downloads, pages of HTML and empty files have in common,
takes the careful one; and so do all where images are to be left out, or where
a plain run has failed and the question is which image it was.
"""

from collections.abc import Callable

import tensorflow as tf

from official_coatnet.data import images, labels


def decode(
  encoded: tf.Tensor,
  decoder: Callable[[tf.Tensor], tf.Tensor],
  *,
  shape: tuple[int, int, int],
  file: tf.Tensor,
  position: tf.Tensor,
  max_pixels: int,
  skip: bool = False,
  careful: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Decodes an image.

  Args:
    encoded: scalar string tensor, the image file.
    decoder: maps it to uint8 `shape`.
    shape: (height, width, 3) of the result.
    file: scalar string tensor, where the image comes from.
    position: scalar int64 tensor, the number of its record in that file.
    max_pixels: an image with more, by its header, is not decoded.
    skip: whether to leave out an image that cannot be decoded.
    careful: whether to catch every error; implied by `skip`. Otherwise the
      error of an image that is damaged within is the decoder's own.

  Returns:
    The image, uint8 `shape`, black where it is left out; and whether it is left
    out, a scalar bool tensor.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, if the image cannot be
      decoded or is too large and `skip` is False.
  """

  def attempt(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    pixels = images.count_pixels(encoded)
    image = tf.cond(
      pixels <= max_pixels,
      lambda: decoder(encoded),
      lambda: tf.zeros(shape, tf.uint8),
    )
    return tf.ensure_shape(image, shape), pixels

  def attempt_carefully() -> tuple[tf.Tensor, tf.Tensor]:
    attempts = tf.data.Dataset.from_tensors(encoded).map(attempt)
    failed = (tf.zeros(shape, tf.uint8), tf.constant(-1, tf.int64))
    # Nothing but the decoder is within reach of `ignore_errors`.
    first = attempts.ignore_errors(log_warning=True).concatenate(
      tf.data.Dataset.from_tensors(failed)
    )
    return first.take(1).get_single_element()

  if skip or careful:
    image, pixels = attempt_carefully()
  else:
    image, pixels = tf.cond(
      images.looks_whole(encoded), lambda: attempt(encoded), attempt_carefully
    )
  is_good = tf.logical_and(pixels >= 0, pixels <= max_pixels)
  if skip:
    return image, tf.logical_not(is_good)
  checked = labels.require(
    is_good,
    lambda: [
      file,
      ', record ',
      position,
      ': ',
      tf.cond(
        pixels < 0,
        lambda: _cannot_decode(encoded),
        lambda: tf.strings.join(
          [
            'the image has ',
            tf.strings.as_string(pixels),
            f' pixels, more than DataConfig.max_pixels = {max_pixels}; shrink '
            'it, or raise max_pixels',
          ]
        ),
      ),
      ", or set DataConfig.on_error to 'skip' to leave such images out.",
    ],
  )
  with tf.control_dependencies([checked]):
    return tf.identity(image), tf.constant(False)


def _cannot_decode(encoded: tf.Tensor) -> tf.Tensor:
  size = tf.strings.as_string(tf.strings.length(encoded, unit='BYTE'))
  return tf.strings.join(
    [
      'the image, of ',
      size,
      ' bytes, does not decode: it is damaged or cut off, or neither JPEG, '
      'PNG, GIF nor BMP. `tools/tfrecords.py validate` lists such images; '
      'build the records again',
    ]
  )


def fill(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """Puts an image of the batch in the place of those that are left out.

  Weights see to it that they count nothing. But BatchNorm and mixup look at all
  of a batch, and should meet with photographs.

  Args:
    batch: 'image', uint8 [batch, height, width, 3]; 'label', int32
      [batch, max_labels]; 'skipped', float32 [batch], 1 where an image is left
      out; and more.

  Returns:
    The batch with other images and labels where `skipped` is 1, unless it is
    for all of them.
  """
  skipped = batch['skipped'] > 0
  size = tf.size(skipped)
  source = tf.where(
    skipped,
    tf.argmin(batch['skipped'], output_type=tf.int32),  # The first good one.
    tf.range(size),
  )

  def replace() -> tuple[tf.Tensor, tf.Tensor]:
    return tf.gather(batch['image'], source), tf.gather(batch['label'], source)

  image, label = tf.cond(
    tf.reduce_any(skipped), replace, lambda: (batch['image'], batch['label'])
  )
  return {
    **batch,
    'image': tf.ensure_shape(image, batch['image'].shape),
    'label': tf.ensure_shape(label, batch['label'].shape),
  }
