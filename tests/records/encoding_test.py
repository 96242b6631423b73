"""Tests of official_coatnet.records.encoding."""

import io

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from official_coatnet.records import encoding


def encode(picture, image_format='JPEG', **options):
  buffer = io.BytesIO()
  picture.save(buffer, image_format, **options)
  return buffer.getvalue()


def make_picture(color=(200, 100, 50), size=(12, 8)):
  return Image.new('RGB', size, color)


class NormalizeImageTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters('RGB', 'L')
  def test_jpeg_keeps_its_bytes(self, mode):
    contents = encode(make_picture().convert(mode))
    self.assertEqual(encoding.normalize_image(contents), (contents, 12, 8))

  def test_others_become_rgb_jpegs(self):
    picture = make_picture()
    rgba = picture.copy()
    rgba.putalpha(10)
    grey = int(picture.convert('L').getpixel((0, 0)))
    deep = Image.fromarray(np.full((8, 12), grey * 256 + 7, np.uint16))
    color = (200, 100, 50)
    cases = {
      'CMYK JPEG': (encode(picture.convert('CMYK')), color, 6),
      'PNG': (encode(picture, 'PNG'), color, 3),
      'RGBA PNG': (encode(rgba, 'PNG'), color, 3),
      '16-bit PNG': (encode(deep, 'PNG'), (grey,) * 3, 3),
      'palette GIF': (encode(picture.convert('P'), 'GIF'), None, 0),
      'animation': (
        encode(
          picture,
          'GIF',
          save_all=True,
          append_images=[make_picture((0, 0, 0))],
        ),
        color,
        8,
      ),
      'BMP': (encode(picture, 'BMP'), color, 3),
      'WebP': (encode(picture, 'WEBP'), color, 12),
      'TIFF': (encode(picture, 'TIFF'), color, 3),
    }
    for name, (contents, expected, tolerance) in cases.items():
      with self.subTest(name):
        encoded, width, height = encoding.normalize_image(contents)
        self.assertEqual((width, height), (12, 8))
        self.assertTrue(tf.io.is_jpeg(encoded))
        image = tf.io.decode_jpeg(encoded).numpy()
        self.assertEqual(image.shape, (8, 12, 3))
        if expected is not None:
          self.assertAllClose(image.mean(axis=(0, 1)), expected, atol=tolerance)


if __name__ == '__main__':
  tf.test.main()
