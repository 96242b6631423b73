"""Tests of official_coatnet.data.decoding."""

import io
import struct
import zlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from official_coatnet.data import (
  decoding,
  images,
  messages,
  pixel_count,
  schema,
  sources,
)
from tests.fixtures import example_files

SHAPE = (8, 8, 3)


def encode(image_format):
  small = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
  picture = Image.fromarray(small).resize((60, 40), Image.BICUBIC)
  buffer = io.BytesIO()
  picture.save(buffer, image_format)
  return buffer.getvalue()


JPEG, PNG, GIF, BMP, WEBP = map(encode, ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP'))
WEBPS = [WEBP] if 'WebP' in images.DECODED else []


def flip(content, place):
  return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def png_of(height, width):
  """A PNG whose header, with a checksum that fits, promises so many pixels."""
  chunk = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  crc = struct.pack('>I', zlib.crc32(chunk))
  return PNG[:12] + chunk + crc + PNG[33:]


def jpeg_of(height, width):
  """A JPEG whose header promises so many pixels."""
  place = JPEG.index(b'\xff\xc0') + 5
  return JPEG[:place] + struct.pack('>HH', height, width) + JPEG[place + 4 :]


def gif_of(height, width):
  return GIF[:6] + struct.pack('<HH', width, height) + GIF[10:]


def bmp_of(height, width):
  return BMP[:18] + struct.pack('<ii', width, height) + BMP[26:]


# Ends that are missing, or no image at all: told by a look at both ends.
DAMAGED = {
  'cut JPEG': JPEG[: len(JPEG) // 2],
  'JPEG without its end': JPEG[:-2],
  'header of a JPEG': JPEG[:4],
  'cut PNG': PNG[: len(PNG) // 2],
  'cut GIF': GIF[: len(GIF) // 2],
  'cut BMP': BMP[: len(BMP) // 2],
  'page': b'<!DOCTYPE html><html><body>404 Not Found</body></html>',
  'text': b'no image',
  'one byte': b'\xff',
  'TIFF': encode('TIFF'),
  'cut WebP': WEBP[: len(WEBP) // 2],
}
if 'WebP' not in images.DECODED:
  DAMAGED['WebP'] = WEBP
# Both ends are right.
DAMAGED_WITHIN = {
  'JPEG without its frame': JPEG.replace(b'\xff\xc0', b'\xff\xfe', 1),
  'PNG': flip(PNG, len(PNG) // 2),
}


def record(content=b''):
  return {
    'record': tf.constant(content),
    'file': tf.constant('train-7'),
    'position': tf.constant(31, tf.int64),
  }


def make(**options):
  """Returns a compiled decode, which traces once for all images."""

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def decode(encoded):
    return decoding.decode(
      record(),
      encoded,
      lambda each, limit: images.decode_for_eval(
        each, image_size=SHAPE[:2], limit=limit
      ),
      shape=SHAPE,
      keys=schema.get_schema('imagenet'),
      **{'max_pixels': 10_000, **options},
    )

  return decode


class DecodeTest(parameterized.TestCase, tf.test.TestCase):
  def assert_named(self, decode, encoded, words):
    with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
      decode(encoded)
    sentence = messages.sentence(caught.exception)
    self.assertStartsWith(sentence, 'train-7, record 31: the image')
    self.assertIn(words, sentence)
    self.assertEndsWith(sentence, 'leave such images out.')

  @parameterized.parameters(
    {}, {'careful': True}, {'skip': True}, {'skip': True, 'careful': True}
  )
  def test_good_images(self, **options):
    decode = make(**options)
    for encoded in (JPEG, PNG, GIF, BMP, JPEG + b'tail', *WEBPS):
      image, skipped = decode(encoded)
      self.assertFalse(skipped)
      self.assertAllEqual(
        image, images.decode_for_eval(encoded, image_size=SHAPE[:2])
      )

  @parameterized.parameters(True, False)
  def test_damage_is_named(self, careful):
    decode = make(careful=careful)
    for name, encoded in DAMAGED.items():
      with self.subTest(name):
        self.assert_named(
          decode, encoded, f'of {len(encoded)} bytes, does not decode'
        )

  def test_damage_within_is_named_by_the_careful_way(self):
    plain, careful = make(), make(careful=True)
    for name, encoded in DAMAGED_WITHIN.items():
      with self.subTest(name):
        with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
          plain(encoded)
        # The decoder's own words: no run goes on with such an image.
        self.assertIsNone(messages.sentence(caught.exception))
        self.assert_named(careful, encoded, 'does not decode')

  def test_all_damage_can_be_left_out(self):
    decode = make(skip=True)
    for name, encoded in {**DAMAGED, **DAMAGED_WITHIN}.items():
      with self.subTest(name):
        image, skipped = decode(encoded)
        self.assertTrue(skipped)
        self.assertAllEqual(image, np.zeros(SHAPE))

  @parameterized.parameters(True, False)
  def test_cut_off_below_the_crop(self, skip):
    """Whether an image is bad does not depend on where a crop lies."""

    def decode_top(encoded, limit=None):
      del limit
      image = tf.io.decode_and_crop_jpeg(encoded, [0, 0, 8, 8], channels=3)
      return tf.ensure_shape(image, SHAPE)

    @tf.function
    def run(encoded):
      return decoding.decode(
        record(),
        encoded,
        decode_top,
        shape=SHAPE,
        keys=schema.get_schema('imagenet'),
        max_pixels=10_000,
        skip=skip,
      )

    cut = tf.constant(JPEG[: len(JPEG) * 9 // 10])
    decode_top(cut)  # There is nothing wrong with the top.
    if skip:
      self.assertTrue(run(cut)[1])
    else:
      with self.assertRaisesRegex(
        tf.errors.InvalidArgumentError, 'does not decode'
      ):
        run(cut)

  @parameterized.parameters(True, False)
  def test_records_that_cannot_be_read(self, skip):
    """They stop the run in any case: what is lost behind them is not known."""

    @tf.function
    def run(content):
      return decoding.decode(
        {**record(), 'record': content},
        tf.constant(b''),
        lambda each, limit: tf.io.decode_jpeg(each),
        shape=SHAPE,
        keys=schema.get_schema('imagenet'),
        max_pixels=10_000,
        skip=skip,
      )

    for content, words in (
      (
        messages.make(['at byte 8 cannot be read']),
        'train-7, record 31 at byte 8 cannot be read: it was damaged or cut off'
        '.*`tools/tfrecords.py validate`.*`tools/tfrecords.py repair`',
      ),
      (
        tf.constant(b''),
        "train-7, record 31: no image under the key of schema 'imagenet'",
      ),
    ):
      with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
        run(content)
      self.assertRegex(messages.sentence(caught.exception), words)

  def test_what_libjpeg_does_not_notice(self):
    """Noise within the scan: wrong pixels, and nobody can tell."""
    middle = len(JPEG) // 2
    noisy = JPEG[:middle] + bytes(20) + JPEG[middle + 20 :]
    _, skipped = make(skip=True)(noisy)
    self.assertFalse(skipped)

  def test_too_many_pixels(self):
    decode, skipping = make(), make(skip=True)
    for make_image in (jpeg_of, png_of, gif_of, bmp_of):
      with self.subTest(make_image.__name__):
        encoded = make_image(20_000, 30_000)
        self.assert_named(
          decode,
          encoded,
          '600000000 pixels, more than DataConfig.max_pixels = 10000;',
        )
        self.assertTrue(skipping(encoded)[1])
    # At the limit, and one above.
    limit = 40 * 60
    self.assertFalse(make(max_pixels=limit, skip=True)(JPEG)[1])
    self.assertTrue(make(max_pixels=limit - 1, skip=True)(JPEG)[1])

  def test_header_of_a_bmp_from_the_top(self):
    self.assertEqual(pixel_count.count_pixels(bmp_of(-40, 60)), 2400)


class FillTest(tf.test.TestCase):
  def fill(self, skipped):
    size = len(skipped)
    return decoding.fill(
      {
        'image': tf.constant(
          np.arange(size, dtype=np.uint8).reshape([-1, 1, 1, 1])
        ),
        'label': tf.range(size)[:, None] * 10,
        'skipped': tf.constant(skipped, tf.float32),
        'index': tf.range(size),
      }
    )

  def test_first_good_image(self):
    batch = self.fill([1, 0, 1, 0])
    self.assertAllEqual(batch['image'][:, 0, 0, 0], [1, 1, 1, 3])
    self.assertAllEqual(batch['label'][:, 0], [10, 10, 10, 30])
    self.assertAllEqual(batch['skipped'], [1, 0, 1, 0])
    self.assertAllEqual(batch['index'], range(4))

  def test_all_or_none(self):
    for skipped in ([0, 0, 0], [1, 1, 1]):
      batch = self.fill(skipped)
      if not skipped[0]:
        self.assertAllEqual(batch['image'][:, 0, 0, 0], range(3))
      self.assertAllEqual(batch['skipped'], skipped)


class ParseTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    ({'image': b'jpg', 'labels': 3.0}, 'image (bytes), labels (float)'),
    ({'image': 0.5, 'labels': 3}, 'image (float), labels (int64)'),
    (None, 'no tf.train.Example'),
  )
  def test_records_that_cannot_be_parsed(self, features, words):
    """A later one of another type: the careful way names it."""
    content = b'what is this'
    if features is not None:
      content = example_files.make_example(**features)
    source = sources.tfrecord_source(['train-7'], schema='automl')

    def parse(careful):
      run = tf.function(decoding.parse)
      return run(record(content), source, careful=careful)

    with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
      parse(False)
    self.assertIsNone(messages.sentence(caught.exception))
    with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
      parse(True)
    sentence = messages.sentence(caught.exception)
    self.assertStartsWith(sentence, 'train-7, record 31: must have an image')
    self.assertIn(f'but holds {words}', sentence)

  def test_careful_parsing_changes_nothing(self):
    content = example_files.make_example(image=b'x', labels=[3, 1])
    source = sources.tfrecord_source(['train-7'], schema='automl')
    example = decoding.parse(record(content), source, careful=True)
    self.assertEqual(example['encoded'], b'x')
    self.assertAllEqual(example['labels'], [3, 1])


if __name__ == '__main__':
  tf.test.main()
