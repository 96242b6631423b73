"""Tests of official_coatnet.records.corpus."""

import dataclasses
import hashlib
import os
import pickle
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet import files
from official_coatnet.data import (
  image_files,
  manifest as manifest_lib,
  split_files,
)
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
    unfinished = split_files.unfinished_dir(folder, 'train')
    os.makedirs(unfinished)
    calls = []
    again = corpus.write_corpus(
      [make_split('train', 4)],
      folder,
      progress=lambda *call: calls.append(call),
    )
    self.assertEqual(again, first)
    self.assertEmpty(calls)
    self.assertFalse(os.path.exists(unfinished))

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


@dataclasses.dataclass(frozen=True)
class Images:
  """What a source selects: records that say how they were read."""

  examples: range
  image_options: image_files.Options = image_files.Options()

  def __iter__(self):
    for index in self.examples:
      yield writing.Record(f'{index} {self.image_options}'.encode(), [0])


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


class ImageOptionsTest(tf.test.TestCase):
  def write(self, split, folder=None):
    folder = folder or self.create_tempdir().full_path
    manifest = corpus.write_corpus([split], folder, num_shards=2)['train']
    path = os.path.join(folder, manifest.files[0].name)
    (record, _) = tf.data.TFRecordDataset(path).as_numpy_iterator()
    return manifest, record.decode()

  def test_reach_the_images_and_the_manifest(self):
    plain = make_split('train', 4, select=Images)
    for options in (
      image_files.Options(),
      image_files.Options(exif_orientation=True),
      image_files.Options(value_range=(0.0, 1.0)),
    ):
      split = corpus.with_image_options(plain, options)
      manifest, record = self.write(pickle.loads(pickle.dumps(split)))
      self.assertEqual(record, f'0 {options}')
      self.assertEqual(manifest.exif_orientation, options.exif_orientation)

  def test_without_any_the_fingerprint_is_that_of_earlier_versions(self):
    plain = make_split('train', 4, select=Images)
    self.assertEqual(
      self.write(plain)[0].fingerprint, corpus.fingerprint('f', 2)
    )
    others = [
      self.write(corpus.with_image_options(plain, options))[0].fingerprint
      for options in (
        image_files.Options(exif_orientation=True),
        image_files.Options(value_range=(0.0, 1.0)),
        image_files.Options(value_range=(0.0, 255.0)),
      )
    ]
    self.assertLen({corpus.fingerprint('f', 2), *others}, 4)

  def test_what_is_written_is_known_by_its_options(self):
    folder = self.create_tempdir().full_path
    plain = make_split('train', 4, select=Images)
    turned = corpus.with_image_options(
      plain, image_files.Options(exif_orientation=True)
    )
    self.assertFalse(corpus.is_written([plain], folder, num_shards=2))
    self.write(plain, folder)
    self.assertTrue(corpus.is_written([plain], folder, num_shards=2))
    self.assertFalse(corpus.is_written([plain], folder, num_shards=3))
    self.assertFalse(corpus.is_written([turned], folder, num_shards=2))

  def test_a_source_that_keeps_bytes(self):
    split = make_split('train', 4)
    options = image_files.Options(exif_orientation=True)
    with self.assertRaisesRegex(ValueError, 'keep the bytes that they have'):
      corpus.with_image_options(split, options)


if __name__ == '__main__':
  tf.test.main()
