"""Small images of every format, to warm up and to check an export with."""

import struct

import numpy as np
import tensorflow as tf


def pixels(height: int, width: int, channels: int = 3, *, seed: int = 0):
  """Returns a smooth image, uint8 [height, width, channels]."""
  noise = np.random.default_rng(seed).uniform(0, 255, (4, 4, channels))
  smooth = tf.image.resize(noise, [height, width], method='bilinear')
  return np.round(smooth.numpy()).astype(np.uint8)


def jpeg(height: int, width: int, *, seed: int = 0) -> bytes:
  """Returns a JPEG in colour."""
  return tf.io.encode_jpeg(pixels(height, width, seed=seed)).numpy()


def images(count: int, *, side: int) -> list[bytes]:
  """Returns images of different formats, kinds and sizes, in turn.

  JPEG in colour and grey, PNG in colour, grey, with alpha and of 16 bits, BMP
  of 24 bits, GIF.

  Args:
    count: How many.
    side: About how large, in pixels.
  """
  kinds = (
    jpeg,
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
  return tf.io.encode_jpeg(pixels(height, width, 1, seed=seed)).numpy()


def _png(height: int, width: int, *, channels: int, seed: int) -> bytes:
  return tf.io.encode_png(pixels(height, width, channels, seed=seed)).numpy()


def _deep_png(height: int, width: int, *, seed: int) -> bytes:
  deep = tf.constant(pixels(height, width, seed=seed), tf.uint16) * 257
  return tf.io.encode_png(deep).numpy()


def _bmp(height: int, width: int, *, seed: int) -> bytes:
  """Returns a BMP of 24 bits, bottom row first."""
  rows = pixels(height, width, seed=seed)[::-1, :, ::-1]
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
  values = pixels(height, width, 1, seed=seed).reshape(-1) // 2
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
