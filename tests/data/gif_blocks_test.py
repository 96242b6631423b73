"""Tests of official_coatnet.data.gif_blocks.

`pixel_count_test` has GIFs of Pillow's; these are put together by hand.
"""

import struct

import numpy as np
import tensorflow as tf

from official_coatnet.data import gif_blocks

_HEAD = struct.pack('<6sHHBBB', b'GIF89a', 9, 9, 0x81, 0, 0) + bytes(12)
_COMMENT = b'\x21\xfe'


def frame(height, width, *, chunks, colors=0):
  """A frame with a colour table of 2 ** colors entries, and some bytes."""
  flags = 0x80 | colors - 1 if colors else 0
  head = struct.pack('<BHHHHB', 0x2C, 0, 0, width, height, flags)
  table = bytes(3 << colors) if colors else b''
  return head + table + b'\x02' + pack(chunks) + b'\0'


def pack(lengths):
  """Chunks of these lengths, full of what could be taken for blocks."""
  return b''.join(bytes([n]) + b'\x2c' * n for n in lengths)


class GifBlocksTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._function = staticmethod(
      tf.function(
        gif_blocks.count_pixels,
        input_signature=[tf.TensorSpec([], tf.string)],
      )
    )

  def count(self, *blocks):
    pixels, is_all = self._function(b''.join((_HEAD, *blocks)))
    return int(pixels), bool(is_all)

  def test_chunks_of_any_lengths(self):
    rng = np.random.default_rng(0)
    blocks, expected = [], 0
    for i in range(60):
      lengths = np.repeat(rng.integers(1, 256, 4), rng.integers(1, 5, 4))
      height, width = rng.integers(1, 100, 2)
      blocks.append(_COMMENT + pack(lengths[::-1]) + b'\0')
      blocks.append(frame(height, width, chunks=lengths, colors=i % 9))
      expected += height * width
    self.assertEqual(self.count(*blocks, b';'), (expected, True))

  def test_a_block_of_nothing(self):
    empty, full = frame(3, 5, chunks=[]), frame(7, 11, chunks=[1])
    self.assertEqual(self.count(_COMMENT, b'\0', empty, full), (92, True))

  def test_a_run_is_one_step_and_longer_ones_are_few(self):
    """Twice as many chunks as there may be steps."""
    lengths = [255] * (2 * gif_blocks.MAX_STEPS)
    block = frame(100, 100, chunks=lengths)
    self.assertEqual(self.count(block, block), (20_000, True))

  def test_more_steps_than_are_gone(self):
    half = gif_blocks.MAX_STEPS // 2
    block = frame(1, 1, chunks=[1])  # Two steps.
    for blocks in (block * half, block * half + b';', block * half + b'\x7f'):
      self.assertEqual(self.count(blocks), (half, True))
    self.assertEqual(self.count(block * (half + 1)), (half, False))
    self.assertEqual(self.count((_COMMENT + b'\0') * (half + 1)), (0, False))
    turns = _COMMENT + pack([1, 2] * half)
    self.assertEqual(self.count(turns + b'\0'), (0, False))

  def test_what_is_behind_the_end_does_not_count(self):
    one = frame(2, 2, chunks=[9])
    self.assertEqual(self.count(one, b';', one), (4, True))
    self.assertEqual(self.count(one, b'\x7f', one), (4, True))


if __name__ == '__main__':
  tf.test.main()
