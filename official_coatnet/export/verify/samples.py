"""Small images to check an export with: whole, of every format, and damaged.

The damaged ones are to be refused or answered, and survived: files cut off,
bytes changed, pieces removed, repeated or taken from another file, and headers
of every format that lie about the size.
"""

import glob
import os
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.data import image_files
from official_coatnet.export.warmup import make_jpeg, make_pixels

# What a header may claim: nothing, little, much, and what overflows.
_SIDES = (0, 1, 2, 255, 256, 4096, 9000, 30000, 65535)
_HUGE = (2**15 - 1, 2**16, 2**24, 2**31 - 1)


def read_images(pattern: str) -> list[bytes]:
  """Reads the image files that a pattern such as 'photos/*.jpg' matches.

  Returns:
    Of each file an image that a graph decodes, as predict.py makes it.

  Raises:
    ValueError: If it matches none, or one of them is no image.
  """
  # As it is called, where there is such a file.
  files = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
  if not files:
    raise ValueError(f'--images={pattern} matches no file.')
  if os.path.isdir(files[0]):
    raise ValueError(
      f'--images={pattern} is a folder; give a pattern of its files, such as '
      f"'{os.path.join(pattern, '*.jpg')}'."
    )
  encoded = []
  for file in files:
    with open(file, 'rb') as f:
      contents = f.read()
    try:
      encoded.append(image_files.to_graph(contents))
    except ValueError as e:
      raise ValueError(f'--images={pattern}: {file}: {e}') from e
  return encoded


def make_images(count: int, *, side: int) -> list[bytes]:
  """Makes images of different formats, kinds and sizes, in turn.

  JPEG in colour and grey, PNG in colour, grey, with alpha and of 16 bits, BMP
  of 24 bits, GIF.

  Args:
    count: How many.
    side: About how large, in pixels.
  """
  kinds = (
    make_jpeg,
    lambda h, w, seed: _png(h, w, channels=3, seed=seed),
    _gif,
    lambda h, w, seed: _png(h, w, channels=4, seed=seed),
    _bmp,
    _grey_jpeg,
    lambda h, w, seed: _png(h, w, channels=1, seed=seed),
    _deep_png,
  )
  encoded = []
  for i in range(count):
    # Other sizes each time, wide ones and tall ones.
    height = side + 3 * (i % 5)
    width = side + 5 * ((i + 2) % 4)
    encoded.append(kinds[i % len(kinds)](height, width, seed=i))
  return encoded


def _grey_jpeg(height: int, width: int, *, seed: int) -> bytes:
  return tf.io.encode_jpeg(make_pixels(height, width, 1, seed=seed)).numpy()


def _png(height: int, width: int, *, channels: int, seed: int) -> bytes:
  image = make_pixels(height, width, channels, seed=seed)
  return tf.io.encode_png(image).numpy()


def _deep_png(height: int, width: int, *, seed: int) -> bytes:
  deep = tf.constant(make_pixels(height, width, seed=seed), tf.uint16) * 257
  return tf.io.encode_png(deep).numpy()


def _bmp(height: int, width: int, *, seed: int) -> bytes:
  """Returns a BMP of 24 bits, bottom row first."""
  rows = make_pixels(height, width, seed=seed)[::-1, :, ::-1]
  padding = b'\0' * (-3 * width % 4)
  body = b''.join(row.tobytes() + padding for row in rows)
  header = struct.pack(
    '<IiiHHIIiiII', 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
  )
  start = 14 + len(header)
  return struct.pack('<2sIHHI', b'BM', start + len(body), 0, 0, start) + (
    header + body
  )


def _gif(height: int, width: int, *, seed: int) -> bytes:
  """Returns a GIF of 128 grey values, without compression.

  Codes of 8 bits, and a code that clears the table before it makes them longer.
  """
  values = make_pixels(height, width, 1, seed=seed).reshape(-1) // 2
  clear, end = 128, 129
  codes = bytearray()
  for i in range(0, len(values), 100):
    codes.append(clear)
    codes += values[i : i + 100].tobytes()
  codes.append(end)
  chunks = (codes[i : i + 255] for i in range(0, len(codes), 255))
  body = b''.join(bytes([len(chunk)]) + chunk for chunk in chunks)
  palette = b''.join(bytes([2 * i] * 3) for i in range(128))
  screen = struct.pack('<6sHHBBB', b'GIF89a', width, height, 0xF6, 0, 0)
  image = struct.pack('<BHHHHBB', 0x2C, 0, 0, width, height, 0, 7)
  return screen + palette + image + body + b'\0;'


def make_damaged(
  index: int, originals: Sequence[bytes], *, seed: int = 0
) -> bytes:
  """Makes a damaged image, the same one for equal arguments.

  Args:
    index: Its number.
    originals: Whole images to damage, such as `make_images` gives.
    seed: Of all numbers.
  """
  rng = np.random.default_rng([seed, index])
  image = bytearray(originals[int(rng.integers(len(originals)))])
  other = originals[int(rng.integers(len(originals)))]
  damages = (_cut, _flip, _remove, _repeat, _zero, _noise)
  kind = rng.integers(len(damages) + 3)
  if kind < len(damages):
    damages[kind](image, rng)
  elif kind == len(damages):
    at = int(rng.integers(len(image) + 1))
    image[at:] = other[min(at, len(other)) :]
  else:
    _lie(image, rng)
  if rng.random() < 0.2:
    damages[rng.integers(len(damages))](image, rng)
  return bytes(image)


def _piece(image: bytearray, rng: np.random.Generator) -> slice:
  start = int(rng.integers(len(image) + 1))
  return slice(start, start + int(rng.integers(1, 64)))


def _cut(image, rng):
  del image[rng.integers(len(image) + 1) :]


def _flip(image, rng):
  for _ in range(rng.integers(1, 9)):
    if image:
      image[rng.integers(len(image))] = rng.integers(256)


def _remove(image, rng):
  del image[_piece(image, rng)]


def _repeat(image, rng):
  piece = _piece(image, rng)
  image[piece.start : piece.start] = image[piece] * int(rng.integers(1, 5))


def _zero(image, rng):
  piece = _piece(image, rng)
  image[piece] = bytes(len(image[piece]))


def _noise(image, rng):
  piece = _piece(image, rng)
  image[piece] = rng.bytes(len(image[piece]))


def _lie(image: bytearray, rng: np.random.Generator):
  """Writes another size into the header."""
  sides = [int(rng.choice(_SIDES)) for _ in range(2)]
  large = [int(rng.choice(_SIDES + _HUGE)) for _ in range(2)]
  if image[:2] == b'\xff\xd8':
    _lie_jpeg(image, sides)
  elif image[:4] == b'\x89PNG':
    image[16:24] = struct.pack('>II', *large)
    # A wrong checksum would give it away.
    image[29:33] = struct.pack('>I', zlib.crc32(image[12:29]))
  elif image[:3] == b'GIF':
    frame = image.find(b'\x2c', 13)
    at = 6 if rng.random() < 0.5 or frame < 0 else frame + 5
    image[at : at + 4] = struct.pack('<HH', *sides)
  elif image[:2] == b'BM':
    signs = [int(rng.choice((-1, 1))) for _ in range(2)]
    image[18:26] = struct.pack('<ii', *(a * b for a, b in zip(large, signs)))


def _lie_jpeg(image: bytearray, sides: Sequence[int]):
  """Finds the start of the frame, from marker to marker."""
  at = 2
  while at + 9 < len(image) and image[at] == 0xFF:
    if 0xC0 <= image[at + 1] <= 0xC2:
      image[at + 5 : at + 9] = struct.pack('>HH', *sides)
      return
    at += 2 + int.from_bytes(image[at + 2 : at + 4], 'big')
