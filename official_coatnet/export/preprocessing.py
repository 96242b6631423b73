"""From the encoded images of a request to pixels, as an evaluation does it."""

from collections.abc import Callable

import tensorflow as tf

from official_coatnet.data import decoding, images, messages, pixel_count
from official_coatnet.training import experiment as experiment_lib

# Feature of a tf.train.Example that holds the encoded image, as in the records.
ENCODED_KEY = 'image/encoded'


def decode_batch(
  image_bytes: tf.Tensor,
  experiment: experiment_lib.Experiment,
  *,
  max_pixels: int | None = None,
  answer_bad_images: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Decodes and resizes encoded images exactly as the evaluation does.

  Args:
    image_bytes: String [batch]; JPEG, PNG, BMP or GIF, of any sizes.
    experiment: Its `eval_data` says how.
    max_pixels: An image of more is refused before it is decoded.
    answer_bad_images: Whether an image that is refused or does not decode is
      black, instead of an error.

  Returns:
    uint8 [batch, height, width, 3]; and whether each was decoded, bool [batch].

  Raises:
    tf.errors.InvalidArgumentError: When the graph runs, for an image that is
      refused or does not decode, unless `answer_bad_images`.
  """
  shape = (*experiment.eval_data.height_width, 3)
  decode = _make_decoder(experiment, max_pixels=max_pixels)

  def decode_row(row: tuple[tf.Tensor, tf.Tensor]):
    index, encoded = row
    if answer_bad_images:
      return decoding.survive(
        encoded,
        lambda each: (tf.ensure_shape(decode(each, index), shape), True),
        failed=(tf.zeros(shape, tf.uint8), False),
      )
    return decode(encoded, index), tf.constant(True)

  count = tf.size(image_bytes)
  # Resized within the map: images of different sizes cannot be stacked before.
  # On the CPU, where all decoders are; a server may have placed it elsewhere.
  with tf.device('CPU:0'):
    return tf.map_fn(
      decode_row,
      (tf.range(count), image_bytes),
      fn_output_signature=(
        tf.TensorSpec(shape, tf.uint8),
        tf.TensorSpec([], tf.bool),
      ),
    )


def _make_decoder(
  experiment: experiment_lib.Experiment, *, max_pixels: int | None
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
  """Returns what decodes one image, of a row that messages name."""
  data = experiment.eval_data

  def decode(encoded: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    if max_pixels is not None:
      accepted = _accept(encoded, index, max_pixels=max_pixels)
      with tf.control_dependencies([accepted]):
        encoded = tf.identity(encoded)
    return images.decode_for_eval(
      encoded,
      image_size=data.image_size,
      center_crop=data.center_crop,
      crop_fraction=data.eval_crop_fraction,
      interpolation=data.interpolation,
    )

  return decode


def _accept(
  encoded: tf.Tensor, index: tf.Tensor, *, max_pixels: int
) -> tf.Tensor:
  """Refuses an image that would cost too much; returns what to wait for."""
  cost = pixel_count.estimate(encoded)
  which = ['Image ', index, ' of the batch, counted from 0, ']
  is_simple = messages.require(
    tf.logical_not(cost.is_intricate),
    lambda: [*which, pixel_count.INTRICATE],
  )
  is_small = messages.require(
    cost.pixels <= max_pixels,
    lambda: [
      *which,
      'has ',
      cost.pixels,
      f' pixels, more than the limit of {max_pixels} (all frames of a GIF '
      'count, and a JPEG once for every 20 scans); shrink it, or export with a '
      'larger max_pixels.',
    ],
  )
  return tf.logical_and(is_simple, is_small)


def parse_examples(serialized: tf.Tensor) -> tf.Tensor:
  """Takes the encoded images out of serialized tf.train.Examples.

  Args:
    serialized: String [batch].

  Returns:
    String [batch]. One without an image gives an empty string, which then does
    not decode.
  """
  feature = tf.io.FixedLenFeature([], tf.string, default_value='')
  # The parser's kernel is on the CPU only.
  with tf.device('CPU:0'):
    return tf.io.parse_example(serialized, {ENCODED_KEY: feature})[ENCODED_KEY]
