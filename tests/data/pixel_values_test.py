"""Tests of official_coatnet.data.pixel_values."""

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from official_coatnet.data import image_files, pixel_values
from tests.fixtures.format_files import tiff


def to_grey(pixels, value_range=None):
  return np.asarray(
    pixel_values.to_grey(Image.fromarray(pixels), value_range=value_range)
  )


def read(contents, value_range=None):
  """Reads a file, of which the three channels are alike."""
  options = image_files.Options(value_range=value_range)
  return np.asarray(image_files.decode(contents, options))[..., 0]


class ToGreyTest(parameterized.TestCase):
  def test_all_values_of_16_bits_to_the_nearest(self):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(to_grey(values), expected)
    # As those of 8 bits that are stored in 16: all come back.
    np.testing.assert_array_equal(
      to_grey(np.arange(256, dtype=np.uint16)[None] * 257)[0], np.arange(256)
    )

  @parameterized.parameters('<', '>')
  def test_order_of_bytes(self, order):
    values = np.array([[0, 1, 255, 256, 32768, 65535]], np.uint16)
    np.testing.assert_array_equal(
      read(tiff(values, order=order))[0], [0, 0, 1, 1, 128, 255]
    )

  @parameterized.parameters(
    ((0, 1), [0, 0.25, 0.5, 1], [0, 64, 128, 255]),
    ((0, 255), [0, 0.4, 0.6, 254.5], [0, 0, 1, 255]),
    ((-1, 1), [-1, 0, 0.5, 1], [0, 128, 191, 255]),
    ((1, 0), [0, 0.25, 0.5, 1], [255, 191, 128, 0]),  # White is less.
  )
  def test_stated_ranges(self, value_range, values, expected):
    pixels = np.array([values], np.float32)
    np.testing.assert_array_equal(to_grey(pixels, value_range)[0], expected)

  def test_all_of_32_bits(self):
    values = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
    np.testing.assert_array_equal(
      read(tiff(values), (0, 2**32 - 1))[0], [0, 128, 255]
    )
    values = np.array([[-(2**31), 0, 2**31 - 1]], np.int32)
    np.testing.assert_array_equal(
      read(tiff(values, sample_format=2), (-(2**31), 2**31 - 1))[0],
      [0, 128, 255],
    )

  def test_white_is_the_smallest(self):
    values = np.array([[0, 0.25, 1]], np.float32)
    contents = tiff(values, photometric=0, sample_format=3)
    np.testing.assert_array_equal(read(contents, (0, 1))[0], [255, 191, 0])

  @parameterized.parameters(
    ([0.1, 0.9], 'float32 pixels from 0.1 to 0.9,.*value_range=0,1$'),
    ([0, 200], 'from 0 to 200,.*value_range=0,255$'),
    ([0, 4095], 'from 0 to 4095,.*value_range=0,65535$'),
    ([-3, 2], 'from -3 to 2,.*value_range=-3,2$'),
    ([1e6, 1e6], 'from 1000000 to 1000000,.*value_range=0,1000000$'),
    ([-5, -5], 'from -5 to -5,.*value_range=-5,0$'),
  )
  def test_a_range_that_nobody_states(self, values, words):
    with self.assertRaisesRegex(ValueError, words):
      to_grey(np.array([values], np.float32))

  def test_a_range_that_is_wrong(self):
    pixels = np.array([[0, 200]], np.float32)
    for value_range in ((0, 1), (1, 0), (50, 300)):
      with self.assertRaisesRegex(ValueError, 'from 0 to 200, outside of'):
        to_grey(pixels, value_range)

  @parameterized.parameters(np.nan, np.inf, -np.inf)
  def test_no_numbers(self, value):
    pixels = np.array([[0, value, 1]], np.float32)
    for value_range in (None, (0, 1)):
      with self.assertRaisesRegex(ValueError, '1 of them no number'):
        to_grey(pixels, value_range)


if __name__ == '__main__':
  absltest.main()
