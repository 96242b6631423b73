"""One file of records, read so that damage is seen and has a name.

TensorFlow's reader says of a damaged record neither which file it lies in nor
how many records are lost behind it, and of a file that was cut off within the
twelve bytes before a record, or between two of them, it says nothing. Here a
message takes the place of the first record that cannot be read. The run stops
when it comes to it, see `decoding`.

All of it is graph operations, and none of them runs once a record where the
number of records is known.

A compressed file can be read from its beginning only: to skip records is to
decompress them. Where their number is not known, it is read once more at its
end, to see whether that was the end.
"""

import tensorflow as tf

from official_coatnet.data import decoding, messages
from official_coatnet.data.sources import Source

# Of a record: eight bytes of length, and two checksums of four.
_FRAME_BYTES = 16


def read(
  source: Source, path: tf.Tensor, *, first: tf.Tensor, count: tf.Tensor
) -> tf.data.Dataset:
  """Reads records of one file.

  Args:
    source: what the file belongs to.
    path: scalar string tensor, its name.
    first: scalar int64 tensor, the first record to read.
    count: scalar int64 tensor, how many to read; any where the source does not
      know its counts, and then the file is read to its end.

  Returns:
    A dataset of scalar strings, each a record or, as the last one, a message.

  Raises:
    tf.errors.NotFoundError: when the graph runs, naming the file, if it is not
      there.
  """
  if not source.on_disk:
    records = source.open_file(path).skip(first)
    return records if source.counts is None else records.take(count)
  # A reader that cannot open its file answers each call with the same error,
  # and `ignore_errors` would ask for ever: so the file is opened before, out of
  # its reach. After any other error the reader ends, and the end is looked into
  # below. An empty file has no records, and no first byte.
  records = _byte_at(path, offset=0).flat_map(
    lambda _: source.open_file(path).skip(first).ignore_errors(log_warning=True)
  )
  if source.counts is None:
    if source.compression:
      return records.concatenate(_compressed_end(source, path))
    return _mark_rest(records, path)
  promised = tf.strings.as_string(first + count)
  message = messages.make(
    ['cannot be read, but the file should have ', promised, ' records or more']
  )
  return records.concatenate(tf.data.Dataset.from_tensors(message)).take(count)


def _compressed_end(source: Source, path: tf.Tensor) -> tf.data.Dataset:
  """Returns a message if a compressed file cannot be read to its end."""

  def count(path: tf.Tensor) -> tf.Tensor:
    # An error here is what `survive` answers with -1.
    return source.open_file(path).reduce(
      tf.constant(0, tf.int64), lambda number, _: number + 1
    )

  def look(path: tf.Tensor) -> tf.data.Dataset:
    number = decoding.survive(path, count, failed=tf.constant(-1, tf.int64))
    message = messages.make(['cannot be read'])
    return tf.data.Dataset.from_tensors(message).take(
      tf.cast(number < 0, tf.int64)
    )

  # Looked at when it is come to, and not before.
  return tf.data.Dataset.from_tensors(path).flat_map(look)


def _mark_rest(records: tf.data.Dataset, path: tf.Tensor) -> tf.data.Dataset:
  """Adds a message where a file has more bytes than its records take.

  Nobody knows how many records there should be, so their bytes are counted.
  """
  end = messages.make([''])

  def count_bytes(
    total: tf.Tensor, record: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    length = tf.strings.length(record, unit='BYTE')
    record = tf.cond(
      tf.equal(length, tf.strings.length(end, unit='BYTE')),
      lambda: _message_at_end(record, path=path, total=total),
      lambda: record,
    )
    return total + tf.cast(length, tf.int64) + _FRAME_BYTES, record

  counted = records.concatenate(tf.data.Dataset.from_tensors(end)).scan(
    tf.constant(0, tf.int64), count_bytes
  )
  # A message without words: all is well.
  return counted.take_while(lambda record: tf.not_equal(record, end))


def _message_at_end(
  record: tf.Tensor, *, path: tf.Tensor, total: tf.Tensor
) -> tf.Tensor:
  """Replaces the message without words where there is something to say."""
  is_damaged = tf.logical_and(
    messages.is_message(record), _has_byte_at(path, total)
  )
  return tf.cond(
    is_damaged,
    lambda: messages.make(
      ['at byte ', tf.strings.as_string(total), ' cannot be read']
    ),
    lambda: record,
  )


def _byte_at(path: tf.Tensor, *, offset: tf.Tensor | int) -> tf.data.Dataset:
  """Returns the byte of a file at `offset`, if it is that long.

  Its iterator fails if the file cannot be opened.
  """
  byte = tf.data.FixedLengthRecordDataset(
    path, record_bytes=1, header_bytes=offset, buffer_size=4096
  )
  return byte.take(1)


def _has_byte_at(path: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
  """Whether a file is longer than `offset`.

  A few milliseconds, for `reduce` has the data set optimised first: too much
  for every file, but for those whose length nobody knows.
  """
  byte = _byte_at(path, offset=offset)
  return byte.reduce(False, lambda state, _: tf.constant(True))
