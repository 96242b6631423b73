"""The order in which the records of a source are read.

*   In epoch e, files are permuted by (seed, e) and read in groups of
    CYCLE_LENGTH, one record from each in turn.
*   This stream is cut into windows of `shuffle_buffer` records, and window w is
    shuffled by (seed, e, w).

So the order is a pure function of the seed. As each window is shuffled for
itself (a sliding buffer would depend on all that came before), a run restarts
at any example by opening the files in the middle and reading one window.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.data import shard_reading
from official_coatnet.data.sources import Source

# Files that are read from at once, by one host.
CYCLE_LENGTH = 16


def evaluation_records(source: Source) -> tf.data.Dataset:
  """Returns each record once, in the order of the files.

  Args:
    source: where to read from.

  Returns:
    A dataset of dicts: 'record', scalar string, which may be a message that
    `decoding` stops at; 'file', scalar string; and 'position', scalar int64,
    the record's number in its file.
  """
  order = np.arange(len(source.files))
  return _read(columns(source, order), source=source, deterministic=True)


def training_records(
  source: Source,
  *,
  seed: int,
  shuffle_buffer: int,
  start: int = 0,
  deterministic: bool = True,
) -> tf.data.Dataset:
  """Returns an endless stream of records, shuffled anew in each epoch.

  Args:
    source: where to read from.
    seed: with the epoch, decides the order.
    shuffle_buffer: number of records that are shuffled together; twice as many
      are in memory. 1 permutes the files only.
    start: number of records to leave out at the beginning.
    deterministic: whether to keep the order when a file is slow to come.

  Returns:
    A dataset as of `evaluation_records`.

  Raises:
    ValueError: if it is known that there are no records.
  """
  epoch, first_window, to_skip = _find_window(
    source, start=start, size=shuffle_buffer
  )

  def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
    order = file_order(seed, epoch, num_files=len(source.files))
    return _read(
      columns(source, order), source=source, deterministic=deterministic
    )

  # The first epoch is begun in the middle, at the window of the first record.
  first_records = _rest_of_epoch(
    source,
    seed=seed,
    epoch=epoch,
    position=first_window * shuffle_buffer,
    deterministic=deterministic,
  )
  later = tf.data.Dataset.range(epoch + 1, tf.int64.max)
  if shuffle_buffer == 1:
    records = first_records.concatenate(later.flat_map(epoch_records))
    return records.skip(to_skip)
  first_epoch = tf.constant(epoch, tf.int64)
  windows = _windows(
    first_records, shuffle_buffer, epoch=first_epoch, first_window=first_window
  ).concatenate(
    later.flat_map(
      lambda epoch: _windows(epoch_records(epoch), shuffle_buffer, epoch=epoch)
    )
  )
  # The next window fills while this one is used.
  shuffled = windows.prefetch(1).flat_map(
    lambda window: _shuffle(window, seed=seed, shuffle_buffer=shuffle_buffer)
  )
  return shuffled.skip(to_skip)


def _find_window(
  source: Source, *, start: int, size: int
) -> tuple[int, int, int]:
  """Returns epoch, window in it, and place in that, of the record `start`."""
  if source.counts is None:
    # Nobody knows where an epoch ends: read from the beginning.
    return 0, 0, start
  if not sum(source.counts):
    raise ValueError(
      f'The {len(source.files)} files from {source.files[0]} on have no '
      'examples, and a stream of nothing has no end; write the records again.'
    )
  epoch, offset = divmod(start, sum(source.counts))
  return epoch, *divmod(offset, size)


def file_order(
  seed: int, epoch: int | tf.Tensor, *, num_files: int
) -> tf.Tensor:
  """Returns the order of the files in an epoch, int64 [num_files]."""
  return tf.random.experimental.stateless_shuffle(
    tf.range(num_files, dtype=tf.int64),
    seed=tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)]),
    alg='philox',
  )


def columns(
  source: Source,
  order: np.ndarray | tf.Tensor,
  *,
  consumed: np.ndarray | int = 0,
) -> dict[str, tf.Tensor]:
  """Returns what to read: name, first record and number of records of files.

  Args:
    source: the source.
    order: int64 [n], positions of the files in the source.
    consumed: int64 [n], records of each file that are used up.

  Returns:
    'file', string [n]; 'first', int64 [n]; 'count', int64 [n], -1 for all.
  """
  first = tf.gather(tf.constant(source.first, tf.int64), order)
  if source.counts is None:
    count = tf.fill(tf.shape(first), tf.constant(-1, tf.int64))
  else:
    count = tf.gather(tf.constant(source.counts, tf.int64), order) - consumed
  return {
    'file': tf.gather(tf.constant(source.files), order),
    'first': first + consumed,
    'count': count,
  }


def open_slice(source: Source, row: dict[str, tf.Tensor]) -> tf.data.Dataset:
  """Reads a part of one file.

  Args:
    source: what it belongs to.
    row: scalars, of what `columns` returns.

  Returns:
    A dataset as of `evaluation_records`.
  """
  first = row['first']
  return tf.data.Dataset.zip(
    {
      'record': shard_reading.read(
        source, row['file'], first=first, count=row['count']
      ),
      'file': tf.data.Dataset.from_tensors(row['file']).repeat(),
      # Not `counter`, which calls a function for each element.
      'position': tf.data.Dataset.range(first, tf.int64.max),
    }
  )


def _read(
  rows: dict[str, tf.Tensor], *, source: Source, deterministic: bool
) -> tf.data.Dataset:
  """Reads files in groups of CYCLE_LENGTH, one record of each in turn."""

  def interleave(group: dict[str, tf.Tensor]) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(group).interleave(
      lambda row: open_slice(source, row),
      cycle_length=CYCLE_LENGTH,
      num_parallel_calls=tf.data.AUTOTUNE,
      deterministic=deterministic,
    )

  # A group is read to its end before the next one begins. With a sliding set
  # of open files, where the stream stands after n records could not be told.
  files = tf.data.Dataset.from_tensor_slices(rows)
  return files.batch(CYCLE_LENGTH).flat_map(interleave)


def _rest_of_epoch(
  source: Source, *, seed: int, epoch: int, position: int, deterministic: bool
) -> tf.data.Dataset:
  """Reads an epoch, but for its first `position` records."""
  with tf.init_scope(), tf.device('CPU:0'):
    order = file_order(seed, epoch, num_files=len(source.files)).numpy()
  files, consumed, excess = _seek(order, source.counts, position=position)
  rows = columns(source, files, consumed=consumed)
  return _read(rows, source=source, deterministic=deterministic).skip(excess)


def _seek(
  order: np.ndarray, counts: Sequence[int] | None, *, position: int
) -> tuple[np.ndarray, np.ndarray, int]:
  """Finds where the stream of `_read` stands after `position` records.

  Args:
    order: int64 [n], positions of the files in the source.
    counts: number of records of each file of the source; None only where
      `position` is 0.
    position: number of records that have been read, less than all.

  Returns:
    The files still to read, in order; how many records of each are used up; and
    how many records of the stream that begins there are to be skipped still:
    fewer than CYCLE_LENGTH.
  """
  if counts is None or position == 0:
    return order, np.zeros(len(order), np.int64), 0
  counts = np.asarray(counts, np.int64)
  for group in range(0, len(order), CYCLE_LENGTH):
    in_group = counts[order[group : group + CYCLE_LENGTH]]
    if position < in_group.sum():
      break
    position -= in_group.sum()
  # After r rounds, a file has given r records, or all that it has.
  low, high = 0, int(in_group.max())
  while high - low > 1:
    middle = (low + high) // 2
    if np.minimum(in_group, middle).sum() <= position:
      low = middle
    else:
      high = middle
  rounds = np.minimum(in_group, low)
  consumed = np.zeros(len(order) - group, np.int64)
  consumed[: len(rounds)] = rounds
  return order[group:], consumed, int(position - rounds.sum())


def _windows(
  records: tf.data.Dataset,
  size: int,
  *,
  epoch: tf.Tensor,
  first_window: int = 0,
) -> tf.data.Dataset:
  """Cuts a stream into windows, each with its epoch and its number."""
  windows = records.window(size).enumerate(first_window)
  return windows.map(
    lambda number, window: {
      'epoch': epoch,
      'number': number,
      'records': window,
    }
  )


def _shuffle(
  window: dict[str, tf.Tensor | tf.data.Dataset],
  *,
  seed: int,
  shuffle_buffer: int,
) -> tf.data.Dataset:
  """Shuffles one window, by (seed, epoch, number of the window)."""
  records = tf.data.Dataset.zip(window['records'])
  # `shuffle` adds the global seed to its own, which would make the order depend
  # on tf.random.set_seed. In the graph of this function it is fixed.
  tf.random.set_seed(1)
  key = tf.random.fold_in(
    tf.stack([tf.constant(seed, tf.int64), window['epoch']]), window['number']
  )
  window_seed = tf.random.stateless_uniform(
    [], key, minval=None, maxval=None, dtype=tf.int64
  )
  return records.shuffle(
    shuffle_buffer, seed=window_seed, reshuffle_each_iteration=False
  )
