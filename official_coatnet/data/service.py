"""Training batches made by the workers of a tf.data service.

A dispatcher deals out files, one at a time and each to one worker, which reads,
decodes and batches them: dynamic sharding. In each epoch all files are dealt
out once, so that every example comes once, as long as no worker dies: what it
has not delivered of its files is lost for that epoch.

The order depends on which worker is faster and is not promised, and a run that
is resumed begins its epoch anew. Crop and augmentation of an image are a
function of seed, epoch and image all the same.
"""

import itertools

import tensorflow as tf

from official_coatnet.data import streams
from official_coatnet.data.sources import Source


def training_records(
  source: Source, *, seed: int, shuffle_buffer: int, start: int = 0
) -> tf.data.Dataset:
  """Returns an endless stream of records that a service can deal out.

  Args:
    source: where to read from.
    seed: decides the order of the files and, for one worker, that of the
      records.
    shuffle_buffer: records that a worker shuffles together.
    start: number of records to leave out at the beginning, rounded down to
      whole epochs.

  Returns:
    A dataset of pairs: the number of the record, scalar int64, epoch x examples
    + place in the source; and the record as of `streams.training_records`.

  Raises:
    ValueError: if it is not known how many records the files have, or there are
      none.
  """
  if source.counts is None or not source.num_examples:
    raise ValueError(
      'DataConfig.data_service is set, but the number of records in '
      f'{source.files[0]} and the other files is '
      f'{"0" if source.counts else "not known"}, which tells the epochs apart; '
      'write a manifest by `tools/tfrecords.py index`, or set data_service to '
      'None.'
    )
  num_files = len(source.files)
  # Where each file begins, if all are put end to end.
  begins = list(itertools.accumulate(source.counts, initial=0))[:-1]
  shifts = [begin - first for begin, first in zip(begins, source.first)]

  def open_file(number: tf.Tensor) -> tf.data.Dataset:
    epoch, place = number // num_files, number % num_files
    order = streams.file_order(seed, epoch, num_files=num_files)
    row = streams.columns(source, order[place])
    records = streams.open_slice(source, row)
    shift = tf.gather(tf.constant(shifts, tf.int64), order[place])
    base = epoch * source.num_examples + shift
    return records.map(lambda each: (base + each['position'], each))

  # Elements of this range are what the dispatcher deals out.
  numbers = tf.data.Dataset.range(
    start // source.num_examples * num_files, tf.int64.max
  )
  records = numbers.interleave(
    open_file,
    # More would mix epochs where there are few files.
    cycle_length=min(streams.CYCLE_LENGTH, num_files),
    num_parallel_calls=tf.data.AUTOTUNE,
    deterministic=False,
  )
  return records.shuffle(shuffle_buffer, seed=seed)


def distribute(dataset: tf.data.Dataset, *, address: str) -> tf.data.Dataset:
  """Has the workers of a service run a dataset.

  Args:
    dataset: what to run; made of `training_records`.
    address: of the dispatcher, 'grpc://host:port'.
  """
  return dataset.apply(
    tf.data.experimental.service.distribute(
      processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
      service=address,
    )
  )
