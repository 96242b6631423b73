"""Shards that are compressed, opened as if they were not.

TensorFlow writes whole TFRecord files through gzip or zlib. What looks for
damage goes back and forth in a file, so it is decompressed into a temporary
one, as far as that goes.
"""

import contextlib
import dataclasses
import tempfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from official_coatnet import files
from official_coatnet.data import file_kinds

_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Opened:
  """A file of records, ready to be read.

  Attributes:
    file: its contents, decompressed.
    size: their length in bytes.
    compression: 'GZIP' or 'ZLIB' if it is compressed, or None.
    problem: why what comes behind those contents cannot be decompressed, or ''.
  """

  file: BinaryIO
  size: int
  compression: str | None = None
  problem: str = ''


@contextlib.contextmanager
def open_records(path: str) -> Iterator[Opened]:
  """Opens a file of records, which may be compressed by gzip or zlib."""
  compression = file_kinds.compression_of(file_kinds.read_head(path))
  file, size = files.open_with_size(path)
  with file:
    if compression is None:
      yield Opened(file, size)
      return
    with tempfile.TemporaryFile() as contents:
      problem = _decompress(file, contents, compression=compression)
      yield Opened(contents, contents.tell(), compression, problem)


def _decompress(source: BinaryIO, target: BinaryIO, *, compression: str) -> str:
  """Decompresses a file; returns what is wrong, or ''."""
  stream = None
  while chunk := source.read(_CHUNK_BYTES):
    try:
      while chunk:
        # Files of gzip may follow each other in one.
        stream = stream or zlib.decompressobj(
          file_kinds.WINDOW_BITS[compression]
        )
        target.write(stream.decompress(chunk))
        chunk = stream.unused_data
        if stream.eof:
          stream = None
    except zlib.error as error:
      return f'damaged within its compression by {compression.lower()}: {error}'
  if stream is not None:
    return f'cut off within its compression by {compression.lower()}'
  return ''
