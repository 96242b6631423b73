"""Tests of official_coatnet.data.image_files, format by format."""

import importlib.machinery
import io
import itertools
import os
import re
import struct
import subprocess
import sys
import types
import warnings
import zlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import ExifTags, Image

from official_coatnet.data import image_files, image_formats, images
from tests.fixtures import format_files as files, format_page, repository
from tests.fixtures.format_files import RGB, save, tiff
from tests.fixtures.format_rows import UNKNOWN

TABLE = format_page.table()


def difference(pixels, expected):
  """Largest difference of two images."""
  return np.abs(np.asarray(pixels).astype(int) - expected).max()


class TableTest(parameterized.TestCase, tf.test.TestCase):
  """A file of each line of docs/formats.md."""

  @parameterized.named_parameters(
    (re.sub(r'\W+', '_', f'{i}_{row.format}_{row.pixels}'), row)
    for i, row in enumerate(TABLE)
  )
  def test_line(self, row):
    contents = row.make()
    if row.tools:
      self.check_refused(contents, row.tools)
    if row.expected is not None:
      options = image_files.Options(value_range=row.value_range)
      self.check_pixels(contents, options, row)
    head = contents[: image_formats.HEAD]
    if row.expected is not None:
      self.assertTrue(image_formats.can_open(head, name=row.name))
    self.check_raw(contents, row)

  def check_refused(self, contents, words):
    """Everybody refuses, in words that name what is wrong."""
    for read in (
      image_files.to_jpeg,
      image_files.to_graph,
      image_files.decode,
    ):
      with self.assertRaisesRegex(ValueError, words):
        read(contents)

  def check_pixels(self, contents, options, row):
    """All who read it have the pixels that it was made of."""
    decoded = image_files.decode(contents, options)
    self.assertLessEqual(difference(decoded, row.expected), row.tolerance)
    sent = images.decode_whole(image_files.to_graph(contents, options))
    self.assertLessEqual(difference(sent, row.expected), row.tolerance)
    jpeg, width, height = image_files.to_jpeg(contents, options)
    self.assertEqual((width, height), decoded.size)
    if jpeg != contents:
      # What JPEG loses, and nothing else.
      sent = images.decode_whole(save(decoded, 'JPEG', quality=95))
    self.assertAllEqual(images.decode_whole(jpeg), sent)

  def check_raw(self, contents, row):
    """A graph decodes the file as it is, or does not, as the line says."""
    refused = row.raw
    if row.raw_newer and row.format not in images.DECODED:
      refused = UNKNOWN
    elif row.expected is not None and row.format in ('JPEG', 'BMP', 'WebP'):
      problem = image_files.raw_problem(contents)
      self.assertEqual(bool(problem), row.raw is not None)
    if refused is not None:
      with self.assertRaisesRegex(tf.errors.InvalidArgumentError, refused):
        images.decode_whole(contents)
      return
    pixels = images.decode_whole(contents).numpy()
    if not row.raw_other:
      self.assertLessEqual(difference(pixels, row.expected), row.tolerance)
    elif pixels.shape == row.expected.shape:
      self.assertGreater(difference(pixels, row.expected), 50)

  def test_page_is_current(self):
    path = os.path.join(repository.ROOT, format_page.PATH)
    with open(path, encoding='utf-8') as file:
      text = file.read()
    self.assertEqual(
      text,
      format_page.page(text),
      'Run `python -m tests.fixtures.format_page --write`.',
    )


def oriented(orientation, image_format='JPEG', **options):
  """An image file with a tag, and how a viewer shows it."""
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = orientation
  contents = save(RGB, image_format, exif=exif.tobytes(), **options)
  turns = {1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1]}
  turns |= {5: RGB, 6: RGB[::-1], 7: RGB[::-1, ::-1], 8: RGB[:, ::-1]}
  seen = turns[orientation]
  return contents, seen.swapaxes(0, 1) if orientation > 4 else seen


TURNED = image_files.Options(exif_orientation=True)


class OrientationTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    *itertools.product(range(2, 9), ('JPEG', 'PNG', 'WEBP', 'AVIF')),
  )
  def test_turned_as_viewers_do_where_it_is_asked_for(self, number, kind):
    options = {'lossless': True} if kind == 'WEBP' else {}
    if kind in ('JPEG', 'AVIF'):
      options = {'quality': 95}
    contents, seen = oriented(number, kind, **options)
    for encoded in (
      image_files.to_graph(contents, TURNED),
      image_files.to_jpeg(contents, TURNED)[0],
    ):
      pixels = images.decode_whole(encoded)
      self.assertEqual(pixels.shape, seen.shape)
      self.assertLess(difference(pixels, seen), 30)
      # Nobody is to turn it again.
      with Image.open(io.BytesIO(encoded)) as image:
        self.assertNotIn(ExifTags.Base.Orientation, image.getexif())
    # Otherwise it lies as it is stored.
    pixels = images.decode_whole(image_files.to_graph(contents))
    self.assertLess(difference(pixels, RGB), 30)

  def test_size_is_that_of_the_turned_image(self):
    contents, _ = oriented(6)
    self.assertEqual(image_files.to_jpeg(contents, TURNED)[1:], (20, 24))
    self.assertEqual(image_files.to_jpeg(contents), (contents, 24, 20))

  def test_what_lies_right_keeps_its_bytes(self):
    for contents in (oriented(1)[0], save(RGB, 'JPEG')):
      self.assertEqual(image_files.to_jpeg(contents, TURNED)[0], contents)
      self.assertEqual(image_files.to_graph(contents, TURNED), contents)

  def test_tags_that_mean_nothing(self):
    right, _ = oriented(1)
    for number in (0, 9, 65535):
      exif = Image.Exif()
      exif[ExifTags.Base.Orientation] = number
      contents = save(RGB, 'JPEG', exif=exif.tobytes())
      self.assertEqual(image_files.to_jpeg(contents, TURNED)[0], contents)
    for broken in (
      b'Exif\0\0',
      b'Exif\0\0MM\0*\xff\xff\xff\xff',
      b'Exif\0\0xy',
    ):
      contents = save(RGB, 'JPEG', exif=broken)
      self.assertEqual(image_files.to_jpeg(contents, TURNED)[0], contents)
    self.assertLess(len(right), 5000)

  def test_a_tiff_is_turned_by_its_tag_once_and_always(self):
    contents = tiff(RGB, photometric=2, tags=[(274, 6)])
    seen = RGB[::-1].swapaxes(0, 1)
    for options in (TURNED, image_files.Options()):
      decoded = image_files.decode(contents, options)
      self.assertAllEqual(np.asarray(decoded), seen)

  def test_several_pictures_of_a_camera(self):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    contents = files.animated('MPO', exif=exif.tobytes(), quality=95)
    encoded, width, height = image_files.to_jpeg(contents, TURNED)
    self.assertEqual((width, height), (20, 24))
    seen = RGB[::-1].swapaxes(0, 1)
    self.assertLess(difference(images.decode_whole(encoded), seen), 30)

  def test_what_an_export_says(self):
    for data, expected in (
      (None, False),
      ({}, False),
      ({'train': None}, False),
      ({'train': {'exif_orientation': False}}, False),
      ({'train': {'exif_orientation': True}}, True),
    ):
      self.assertEqual(image_files.trained_with_exif(data), expected)


class RefusalTest(parameterized.TestCase, tf.test.TestCase):
  def assert_refused(self, contents, words):
    with self.assertRaisesRegex(ValueError, words):
      image_files.to_jpeg(contents)

  @parameterized.parameters('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP')
  def test_cut_off(self, image_format):
    contents = save(RGB, image_format)
    for share in (0.3, 0.6):
      self.assert_refused(contents[: int(share * len(contents))], '.')

  def test_bombs(self):
    header = struct.pack('>IIBBBBB', 40_000, 40_000, 8, 2, 0, 0, 0)
    contents = bytearray(save(RGB, 'PNG'))
    contents[16:29] = header
    contents[29:33] = struct.pack('>I', zlib.crc32(contents[12:29]))
    for read in (image_files.to_jpeg, image_files.to_graph):
      with self.assertRaisesRegex(ValueError, r'1600000000 pixels.* Shrink it'):
        read(bytes(contents))

  def test_nothing_is_printed_of_a_large_image(self):
    contents = io.BytesIO()
    # More than what Pillow warns of.
    Image.new('1', (10_000, 9_000)).save(contents, 'PNG')
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      image_files.to_graph(contents.getvalue())

  def test_heic_where_pillow_can_read_it(self):
    """The package is asked to teach Pillow, and what comes of it is taken."""
    package = types.ModuleType('pillow_heif')
    package.__spec__ = importlib.machinery.ModuleSpec('pillow_heif', None)
    package.register_heif_opener = mock.Mock(
      side_effect=lambda: Image.register_open(
        'HEIF',
        lambda file, name: Image.new('RGB', (24, 20), (9, 8, 7)),
        lambda prefix: prefix[8:12] == b'heic',
      )
    )
    contents = b'\0\0\0\x18ftypheic\0\0\0\0heicmif1' + bytes(99)
    self.assert_refused(contents, '^HEIC is not taken: .*pillow-heif')
    self.assertFalse(image_formats.can_open(contents))
    known = dict(Image.OPEN), list(Image.ID)
    with mock.patch.dict(sys.modules, pillow_heif=package):
      self.assertTrue(image_formats.can_open(contents))
      _, width, height = image_files.to_jpeg(contents)
    Image.OPEN.clear()
    Image.OPEN.update(known[0])
    Image.ID[:] = known[1]
    self.assertEqual((width, height), (24, 20))

  def test_a_raw_file_is_not_the_preview_in_it(self):
    for tags in ([(254, 1)], [(50706, 0x104)]):
      contents = tiff(RGB, photometric=2, tags=tags)
      self.assert_refused(contents, 'camera raw is not taken')
    # The second page of others may well be a preview.
    self.assertEqual(
      image_files.decode(tiff(RGB, photometric=2, tags=[(254, 0)])).size,
      (24, 20),
    )

  def test_ranges(self):
    self.assertIsNone(image_files.parse_range(None, name='--value_range'))
    parse = image_files.parse_range
    self.assertEqual(parse('0,1', name='--value_range'), (0, 1))
    self.assertEqual(parse('1e3, -2.5', name='--value_range'), (1000, -2.5))
    for text in ('', '1', '0,1,2', 'a,b', '1,1', '0,inf', 'nan,1', '0:1'):
      with self.assertRaisesRegex(
        ValueError, f'--value_range is {text!r}, but'
      ):
        parse(text, name='--value_range')

  def test_neither_tensorflow_nor_numpy_is_needed_for_usual_images(self):
    code = (
      'import sys; sys.modules.update(numpy=None, tensorflow=None)\n'
      'from official_coatnet.data import image_files\n'
      'contents = sys.stdin.buffer.read()\n'
      'sys.stdout.buffer.write(image_files.to_graph(contents))'
    )
    process = subprocess.run(
      [sys.executable, '-c', code],
      input=files.gif([(0, 0, files.INDEX)]),
      capture_output=True,
      check=True,
      cwd=repository.ROOT,
    )
    self.assertAllEqual(
      images.decode_whole(process.stdout), files.PALETTE[files.INDEX]
    )


if __name__ == '__main__':
  tf.test.main()
