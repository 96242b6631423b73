"""Tests of official_coatnet.data.image_formats."""

import io

from absl.testing import absltest, parameterized
from PIL import Image

from official_coatnet.data import image_formats


def head_of(image_format, **options):
  buffer = io.BytesIO()
  Image.new('RGB', (32, 32)).save(buffer, image_format, **options)
  return buffer.getvalue()[: image_formats.HEAD]


def iso(brand, *compatible):
  brands = b''.join(compatible)
  size = (16 + len(brands)).to_bytes(4, 'big')
  return size + b'ftyp' + brand + b'\0\0\0\0' + brands + b'\0\0\0\x20meta'


class ImageFormatsTest(parameterized.TestCase):
  @parameterized.parameters(
    *('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'AVIF', 'JPEG2000', 'PPM'),
    *('ICO', 'PCX', 'SGI', 'QOI', 'DDS', 'ICNS'),
  )
  def test_what_pillow_opens_is_taken_whatever_its_name(self, image_format):
    head = head_of(image_format)
    for name in ('', 'x', 'x.txt'):
      self.assertEqual(image_formats.find_format(head, name=name), image_format)
      self.assertTrue(image_formats.can_open(head, name=name))

  def test_formats_without_a_beginning_go_by_their_ending(self):
    for options in ({}, {'compression': 'tga_rle'}):
      head = head_of('TGA', **options)
      self.assertEqual(image_formats.find_format(head, name='a/B.TGA'), 'TGA')
    # Compressed; the other could as well be a cursor.
    self.assertFalse(image_formats.can_open(head, name='a/tga'))

  @parameterized.parameters(
    (head_of('EPS'), 'EPS'),
    (head_of('PDF'), 'PDF'),
    (b'8BPS\0\1', 'PSD'),
    (b'\xef\xbb\xbf <svg xmlns="http://www.w3.org/2000/svg">', 'SVG'),
    (b'<?xml version="1.0"?>\n<!-- x -->\n<svg>', 'SVG'),
    (b'II*\0\x10\0\0\0CR\2\0', 'camera raw'),
    (iso(b'crx ', b'crx ', b'isom'), 'camera raw'),
    (b'FUJIFILMCCD-RAW 0201', 'camera raw'),
    (iso(b'isom', b'mp42'), 'video'),
    (b'\xff\x0a\xfa\x1f', 'JPEG XL'),
    (b'v/1\1\2\0\0\0', 'OpenEXR'),
  )
  def test_refused_by_name(self, head, name):
    self.assertEqual(image_formats.find_format(head), name)
    self.assertIn(name, image_formats.REFUSED)
    self.assertFalse(image_formats.can_open(head))

  def test_of_one_container_avif_and_heic(self):
    avif = iso(b'mif1', b'mif1', b'avif')
    self.assertEqual(image_formats.find_format(avif), 'AVIF')
    self.assertTrue(image_formats.can_open(avif))
    expected = 'HEIF' if image_formats.has_heif() else 'HEIC'
    for head in (iso(b'heic', b'mif1'), iso(b'mif1', b'heic', b'mif1')):
      self.assertEqual(image_formats.find_format(head), expected)
      self.assertEqual(image_formats.can_open(head), expected == 'HEIF')

  @parameterized.parameters(
    b'', b'\0', b'<html><body>404</body></html>', b'image,label\n', b'\x89P'
  )
  def test_no_image(self, head):
    self.assertIsNone(image_formats.find_format(head))
    self.assertFalse(image_formats.can_open(head))


if __name__ == '__main__':
  absltest.main()
