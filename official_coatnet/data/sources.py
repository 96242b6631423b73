"""Where examples come from: files of records.

A `Source` is a list of files with a way to open one and a way to parse what is
in it. TFRecord folders, TFDS data sets and the synthetic images of dry runs all
come down to it, so that order (see `streams`), sharding over hosts and restart
are the same for all of them.
"""

from collections.abc import Callable, Sequence
import dataclasses

import tensorflow as tf

from official_coatnet.data import schema as schema_lib

# An object store answers one request a buffer; local files need no more than
# TensorFlow's own default.
_REMOTE_BUFFER_BYTES = 8 << 20
_LOCAL_BUFFER_BYTES = 256 << 10


@dataclasses.dataclass(frozen=True)
class Source:
  """Files of records.

  Attributes:
    files: names of the files, in order.
    counts: number of records of each file; None if not known, and then
      restarting in the middle reads all that came before.
    first: the first record of each file to use; earlier ones are skipped.
    open_file: maps a scalar string tensor, the name of a file, to a dataset of
      its records, scalar strings.
    parse: maps a scalar string tensor, a record, to a dict of 'encoded', a
      scalar string, 'labels', int64 [n] as stored, and perhaps 'confidences',
      float32 [m].
    label_offset: what to add to a stored label to get a class.
    single_label: whether each record has exactly one label.
  """

  files: tuple[str, ...]
  counts: tuple[int, ...] | None
  first: tuple[int, ...]
  open_file: Callable[[tf.Tensor], tf.data.Dataset]
  parse: Callable[[tf.Tensor], dict[str, tf.Tensor]]
  label_offset: int
  single_label: bool

  @property
  def num_examples(self) -> int | None:
    """Number of examples, or None if not known."""
    return None if self.counts is None else sum(self.counts)

  def shard(self, num_hosts: int, host: int) -> 'Source':
    """Returns the files of one host: every `num_hosts`-th."""
    part = slice(host, None, num_hosts)
    return dataclasses.replace(
      self,
      files=self.files[part],
      counts=None if self.counts is None else self.counts[part],
      first=self.first[part],
    )


def tfrecord_source(
  paths: Sequence[str],
  *,
  schema: str,
  counts: Sequence[int] | None = None,
) -> Source:
  """Returns the source of TFRecord files.

  Args:
    paths: the files.
    schema: name of the record schema.
    counts: number of records of each file, if known.
  """
  keys = schema_lib.get_schema(schema)
  return Source(
    files=tuple(paths),
    counts=None if counts is None else tuple(counts),
    first=(0,) * len(paths),
    open_file=_open_tfrecord,
    parse=lambda record: schema_lib.parse(record, schema=schema),
    label_offset=keys.label_offset,
    single_label=keys.single_label,
  )


def _open_tfrecord(path: tf.Tensor) -> tf.data.Dataset:
  """Opens one TFRecord file."""
  remote = tf.strings.regex_full_match(path, '.*://.*')
  return tf.data.TFRecordDataset(
    path,
    buffer_size=tf.where(
      remote, tf.constant(_REMOTE_BUFFER_BYTES, tf.int64), _LOCAL_BUFFER_BYTES
    ),
  )
