"""CRC-32C (Castagnoli), by NumPy: the checksum of TFRecord files.

A cyclic redundancy check is linear: that of a block is the exclusive or of what
each of its bytes contributes at its place. So blocks are looked up in a table,
all at once, and then chained by the (equally linear) operation of moving a
checksum on by a block of zeros.

Polynomial and test values: RFC 3720, appendix B.4. Masking: TFRecord, where the
checksum of data that holds checksums itself should not come out special.
"""

import numpy as np

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
    return int(_mask(np.uint32(self.checksum(data))))

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
      found[start : start + 64] = np.bitwise_xor.reduce(values, axis=1)
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
