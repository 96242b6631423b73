"""Tests of official_coatnet.records.corpus."""

import hashlib
import io
import os
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from official_coatnet import files
from official_coatnet.data import manifest as manifest_lib
from official_coatnet.records import corpus, writing


def make_split(name, num_examples, *, broken=(), **changes):
  def select(examples):
    for index in examples:
      if index in broken:
        yield manifest_lib.Failure(f'{name} {index}', 'broken')
      else:
        yield writing.Record(f'{name} {index}'.encode(), [0])

  fields = {
    'name': name,
    'schema': 'multilabel',
    'num_classes': 1,
    'num_examples': num_examples,
    'select': select,
    'fingerprint': 'f',
    'label_offset': 0,
    **changes,
  }
  return corpus.Split(**fields)


class CorpusTest(parameterized.TestCase, tf.test.TestCase):
  def test_shards_in_proportion(self):
    splits = [make_split('train', 100), make_split('validation', 10)]
    for num_shards, expected in ((20, [20, 2]), (None, [16, 2]), (1, [1, 1])):
      manifests = corpus.write_corpus(
        splits, self.create_tempdir().full_path, num_shards=num_shards
      )
      self.assertEqual(
        [len(manifests[name].files) for name in ('train', 'validation')],
        expected,
      )
      self.assertEqual(manifests['train'].num_examples, 100)

  def test_shards_that_the_source_asks_for(self):
    splits = [
      make_split('train', 100, num_shards=5),
      make_split('validation', 3, num_shards=4),
    ]
    folder = self.create_tempdir().full_path
    manifests = corpus.write_corpus(splits, folder)
    self.assertLen(manifests['train'].files, 5)
    self.assertLen(manifests['validation'].files, 3)

  def test_complete_split_is_left_alone_and_tidied(self):
    folder = self.create_tempdir().full_path
    first = corpus.write_corpus([make_split('train', 4)], folder)
    os.makedirs(writing.unfinished_dir(folder, 'train'))
    calls = []
    again = corpus.write_corpus(
      [make_split('train', 4)],
      folder,
      progress=lambda *call: calls.append(call),
    )
    self.assertEqual(again, first)
    self.assertEmpty(calls)
    self.assertFalse(os.path.exists(writing.unfinished_dir(folder, 'train')))

  def test_limits_of_failures(self):
    def write(**options):
      return corpus.write_corpus(
        [make_split('train', 40, broken=range(11))],
        self.create_tempdir().full_path,
        **options,
      )

    with self.assertRaisesRegex(ValueError, 'allows 10 images.*11 could not'):
      write()
    with self.assertRaisesRegex(ValueError, 'allows 10 images'):
      write(max_failures=0.25)
    self.assertLen(write(max_failures=11)['train'].failures, 11)
    self.assertLen(write(max_failures=0.3)['train'].failures, 11)

  @parameterized.parameters(
    (None, 100, 10),
    (None, 1_281_167, 1281),
    (0, 1000, 0),
    (3, 1000, 3),
    (0.01, 1000, 10),
    (1.0, 1000, 1000),
    (25.0, 1000, 25),
  )
  def test_failure_limit(self, max_failures, num_examples, expected):
    limit = corpus.failure_limit(max_failures, num_examples=num_examples)
    self.assertEqual(limit, expected)

  @parameterized.parameters(-1, 1.5)
  def test_impossible_limits(self, max_failures):
    with self.assertRaisesRegex(ValueError, f'max_failures is {max_failures}'):
      corpus.failure_limit(max_failures, num_examples=10)

  def test_nothing_readable(self):
    with self.assertRaisesRegex(ValueError, 'none of the 2 images.*train 0'):
      corpus.write_corpus(
        [make_split('train', 2, broken=range(2))],
        self.create_tempdir().full_path,
      )

  def test_class_names_are_checked_before_anything_is_written(self):
    with self.assertRaisesRegex(ValueError, r"'b\\nc', class number 1 from 0"):
      make_split('train', 2, class_names=('a', 'b\nc'))

  def test_hash_fraction(self):
    digest = hashlib.sha256(b'n01440764_1.JPEG').hexdigest()
    expected = int(digest[:16], 16) / 2**64
    self.assertEqual(corpus.hash_fraction('n01440764_1.JPEG'), expected)
    self.assertEqual(corpus.hash_fraction(b'n01440764_1.JPEG'), expected)
    # Of what is not UTF-8, too: another one than of other bytes.
    fractions = {corpus.hash_fraction(name) for name in ('\udcff', '\udcfe')}
    self.assertLen(fractions, 2)

  def test_fingerprints_differ(self):
    values = [
      ('a', 'b'), ('ab',), ('a',), (np.zeros(2, np.int64),),
      (np.zeros(4, np.int32),), (np.ones(2, np.int64),),
    ]  # fmt: skip
    prints = [corpus.fingerprint(*each) for each in values]
    self.assertLen(set(prints), len(values))
    self.assertEqual(corpus.fingerprint('a', 'b'), prints[0])

  def test_order_is_that_of_the_seed(self):
    self.assertCountEqual(corpus.shuffled(9, seed=1), range(9))
    self.assertAllEqual(corpus.shuffled(9, seed=0), [7, 2, 1, 4, 8, 6, 3, 0, 5])
    self.assertNotAllEqual(
      corpus.shuffled(50, seed=0), corpus.shuffled(50, seed=1)
    )


class ReadImageTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'x.jpg')

  def assert_unreadable(self, reason, path=None):
    with self.assertRaisesRegex(ValueError, f'^{reason}$'):
      corpus.read_image(path or self.path)

  def test_contents(self):
    with open(self.path, 'wb') as file:
      file.write(b'\xff\r\n\0')
    self.assertEqual(corpus.read_image(self.path), b'\xff\r\n\0')

  def test_what_is_no_file(self):
    self.assert_unreadable(f'there is no {self.path}')
    os.symlink(os.path.join(self.folder, 'gone.jpg'), self.path)
    self.assert_unreadable('its link leads nowhere')
    os.remove(self.path)
    os.symlink(self.path, self.path)
    self.assert_unreadable('it cannot be read: Too many levels of symbolic .*')
    os.remove(self.path)
    os.mkdir(self.path)
    self.assert_unreadable('it is a folder')
    path = 'file:///nowhere/x.jpg'
    self.assert_unreadable(f'there is no {path}', path)

  def test_a_pipe_is_not_waited_for(self):
    os.mkfifo(self.path)
    self.assert_unreadable('it is no plain file')

  def test_a_name_that_is_not_utf8(self):
    name = os.path.join(os.fsencode(self.folder), b'\xff.jpg')
    with open(name, 'wb'):
      pass
    self.assert_unreadable(
      'its name is not UTF-8; rename it', os.fsdecode(name)
    )

  def test_no_permission(self):
    with open(self.path, 'wb'):
      pass
    # Root reads everything.
    for error in (
      PermissionError(13, 'Permission denied'),
      tf.errors.PermissionDeniedError(None, None, 'denied'),
    ):
      with mock.patch.object(files, 'open_binary', side_effect=error):
        self.assert_unreadable('no permission to read it')
    error = OSError(5, 'Input/output error')
    with mock.patch.object(files, 'open_binary', side_effect=error):
      self.assert_unreadable('it cannot be read: Input/output error')


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
    self.assertEqual(corpus.normalize_image(contents), (contents, 12, 8))

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
        encoded, width, height = corpus.normalize_image(contents)
        self.assertEqual((width, height), (12, 8))
        self.assertTrue(tf.io.is_jpeg(encoded))
        image = tf.io.decode_jpeg(encoded).numpy()
        self.assertEqual(image.shape, (8, 12, 3))
        if expected is not None:
          self.assertAllClose(image.mean(axis=(0, 1)), expected, atol=tolerance)


if __name__ == '__main__':
  tf.test.main()
