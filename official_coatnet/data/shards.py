"""One file of records, read so that damage is seen and has a name.

TensorFlow's reader says of a damaged record neither which file it lies in nor
how many records are lost behind it, and of a file that was cut off within the
twelve bytes before a record, or between two of them, it says nothing. Here the
place of the first record that cannot be read is taken by a report. The run
stops when it comes to it, with file, record and what to do.

All of it is graph operations, and none of them runs once a record where the
number of records is known.
"""

import tensorflow as tf

from official_coatnet.data import labels
from official_coatnet.data.sources import Source

# What a report begins with. No serialized tf.Example begins with this byte: it
# would be a field of a wire type that does not exist.
_REPORT = b'\xff:'
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
    A dataset of scalar strings, each a record or, as the last one, a report.

  Raises:
    tf.errors.NotFoundError: when the graph runs, naming the file, if it is not
      there.
  """
  if not source.on_disk:
    records = source.open_file(path).skip(first)
    return records if source.counts is None else records.take(count)
  # A reader that cannot open its file answers each call with the same error,
  # and `ignore_errors` would ask for ever: so the file is opened here before.
  opened = _byte_at(path, tf.constant(0, tf.int64)).reduce(
    tf.constant(0), lambda number, _: number + 1
  )
  with tf.control_dependencies([opened]):
    path = tf.identity(path)
  # After any other error the reader ends, and the end is looked into below.
  records = source.open_file(path).skip(first).ignore_errors(log_warning=True)
  if source.counts is None:
    return _report_rest(records, path)
  report = tf.strings.join(
    [
      _REPORT,
      'cannot be read, but the file should have ',
      tf.strings.as_string(first + count),
      ' records or more',
    ]
  )
  return records.concatenate(tf.data.Dataset.from_tensors(report)).take(count)


def check(record: tf.Tensor, *, file: tf.Tensor, position: tf.Tensor):
  """Stops the run at a report; hands on a record.

  Args:
    record: scalar string tensor, of `read`.
    file: scalar string tensor, the file that it comes from.
    position: scalar int64 tensor, its number in that file.

  Returns:
    `record`.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs, naming file and record,
      if it is a report.
  """
  is_record = labels.require(
    tf.logical_not(_is_report(record)),
    lambda: [
      file,
      ', record ',
      position,
      ' ',
      tf.strings.substr(record, len(_REPORT), tf.int32.max),
      ': it was damaged or cut off. `tools/tfrecords.py validate` lists what '
      'is wrong with the files, `tools/tfrecords.py repair` saves the intact '
      'records; or copy or build the file again.',
    ],
  )
  with tf.control_dependencies([is_record]):
    return tf.identity(record)


def _report_rest(records: tf.data.Dataset, path: tf.Tensor) -> tf.data.Dataset:
  """Adds a report where a file has more bytes than its records take.

  Nobody knows how many records there should be, so their bytes are counted.
  """

  def count_bytes(
    total: tf.Tensor, record: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    record = tf.cond(
      _is_report(record), lambda: _rest_report(path, total), lambda: record
    )
    length = tf.strings.length(record, unit='BYTE')
    return total + tf.cast(length, tf.int64) + _FRAME_BYTES, record

  end = tf.data.Dataset.from_tensors(tf.constant(_REPORT))
  counted = records.concatenate(end).scan(tf.constant(0, tf.int64), count_bytes)
  # A report without words: all is well.
  return counted.take_while(lambda record: record != _REPORT)


def _rest_report(path: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
  """Returns the report on what follows the first `total` bytes of a file."""
  rest = _byte_at(path, total).reduce(
    tf.constant(0), lambda number, _: number + 1
  )
  return tf.cond(
    rest > 0,
    lambda: tf.strings.join(
      [_REPORT, 'at byte ', tf.strings.as_string(total), ' cannot be read']
    ),
    lambda: tf.constant(_REPORT),
  )


def _byte_at(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
  """Returns the byte at an offset of a file, or nothing behind its end."""
  return tf.data.FixedLengthRecordDataset(
    path, record_bytes=1, header_bytes=offset, buffer_size=4096
  ).take(1)


def _is_report(record: tf.Tensor) -> tf.Tensor:
  return tf.equal(tf.strings.substr(record, 0, len(_REPORT)), _REPORT)
