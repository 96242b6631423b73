"""The file by which TF Serving puts requests together, held against an export.

It is what the server's --batching_parameters_file names, a message in text
form such as docs/serving/batching_config.txt. Two things in it decide whether
an export can be served at all:

- A warm-up request of more images than `max_batch_size` fails, and an export
  whose warm-up fails is never loaded.
- Where `allowed_batch_sizes` stands, a request without images ends the server:
  it fills a batch up by its first row, and an empty batch has none. (A fault of
  TF Serving's, `BatchingSession::MergeInputTensors`.)
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
from google.protobuf import (
  descriptor_pb2,
  descriptor_pool,
  message_factory,
  text_format,
  wrappers_pb2,
)

# Fields of BatchingParameters in TF Serving's session_bundle_config.proto, of
# which tensorflow-serving-api has no message: number, and type.
_FIELDS = {
  'max_batch_size': (1, 'Int64Value'),
  'batch_timeout_micros': (2, 'Int64Value'),
  'max_enqueued_batches': (3, 'Int64Value'),
  'num_batch_threads': (4, 'Int64Value'),
  'thread_pool_name': (5, 'StringValue'),
  'allowed_batch_sizes': (6, 'int64'),
  'pad_variable_length_inputs': (7, 'bool'),
  'enable_large_batch_splitting': (8, 'BoolValue'),
  'max_execution_batch_size': (9, 'Int64Value'),
}
# What a server takes where the file says nothing.
_DEFAULT_MAX_BATCH_SIZE = 1000


@dataclasses.dataclass(frozen=True)
class BatchingConfig:
  """What the file says.

  Attributes:
    path: Of the file.
    max_batch_size: Images that a request may hold.
    allowed_batch_sizes: Sizes that batches are filled up to; none if they are
      not.
    num_batch_threads: Batches that run at once; None for the server's cores.
  """

  path: str
  max_batch_size: int
  allowed_batch_sizes: tuple[int, ...] = ()
  num_batch_threads: int | None = None

  def check_batch_sizes(self, sizes: Sequence[int]):
    """Checks that a server takes the warm-up requests of an export.

    Args:
      sizes: Their numbers of images.

    Raises:
      ValueError: If one is larger than the server takes.
    """
    if max(sizes) > self.max_batch_size:
      raise ValueError(
        f'A warm-up request has {max(sizes)} images, and `max_batch_size` in '
        f'{self.path!r} is {self.max_batch_size}: a server with that file '
        'would never load this export. Export with smaller --batch_sizes, or '
        'raise max_batch_size.'
      )

  def problems(self) -> list[str]:
    """Returns what would keep a server from starting, or end it."""
    sizes = self.allowed_batch_sizes
    if not sizes:
      return []
    found = [
      f'{self.path!r} has `allowed_batch_sizes`, with which one request '
      'without images ends TF Serving; leave them out'
    ]
    if list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size:
      found.append(
        f'`allowed_batch_sizes` in {self.path!r} are {list(sizes)}; they must '
        f'rise, and end in `max_batch_size`, which is {self.max_batch_size}'
      )
    return found


def read(path: str) -> BatchingConfig:
  """Reads the file that a server's --batching_parameters_file names.

  Raises:
    ValueError: If it cannot be read, or is no such file.
  """
  message = _make_message()
  try:
    with tf.io.gfile.GFile(path) as f:
      text_format.Parse(f.read(), message)
  except (tf.errors.OpError, UnicodeDecodeError, text_format.ParseError) as e:
    raise ValueError(
      f'The batching file {path!r} cannot be read ({e}). Give the one that the '
      'server gets as --batching_parameters_file, such as '
      'docs/serving/batching_config.txt.'
    ) from e
  largest, threads = (
    getattr(message, name).value if message.HasField(name) else None
    for name in ('max_batch_size', 'num_batch_threads')
  )
  if largest is not None and largest < 1:
    raise ValueError(
      f'`max_batch_size` in {path!r} is {largest}; it must be 1 or more.'
    )
  return BatchingConfig(
    path=path,
    max_batch_size=_DEFAULT_MAX_BATCH_SIZE if largest is None else largest,
    allowed_batch_sizes=tuple(message.allowed_batch_sizes),
    num_batch_threads=threads,
  )


def _make_message():
  """Returns an empty tensorflow.serving.BatchingParameters."""
  file = descriptor_pb2.FileDescriptorProto(
    name='batching_parameters.proto',
    package='tensorflow.serving',
    syntax='proto3',
    dependency=[wrappers_pb2.DESCRIPTOR.name],
  )
  message = file.message_type.add(name='BatchingParameters')
  field = descriptor_pb2.FieldDescriptorProto
  scalars = {'int64': field.TYPE_INT64, 'bool': field.TYPE_BOOL}
  for name, (number, kind) in _FIELDS.items():
    repeated = name == 'allowed_batch_sizes'
    added = message.field.add(
      name=name,
      number=number,
      type=scalars.get(kind, field.TYPE_MESSAGE),
      label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
    )
    if kind not in scalars:
      added.type_name = f'.google.protobuf.{kind}'
  # A pool of its own: another library may have a message of this name.
  pool = descriptor_pool.DescriptorPool()
  pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
  pool.Add(file)
  found = pool.FindMessageTypeByName('tensorflow.serving.BatchingParameters')
  return message_factory.GetMessageClass(found)()
