"""TFRecord files, frame by frame, damaged ones included.

A record is framed as: its length, uint64; the masked CRC-32C of these 8 bytes,
uint32; the data; their masked CRC-32C, uint32; all little-endian. TensorFlow
gives up on a file at the first thing that is wrong. Here whatever is intact is
found: where the length holds, the next record begins right after the damaged
one; where it does not, all that follows is searched for the next header whose
checksum is right.

A checksum is CRC-32C (Castagnoli), by google-crc32c. The search takes that of
every 8 bytes of a file, which no library has: here all windows go through the
table of bytes at once, by NumPy.
Polynomial and test values: RFC 3720, appendix B.4.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from official_coatnet.data.file_kinds import masked_crc32c

_HEADER = 12  # Length and its checksum.
_FOOTER = 4  # Checksum of the data.
_WINDOW = 1 << 20

_POLYNOMIAL = 0x82F63B78  # Bit-reversed.


def masked_windows(data: bytes) -> np.ndarray:
  """Returns the masked CRC-32C of every 8 bytes: uint32 [len(data) - 7]."""
  of_byte = _byte_table()
  numbers = np.frombuffer(data, np.uint8)
  state = np.full(max(len(data) - 7, 0), 0xFFFFFFFF, np.uint32)
  for place in range(8):
    state ^= numbers[place : place + len(state)]
    state = of_byte[state & 0xFF] ^ (state >> np.uint32(8))
  return _mask(state ^ np.uint32(0xFFFFFFFF))


def _byte_table() -> np.ndarray:
  """Returns what each byte makes of a checksum of 0, uint32 [256]."""
  state = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    odd = (state & 1).astype(bool)
    state = (state >> np.uint32(1)) ^ np.where(odd, _POLYNOMIAL, 0).astype(
      np.uint32
    )
  return state


def _mask(crc: np.ndarray) -> np.ndarray:
  """Does for many checksums what `masked_crc32c` does for one."""
  wide = crc.astype(np.uint64)
  rotated = (wide >> np.uint64(15)) | (wide << np.uint64(17))
  return (rotated + np.uint64(0xA282EAD8)).astype(np.uint32)


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
  offset = 0
  while offset < size:
    frame, end = _read_frame(file, offset, size=size)
    if end is None or (
      frame.data is None and not _is_boundary(file, end, size=size)
    ):
      # The length leads nowhere: bytes are missing, too many, or wrong.
      end = _find_frame(file, offset + 1, size=size)
    yield frame
    offset = end


def _read_frame(
  file: BinaryIO, offset: int, *, size: int
) -> tuple[Frame, int | None]:
  """Returns what is at an offset, and where it ends if that is known."""
  length = _read_length(file, offset)
  left = size - offset
  if left < _HEADER:
    problem = f'header cut off, {left} of {_HEADER} bytes are left'
    return Frame(offset, None, problem), size
  if length is None:
    problem = 'header damaged, the checksum of the length is wrong'
    return Frame(offset, None, problem), None
  end = offset + _HEADER + length + _FOOTER
  if end > size:
    problem = (
      f'data cut off, {left - _HEADER} of {length + _FOOTER} bytes are left'
    )
    return Frame(offset, None, problem), None
  contents = _read_at(file, offset + _HEADER, length + _FOOTER)
  data, stored = contents[:length], contents[length:]
  if masked_crc32c(data) != struct.unpack('<I', stored)[0]:
    problem = f'data damaged, the checksum of its {length} bytes is wrong'
    return Frame(offset, None, problem), end
  return Frame(offset, data), end


def _is_boundary(file: BinaryIO, offset: int, *, size: int) -> bool:
  """Whether a record begins at an offset, or the file ends there."""
  return offset == size or _read_length(file, offset) is not None


def _find_frame(file: BinaryIO, offset: int, *, size: int) -> int:
  """Returns where the next intact record begins at or after `offset`.

  Its length and its data must both have the right checksum: within the bytes of
  images, a header that fits by chance comes once in four thousand million.
  """
  while offset + _HEADER <= size:
    window = _read_at(file, offset, min(_WINDOW + _HEADER - 1, size - offset))
    right = masked_windows(window[:-4])
    # The uint32 at every offset: that after each window of 8 bytes.
    numbers = np.frombuffer(window, np.uint8).astype(np.uint32)
    stored = sum(
      numbers[8 + place : 8 + place + len(right)] << np.uint32(8 * place)
      for place in range(4)
    )
    for hit in np.flatnonzero(right == stored).tolist():
      frame, _ = _read_frame(file, offset + hit, size=size)
      if frame.data is not None:
        return offset + hit
    offset += _WINDOW
  return size


def _read_length(file: BinaryIO, offset: int) -> int | None:
  """Returns the length in a header, or None if it is not right."""
  header = _read_at(file, offset, _HEADER)
  if len(header) < _HEADER:
    return None
  length, stored = struct.unpack('<QI', header)
  return length if masked_crc32c(header[:8]) == stored else None


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
  file.seek(offset)
  return file.read(size)
