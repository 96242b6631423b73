"""Tests of official_coatnet.data.pixel_count."""

import io
import struct

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from official_coatnet.data import pixel_count
from tests.fixtures import format_files, image_files


def make_gif(sides, **kwargs):
  """Returns a GIF with a frame of each size."""
  frames = []
  for i, (height, width) in enumerate(sides):
    values = np.full([height, width], i, np.uint8)
    values[0] = 200 + i  # Frames that are alike would be left out.
    frames.append(Image.fromarray(values))
  file = io.BytesIO()
  frames[0].save(file, 'GIF', save_all=True, append_images=frames[1:], **kwargs)
  return file.getvalue()


class PixelCountTest(tf.test.TestCase, parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.estimate = staticmethod(
      tf.function(
        pixel_count.estimate, input_signature=[tf.TensorSpec([], tf.string)]
      )
    )

  def count(self, encoded):
    cost = self.estimate(encoded)
    self.assertFalse(cost.is_intricate)
    return cost.pixels

  def test_every_format(self):
    for name, encoded in image_files.encoded_images().items():
      with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size
        frames = getattr(image, 'n_frames', 1)
      self.assertEqual(
        int(self.count(encoded)), height * width * frames, msg=name
      )

  def test_frames_of_a_gif(self):
    """With a colour table of its own, an extension and a comment each."""
    gif = make_gif([(30, 40)] * 7, comment=b'x' * 700, loop=0, duration=20)
    with Image.open(io.BytesIO(gif)) as image:
      self.assertEqual(image.n_frames, 7)
      expected = 0
      for i in range(7):
        image.seek(i)
        left, top, right, bottom = image.dispose_extent if i else (0, 0, 40, 30)
        expected += (right - left) * (bottom - top)
    self.assertEqual(int(self.count(gif)), expected)

  def test_a_gif_cannot_lie_in_its_header(self):
    gif = bytearray(make_gif([(300, 500)]))
    gif[6:10] = struct.pack('<HH', 2, 2)
    self.assertEqual(
      tf.io.decode_image(bytes(gif), expand_animations=False).shape[:2],
      [300, 500],
    )
    self.assertEqual(int(self.count(bytes(gif))), 300 * 500)

  def test_a_header_is_believed_where_nobody_sends_it(self):
    gif = make_gif([(30, 40)] * 7)
    self.assertEqual(int(pixel_count.count_pixels(tf.constant(gif))), 30 * 40)

  def test_scans_of_a_jpeg(self):
    """Each 20 of them count once; libjpeg goes over blocks of 16 x 16."""
    flat = np.full([30, 33, 3], 90, np.uint8)
    jpeg = tf.io.encode_jpeg(flat, progressive=True).numpy()
    start, end = jpeg.rfind(b'\xff\xda'), jpeg.rfind(b'\xff\xd9')
    scans = jpeg.count(b'\xff\xda\0')
    self.assertEqual(scans, 10)
    for count, expected in (
      (10, 30 * 33),
      (20, 30 * 33),
      (21, 2 * 32 * 48),
      (100, 5 * 32 * 48),
      (3000, 150 * 32 * 48),
    ):
      more = jpeg[start:end] * (count - scans)
      self.assertEqual(
        int(self.count(jpeg[:end] + more + jpeg[end:])), expected
      )

  def test_texts_of_a_png(self):
    png = tf.io.encode_png(np.zeros([4, 5, 3], np.uint8)).numpy()
    for kind in (b'zTXt', b'iTXt'):
      for count, expected in ((1, False), (20, False), (21, True)):
        cost = self.estimate(png[:33] + kind * count + png[33:])
        self.assertEqual(int(cost.pixels), 20)
        self.assertEqual(bool(cost.is_intricate), expected)
    # Other formats hold such letters by chance only.
    self.assertFalse(self.estimate(b'BM' + b'zTXt' * 99).is_intricate)

  def test_what_is_cut_off_or_no_image(self):
    gif = make_gif([(30, 40)] * 2)
    for length in range(len(gif)):
      self.assertBetween(int(self.count(gif[:length])), 0, 2 * 30 * 40)
    for encoded in (b'', b'GIF8', b'BM', b'\x89PNG', b'RIFF', b'\0' * 100):
      self.assertEqual(int(self.count(encoded)), 0)

  def test_a_bmp_of_os2_has_no_sides_to_be_read(self):
    bmp = format_files.bmp(b'\0' * 2000, bits=24, header=12)
    self.assertEqual(int(self.count(bmp)), 0)

  @parameterized.parameters(
    ('RGB', {'quality': 80}, b'VP8 '),
    ('RGB', {'lossless': True}, b'VP8L'),
    ('RGBA', {'lossless': True}, b'VP8L'),
    ('RGBA', {'quality': 80}, b'VP8X'),
    ('RGB', {'save_all': True, 'append_images': True}, b'VP8X'),
  )
  def test_kinds_of_webp(self, mode, options, chunk):
    if options.get('append_images'):
      options = options | {'append_images': [Image.new('RGB', (301, 77))]}
    alpha = np.arange(301 * 77, dtype=np.uint8).reshape(77, 301, 1)
    pixels = np.concatenate([image_files.pixels(77, 301), alpha], axis=-1)
    image = Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    image.save(file, 'WEBP', **options)
    self.assertEqual(file.getvalue()[12:16], chunk)
    self.assertEqual(int(self.count(file.getvalue())), 77 * 301)
    for length in range(32):  # Of the header alone.
      self.assertLess(int(self.count(file.getvalue()[:length])), 2**32)

  def test_an_extended_webp_cannot_lie_in_its_header(self):
    file = io.BytesIO()
    noise = Image.fromarray(image_files.pixels(60, 50))
    noise.save(file, 'WEBP', quality=90, exif=b'Exif\0\0MM\0*\0\0\0\x08\0\0')
    webp = file.getvalue()
    self.assertEqual(webp[12:16], b'VP8X')
    self.assertEqual(int(self.count(webp)), 50 * 60)
    small = webp[:24] + b'\1\0\0\1\0\0' + webp[30:]
    self.assertEqual(int(self.count(small)), 4)
    with self.assertRaises(tf.errors.InvalidArgumentError):
      tf.io.decode_image(small, channels=3, expand_animations=False)

  def test_sides_that_overflow(self):
    png = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack(
      '>II', 2**31 - 1, 2**31 - 1
    )
    self.assertEqual(int(self.count(png)), (2**31 - 1) ** 2)
    bmp = b'BM' + b'\0' * 16 + struct.pack('<ii', 60000, -60000)
    self.assertEqual(int(self.count(bmp)), 60000**2)


if __name__ == '__main__':
  tf.test.main()
