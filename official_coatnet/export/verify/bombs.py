"""Small files that cost a server much, unless it looks before it decodes.

Each has some hundred kilobytes, and would take seconds or minutes: blocks and
frames of a GIF without number, a JPEG that is gone over again and again, texts
of a PNG that unpack to a thousand times their size. Beside them the costliest
images that are still answered, which have as many pixels as an export takes.
"""

import math
import struct
import zlib

import numpy as np
import tensorflow as tf

# Bytes of a GIF of each kind.
_GIF_BYTES = 1_000_000
_EXTENSION = b'\x21\xfe'
# A frame of one pixel, at the left upper corner.
_FRAME = struct.pack('<BHHHHBB', 0x2C, 0, 0, 1, 1, 0, 2) + b'\x02\x44\x01\0'
_SCREEN = struct.pack('<6sHHBBB', b'GIF89a', 16, 16, 0x80, 0, 0)
_GIF_HEAD = _SCREEN + b'\0\0\0\xff\xff\xff'
# Of Adam7: where each pass begins, and how far its pixels are apart.
_PASSES = (
  *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8)),
  *((2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def make(*, max_pixels: int) -> dict[str, bytes]:
  """Makes files that are refused, or answered at the highest cost.

  Args:
    max_pixels: Of the export's options.

  Returns:
    Each by what it is.
  """
  side = min(math.isqrt(max_pixels), 2**14 - 1)
  progressive = _jpeg(side)
  text = _chunk(b'zTXt', b'k\0\0' + zlib.compress(bytes(7_900_000), 9))
  return {
    'GIF of empty blocks': _gif(_EXTENSION + b'\0'),
    'GIF of frames of one pixel': _gif(_FRAME),
    'GIF of short chunks in turn': (
      _GIF_HEAD
      + _EXTENSION
      + b'\x01a\x02bb' * (_GIF_BYTES // 5)
      + b'\0'
      + _FRAME
      + b';'
    ),
    'GIF of frames as large as the limit': _gif(_large_frame(side), count=60),
    'JPEG of 20 scans': _repeat_scan(progressive, 10),
    'JPEG of 1,000 scans': _repeat_scan(progressive, 990),
    'JPEG of 40,000 scans of few pixels': _repeat_scan(_jpeg(40), 40_000),
    'PNG of compressed texts': _png(8, before=text * 100),
    'PNG of compressed texts behind the image': _png(8, behind=text * 100),
    'PNG of as many texts as are read': _png(8, before=text * 20),
    'PNG of 16 bits, interlaced': _png(side, depth=16),
    'PNG of empty chunks': _png(8, behind=_chunk(b'IDAT', b'') * 80_000),
    'PNG that claims to be huge': _png(8, claim=2**31 - 1),
    'WebP that claims to be huge': _webp(2**14 - 1),
  }


def make_small() -> list[bytes]:
  """Makes small ones of each format, to damage: a few kilobytes each."""
  text = _chunk(b'zTXt', b'k\0\0' + zlib.compress(bytes(100_000), 9))
  return [
    _gif(_EXTENSION + b'\0' + _FRAME, count=200),
    _gif(_FRAME, count=200),
    _repeat_scan(_jpeg(64), 100),
    _png(64, before=text * 30),
    _png(64, depth=16),
    _webp(64),
  ]


def _gif(block: bytes, *, count: int | None = None) -> bytes:
  if count is None:
    count = _GIF_BYTES // len(block)
  return _GIF_HEAD + block * count + _FRAME + b';'


def _large_frame(side: int) -> bytes:
  """A frame that says how large it is, and holds next to nothing."""
  return struct.pack('<BHHHHBB', 0x2C, 0, 0, side, side, 0, 2) + _FRAME[-4:]


def _jpeg(side: int) -> bytes:
  """A progressive JPEG, of ten scans."""
  flat = np.full([side, side, 3], (90, 100, 200), np.uint8)
  return bytes(tf.io.encode_jpeg(flat, progressive=True).numpy())


def _repeat_scan(jpeg: bytes, count: int) -> bytes:
  """Appends the last scan again and again."""
  start, end = jpeg.rfind(b'\xff\xda'), jpeg.rfind(b'\xff\xd9')
  return jpeg[:end] + jpeg[start:end] * count + jpeg[end:]


def _png(
  side: int,
  *,
  depth: int = 8,
  claim: int | None = None,
  before: bytes = b'',
  behind: bytes = b'',
) -> bytes:
  """A black PNG; of 16 bits it is RGBA, and interlaced."""
  is_deep = depth == 16
  channels, passes = (4, _PASSES) if is_deep else (3, ((0, 0, 1, 1),))
  packer, pixels = zlib.compressobj(9), b''
  for left, top, across, down in passes:
    width, height = -(-(side - left) // across), -(-(side - top) // down)
    if width > 0:
      row = bytes(1 + width * channels * depth // 8)
      pixels += b''.join(packer.compress(row) for _ in range(height))
  pixels += packer.flush()
  shown = claim or side
  kind = 6 if is_deep else 2
  header = struct.pack('>IIBBBBB', shown, shown, depth, kind, 0, 0, is_deep)
  return (
    b'\x89PNG\r\n\x1a\n'
    + _chunk(b'IHDR', header)
    + before
    + _chunk(b'IDAT', pixels)
    + behind
    + _chunk(b'IEND', b'')
  )


def _chunk(kind: bytes, body: bytes) -> bytes:
  checksum = struct.pack('>I', zlib.crc32(kind + body))
  return struct.pack('>I', len(body)) + kind + body + checksum


def _webp(side: int) -> bytes:
  """A WebP without loss whose pixels are all of one colour.

  Behind the sides: no transform, no cache of colours, one group of codes, and
  five codes that know one symbol each.
  """
  bits, count = 0x2F, 8
  for value, size in ((side - 1, 14), (side - 1, 14), (0, 1), (0, 3), (0, 3)):
    bits |= value << count
    count += size
  for _ in range(5):  # Simple, of one symbol, of one bit: 0.
    bits |= 1 << count
    count += 4
  body = bits.to_bytes(-(-count // 8) + 4, 'little')
  body += b'\0' * (len(body) % 2)
  chunk = b'VP8L' + struct.pack('<I', len(body)) + body
  return b'RIFF' + struct.pack('<I', 4 + len(chunk)) + b'WEBP' + chunk
