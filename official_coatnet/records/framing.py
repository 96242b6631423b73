"""TFRecord files, frame by frame, damaged ones included.

A record is framed as: its length, uint64; the masked CRC-32C of these 8 bytes,
uint32; the data; their masked CRC-32C, uint32; all little-endian. TensorFlow
gives up on a file at the first thing that is wrong. Here whatever is intact is
found: where the length holds, the next record begins right after the damaged
one; where it does not, all that follows is searched for the next header whose
checksum is right.

A checksum is CRC-32C (Castagnoli), here by NumPy. A cyclic redundancy check is
linear: that of a block is the exclusive or of what each of its bytes
contributes at its place. So blocks are looked up in a table, all at once, and
then chained by the (equally linear) operation of moving a checksum on by a
block of zeros.
Polynomial and test values: RFC 3720, appendix B.4. Masking: TFRecord, where the
checksum of data that holds checksums itself should not come out special.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

_HEADER = 12  # Length and its checksum.
_FOOTER = 4  # Checksum of the data.
_WINDOW = 1 << 20

_POLYNOMIAL = 0x82F63B78  # Bit-reversed.
_BLOCK = 1024


class Crc32c:
  """Computes CRC-32C; an object holds the tables, 1 MiB.

  Objects are made where they are needed and not shared: making one costs a few
  milliseconds.
  """

  def __init__(self):
    self._of_byte = _byte_table()
    self._table = np.zeros((_BLOCK, 256), np.uint32)
    # The last byte of a block contributes its own checksum; one further ahead,
    # that moved on by one byte of zero.
    self._table[-1] = self._of_byte
    for place in range(_BLOCK - 2, -1, -1):
      self._table[place] = self._step(self._table[place + 1])
    self._places = np.arange(_BLOCK, dtype=np.int64) * 256
    # Moving a checksum on by a block, byte by byte of the checksum.
    self._move = [self._table[byte].tolist() for byte in range(4)]

  def checksum(self, data: bytes) -> int:
    """Returns the CRC-32C of bytes."""
    # Starting from all ones is the same as flipping the first four bytes.
    if len(data) < 4:
      state = 0xFFFFFFFF
      for byte in data:
        state = int(self._of_byte[(state ^ byte) & 0xFF]) ^ (state >> 8)
      return state ^ 0xFFFFFFFF
    # Zeros in front of it change nothing.
    padding = -len(data) % _BLOCK
    padded = np.zeros(padding + len(data), np.uint8)
    padded[padding:] = np.frombuffer(data, np.uint8)
    padded[padding : padding + 4] ^= 0xFF
    state = 0
    for block in self._of_blocks(padded.reshape(-1, _BLOCK)).tolist():
      state = block ^ (
        self._move[0][state & 0xFF]
        ^ self._move[1][state >> 8 & 0xFF]
        ^ self._move[2][state >> 16 & 0xFF]
        ^ self._move[3][state >> 24]
      )
    return state ^ 0xFFFFFFFF

  def masked(self, data: bytes) -> int:
    """Returns the CRC-32C of bytes as TFRecord files store it."""
    return int(_mask(np.array(self.checksum(data), np.uint32)))

  def masked_windows(self, data: bytes) -> np.ndarray:
    """Returns the masked CRC-32C of every 8 bytes: uint32 [len(data) - 7]."""
    numbers = np.frombuffer(data, np.uint8)
    state = np.full(max(len(data) - 7, 0), 0xFFFFFFFF, np.uint32)
    for place in range(8):
      state = self._step(state ^ numbers[place : place + len(state)])
    return _mask(state ^ np.uint32(0xFFFFFFFF))

  def _step(self, state: np.ndarray) -> np.ndarray:
    """Moves checksums, uint32, on by one byte of zero."""
    return self._of_byte[state & 0xFF] ^ (state >> np.uint32(8))

  def _of_blocks(self, blocks: np.ndarray) -> np.ndarray:
    """Returns the checksums, uint32 [n], of blocks, uint8 [n, _BLOCK]."""
    found = np.empty(len(blocks), np.uint32)
    for start in range(0, len(blocks), 64):  # Little enough for the cache.
      part = blocks[start : start + 64]
      values = self._table.ravel().take(part + self._places)
      np.bitwise_xor.reduce(values, axis=1, out=found[start : start + 64])
    return found


def _byte_table() -> np.ndarray:
  state = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    odd = (state & 1).astype(bool)
    state = (state >> np.uint32(1)) ^ np.where(odd, _POLYNOMIAL, 0).astype(
      np.uint32
    )
  return state


def _mask(crc: np.ndarray) -> np.ndarray:
  """Rotates right by 15 bits and adds a constant, modulo 2**32."""
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
  crc = Crc32c()
  offset = 0
  while offset < size:
    frame, end = _read_frame(file, offset, size=size, crc=crc)
    if end is None or (
      frame.data is None and not _is_boundary(file, end, size=size, crc=crc)
    ):
      # The length leads nowhere: bytes are missing, too many, or wrong.
      end = _find_frame(file, offset + 1, size=size, crc=crc)
    yield frame
    offset = end


def _read_frame(
  file: BinaryIO, offset: int, *, size: int, crc: Crc32c
) -> tuple[Frame, int | None]:
  """Returns what is at an offset, and where it ends if that is known."""
  length = _read_length(file, offset, crc=crc)
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
  if crc.masked(data) != struct.unpack('<I', stored)[0]:
    problem = f'data damaged, the checksum of its {length} bytes is wrong'
    return Frame(offset, None, problem), end
  return Frame(offset, data), end


def _is_boundary(
  file: BinaryIO, offset: int, *, size: int, crc: Crc32c
) -> bool:
  """Whether a record begins at an offset, or the file ends there."""
  return offset == size or _read_length(file, offset, crc=crc) is not None


def _find_frame(file: BinaryIO, offset: int, *, size: int, crc: Crc32c) -> int:
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


def _read_length(file: BinaryIO, offset: int, *, crc: Crc32c) -> int | None:
  """Returns the length in a header, or None if it is not right."""
  header = _read_at(file, offset, _HEADER)
  if len(header) < _HEADER:
    return None
  length, stored = struct.unpack('<QI', header)
  return length if crc.masked(header[:8]) == stored else None


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
  file.seek(offset)
  return file.read(size)
