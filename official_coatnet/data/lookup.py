"""Images of an evaluation set, found again by their numbers.

An evaluation keeps no images. Its order is fixed, so that the few that someone
wants to see can be had later; the others are read, and not decoded.
"""

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from official_coatnet.data import (
  config as data_config,
  pipeline,
  sources,
  streams,
)


def evaluation_images(
  config: data_config.DataConfig,
  numbers: Collection[int],
  *,
  source: sources.Source | None = None,
) -> dict[int, np.ndarray]:
  """Returns images as the network is given them, before they are normalised.

  Args:
    config: what is evaluated.
    numbers: which images, from 0, in the order of one host.
    source: what `config` means, if it is open already.

  Returns:
    By number, uint8 [height, width, 3]; without those that are not there.

  Raises:
    tf.errors.InvalidArgumentError: if an image cannot be decoded.
  """
  if not numbers:
    return {}
  source = (source or sources.open_source(config)).shard(1, 0)
  wanted = tf.constant(sorted(numbers), tf.int64)

  def is_wanted(number, record):
    del record
    return tf.reduce_any(number == wanted)

  def decode(number, record):
    example = pipeline.evaluation_example(record, config=config, source=source)
    return number, example['image']

  records = streams.evaluation_records(source).enumerate()
  # Up to the last one that is wanted, and not to the end.
  records = records.take(max(numbers) + 1).filter(is_wanted)
  found = records.map(decode).as_numpy_iterator()
  return {int(number): image for number, image in found}
