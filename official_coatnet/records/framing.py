"""TFRecord files, frame by frame, damaged ones included.

A record is framed as: its length, uint64; the masked CRC-32C of these 8 bytes,
uint32; the data; their masked CRC-32C, uint32; all little-endian. TensorFlow
gives up on a file at the first thing that is wrong. Here whatever is intact is
found: where the length holds, the next record begins right after the damaged
one; where it does not, all that follows is searched for the next header whose
checksum is right.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from official_coatnet.records import crc32c

_HEADER = 12  # Length and its checksum.
_FOOTER = 4  # Checksum of the data.
_WINDOW = 1 << 20


@dataclasses.dataclass(frozen=True)
class Frame:
  """A record of a file, or a stretch of it that is none.

  Attributes:
    offset: where it begins in the file, in bytes.
    data: the record; None if it is damaged.
    problem: what is wrong with it; empty if nothing is.
  """

  offset: int
  data: bytes | None
  problem: str = ''


def read_frames(file: BinaryIO, *, size: int) -> Iterator[Frame]:
  """Reads a TFRecord file, whatever has become of it.

  Args:
    file: the file, opened for reading bytes.
    size: its length in bytes.

  Yields:
    The records in order, and a frame with a problem for each stretch that holds
    no intact record.
  """
  crc = crc32c.Crc32c()
  offset = 0
  while offset < size:
    frame, end = _read_frame(file, offset, size=size, crc=crc)
    if frame.data is None and not _is_boundary(file, end, size=size, crc=crc):
      # The length leads nowhere: bytes are missing, too many, or wrong.
      end = _find_frame(file, offset + 1, size=size, crc=crc)
    yield frame
    offset = end


def _read_frame(
  file: BinaryIO, offset: int, *, size: int, crc: crc32c.Crc32c
) -> tuple[Frame, int | None]:
  """Returns what is at an offset, and where it ends if that is known."""
  length = _read_length(file, offset, crc=crc)
  left = size - offset
  if left < _HEADER:
    problem = f'header cut off, {left} of {_HEADER} bytes are left'
    return Frame(offset, None, problem), size
  if length is None:
    problem = 'header damaged, the checksum of the length is wrong'
    if offset == 0 and _read_at(file, 0, 2) == b'\x1f\x8b':
      problem = 'compressed by gzip, which is not read here; gunzip it first'
    return Frame(offset, None, problem), None
  end = offset + _HEADER + length + _FOOTER
  if end > size:
    problem = (
      f'data cut off, {left - _HEADER} of {length + _FOOTER} bytes are left'
    )
    return Frame(offset, None, problem), None
  contents = _read_at(file, offset + _HEADER, length + _FOOTER)
  data, stored = contents[:length], contents[length:]
  if crc.masked(data) != struct.unpack('<I', stored)[0]:
    problem = f'data damaged, the checksum of its {length} bytes is wrong'
    return Frame(offset, None, problem), end
  return Frame(offset, data), end


def _is_boundary(
  file: BinaryIO, offset: int | None, *, size: int, crc: crc32c.Crc32c
) -> bool:
  """Whether a record begins at an offset, or the file ends there."""
  if offset is None:
    return False
  return offset == size or _read_length(file, offset, crc=crc) is not None


def _find_frame(
  file: BinaryIO, offset: int, *, size: int, crc: crc32c.Crc32c
) -> int:
  """Returns where the next intact record begins at or after `offset`.

  Its length and its data must both have the right checksum: within the bytes of
  images, a header that fits by chance comes once in four thousand million.
  """
  while offset + _HEADER <= size:
    window = _read_at(file, offset, min(_WINDOW + _HEADER - 1, size - offset))
    right = crc.masked_windows(window[:-4])
    # The uint32 at every offset: that after each window of 8 bytes.
    numbers = np.frombuffer(window, np.uint8).astype(np.uint32)
    stored = sum(
      numbers[8 + place : 8 + place + len(right)] << np.uint32(8 * place)
      for place in range(4)
    )
    for hit in np.flatnonzero(right == stored).tolist():
      frame, _ = _read_frame(file, offset + hit, size=size, crc=crc)
      if frame.data is not None:
        return offset + hit
    offset += _WINDOW
  return size


def _read_length(
  file: BinaryIO, offset: int, *, crc: crc32c.Crc32c
) -> int | None:
  """Returns the length in a header, or None if it is not right."""
  header = _read_at(file, offset, _HEADER)
  if len(header) < _HEADER:
    return None
  length, stored = struct.unpack('<QI', header)
  return length if crc.masked(header[:8]) == stored else None


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
  file.seek(offset)
  return file.read(size)
