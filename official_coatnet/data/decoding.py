"""Decoding of images that may be damaged: they are named, or left out.

A decoder that fails says neither which image nor which file it was given, and
nothing in a graph can catch its error but a data set of one element with
`ignore_errors`, which costs a tenth or more of the time of decoding. So an
image that ends as its format demands is taken to be whole. One that does not,
which is what truncated downloads, pages of HTML and empty files have in common,
is tried beforehand. All are tried where images are to be left out, or where
a plain run has failed and the question is which image it was.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from official_coatnet.data import (
  feature_names,
  images,
  messages,
  pixel_count,
  schema,
)
from official_coatnet.data.sources import Source

_SKIP = "or set DataConfig.on_error to 'skip' to leave such images out."


def parse(
  record: dict[str, tf.Tensor], source: Source, *, careful: bool = False
) -> dict[str, tf.Tensor]:
  """Parses a record.

  Args:
    record: of `streams`: 'record', 'file' and 'position', scalars.
    source: what it is of.
    careful: whether to name a record that cannot be parsed. Otherwise the error
      is the parser's own.

  Returns:
    What `source.parse` returns.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, if it cannot be parsed.
  """
  serialized = record['record']
  if not careful or source.keys is None:
    return source.parse(serialized)
  parsed = tf.data.Dataset.from_tensors(serialized).map(source.parse)
  nothing = tf.nest.map_structure(
    lambda spec: tf.zeros([side or 0 for side in spec.shape], spec.dtype),
    parsed.element_spec,
  )
  is_parsed, example = survive(
    serialized,
    lambda serialized: (tf.constant(True), source.parse(serialized)),
    failed=(tf.constant(False), nothing),
  )
  keys = source.keys
  checked = messages.require(
    is_parsed,
    lambda: [
      record['file'],
      ', record ',
      record['position'],
      f': must have an image file in {keys.encoded!r} (bytes) and classes in '
      f'{keys.labels!r} (int64), but holds ',
      survive(serialized, feature_names.describe, failed='no tf.train.Example'),
      '. Build the records again, or set DataConfig.schema or feature_keys.',
    ],
  )
  with tf.control_dependencies([checked]):
    return tf.nest.map_structure(tf.identity, example)


def decode(
  record: dict[str, tf.Tensor],
  encoded: tf.Tensor,
  decoder: Callable[[tf.Tensor, images.Limit | None], tf.Tensor],
  *,
  shape: tuple[int, int, int],
  max_pixels: int,
  keys: schema.Schema | None = None,
  skip: bool = False,
  careful: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Decodes an image.

  Args:
    record: of `streams`: 'record', 'file' and 'position', scalars.
    encoded: scalar string tensor, the image file that was found in it.
    decoder: maps it, and a limit to its pixels or None, to uint8 `shape`.
    shape: (height, width, 3) of the result.
    max_pixels: an image with more, by its header, is not decoded.
    keys: the schema of the record, for messages.
    skip: whether to leave out an image that cannot be decoded.
    careful: whether to try every image; implied by `skip`. Otherwise the error
      of one that is damaged within is the decoder's own.

  Returns:
    The image, uint8 `shape`, black where it is left out; and whether it is left
    out, a scalar bool tensor.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, naming file and record,
      if the record cannot be read or has no image; or, unless `skip`, if the
      image cannot be decoded or is too large.
  """
  where = [record['file'], ', record ', record['position']]
  # Nothing but this and the limit is done for every image: see `looks_whole`.
  pixels = tf.cond(
    images.looks_whole(encoded),
    lambda: tf.constant(0, tf.int64),
    lambda: _look_closer(
      record, encoded, where=where, keys=keys, max_pixels=max_pixels
    ),
  )
  if skip or careful:
    tried, image = _try(
      encoded,
      lambda encoded: decoder(encoded, None),
      max_pixels=max_pixels,
      shape=shape,
    )
    pixels = tf.where(pixels < 0, pixels, tried)
  if skip:
    is_good = tf.logical_and(pixels >= 0, pixels <= max_pixels)
    return image, tf.logical_not(is_good)

  limit = functools.partial(_expect_size, max_pixels=max_pixels, where=where)
  with tf.control_dependencies([_expect_image(pixels, encoded, where=where)]):
    encoded = tf.identity(encoded)
    if not careful:
      return tf.ensure_shape(decoder(encoded, limit), shape), tf.constant(False)
    with tf.control_dependencies([limit(pixels)]):
      return tf.identity(image), tf.constant(False)


def _look_closer(
  record: dict[str, tf.Tensor],
  encoded: tf.Tensor,
  *,
  where: list[tf.Tensor | str],
  keys: schema.Schema | None,
  max_pixels: int,
) -> tf.Tensor:
  """Returns the pixels of an image that is suspect; -1 if it is damaged."""
  _check_record(record['record'], encoded, where=where, keys=keys)
  # Whatever the crop, an image that is cut off is as bad as no image.
  return _try(encoded, images.decode_whole, max_pixels=max_pixels)[0]


def _expect_image(
  pixels: tf.Tensor, encoded: tf.Tensor, *, where: list[tf.Tensor | str]
) -> tf.Operation:
  """Stops the run where `_try` could not decode the image: -1 pixels."""
  return messages.expect(
    pixels >= 0,
    [
      *where,
      ': the image, of ',
      tf.strings.length(encoded, unit='BYTE'),
      ' bytes, does not decode: it is damaged or cut off, or none of '
      f'{", ".join(images.DECODED)}. `tools/tfrecords.py validate` lists such '
      f'images; build the records again, {_SKIP}',
    ],
  )


def _expect_size(
  pixels: tf.Tensor, *, max_pixels: int, where: list[tf.Tensor | str]
) -> tf.Operation:
  """Stops the run at an image that is too large."""
  return messages.expect(
    pixels <= max_pixels,
    [
      *where,
      ': the image has ',
      pixels,
      f' pixels, more than DataConfig.max_pixels = {max_pixels}; shrink it, '
      f'or raise max_pixels, {_SKIP}',
    ],
  )


def _check_record(
  record: tf.Tensor,
  encoded: tf.Tensor,
  *,
  where: list[tf.Tensor | str],
  keys: schema.Schema | None,
) -> None:
  """Stops the run at a record that cannot be read, or has no image."""

  def of_schema() -> list[tf.Tensor | str]:
    if keys is None:
      return ['.']
    return [
      f' under the key of schema {keys.name!r}, {keys.encoded!r}; the record '
      'holds ',
      feature_names.describe(record),
      '. Check schema and feature_keys.',
    ]

  messages.require(
    tf.logical_not(messages.is_message(record)),
    lambda: [
      *where,
      ' ',
      messages.text(record),
      ': it was damaged or cut off. `tools/tfrecords.py validate` lists what '
      'is wrong with the files, `tools/tfrecords.py repair` saves the intact '
      'records; or copy or build the file again.',
    ],
  )
  messages.require(
    tf.strings.length(encoded) > 0,
    lambda: [*where, ': no image', *of_schema()],
  )


def _try(
  encoded: tf.Tensor,
  decoder: Callable[[tf.Tensor], tf.Tensor],
  *,
  max_pixels: int,
  shape: tuple[int | None, ...] = (None, None, 3),
) -> tuple[tf.Tensor, tf.Tensor]:
  """Decodes an image unless it is too large, and survives it if that fails.

  Returns:
    Its number of pixels, scalar int64, -1 if decoding failed; and the image,
    black unless it was decoded.
  """
  black = tf.zeros([side or 1 for side in shape], tf.uint8)

  def attempt(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    pixels = pixel_count.count_pixels(encoded)
    image = tf.cond(
      pixels <= max_pixels, lambda: decoder(encoded), lambda: black
    )
    return pixels, tf.ensure_shape(image, shape)

  failed = (tf.constant(-1, tf.int64), black)
  return survive(encoded, attempt, failed=failed, log_warning=True)


def survive(
  encoded: tf.Tensor,
  attempt: Callable[[tf.Tensor], Any],
  *,
  failed: Any,
  log_warning: bool = False,
) -> Any:
  """Returns what `attempt` makes of an image, or `failed` if it fails.

  Nothing in a graph catches an error but a data set. One of one element costs
  some tens of microseconds.

  Args:
    encoded: scalar string tensor, the image file.
    attempt: maps it to tensors; nothing else is within reach of the catch.
    failed: tensors of the same types and number.
    log_warning: whether TensorFlow logs the error.
  """
  attempts = tf.data.Dataset.from_tensors(encoded).map(attempt)
  return (
    attempts.ignore_errors(log_warning=log_warning)
    .concatenate(tf.data.Dataset.from_tensors(failed))
    .take(1)
    .get_single_element()
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
