"""Tests of tools/image_flags.py, and of who follows the flags."""

import json
import os

from absl.testing import absltest, flagsaver, parameterized

from official_coatnet.data import image_files
from official_coatnet.records import corpus
from tests.fixtures import image_files as pictures
from tools import image_flags, record_sources


class ImageFlagsTest(parameterized.TestCase):
  def test_range(self):
    self.assertIsNone(image_flags.value_range())
    with flagsaver.flagsaver(value_range='0,1'):
      self.assertEqual(image_flags.value_range(), (0, 1))
    with flagsaver.flagsaver(value_range='white'):
      with self.assertRaisesRegex(ValueError, "--value_range is 'white', but"):
        image_flags.value_range()

  def test_orientation_of_an_export(self):
    exports = self.create_tempdir().full_path
    for version, data in (
      ('3', {'train': {'exif_orientation': False}}),
      ('20', {'train': {'exif_orientation': True}}),
      ('100', None),
    ):
      os.makedirs(folder := os.path.join(exports, version))
      if data is not None:
        with open(os.path.join(folder, 'data.json'), 'w') as file:
          json.dump(data, file)

    def follow(*version):
      return image_flags.exif_orientation(os.path.join(exports, *version))

    self.assertFalse(follow('3'))
    self.assertTrue(follow('20'))
    self.assertFalse(follow())  # Of a version before there was such a file.
    os.rmdir(os.path.join(exports, '100'))
    self.assertTrue(follow())
    self.assertFalse(image_flags.exif_orientation(None))
    for value in (True, False):
      with flagsaver.flagsaver(exif_orientation=value):
        self.assertEqual(follow(), value)
        self.assertEqual(image_flags.exif_orientation(None), value)
        self.assertEqual(follow('none'), value)
    with self.assertRaisesRegex(ValueError, 'no such folder here; name the'):
      follow('none')


class RecordSourcesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    source = self.create_tempdir()
    for name in ('a/1.jpg', 'b/2.jpg'):
      source.create_file(name, content=pictures.encode(0), mode='wb')
    self.output_dir = self.create_tempdir().full_path
    self.enter_context(flagsaver.flagsaver(input_dir=source.full_path))

  def options(self):
    (split,) = record_sources.find_splits(
      'folder', self.output_dir, num_shards=None
    )
    # What the records say of it is what is done.
    self.assertEqual(split.select(range(1)).image_options, split.image_options)
    return split.image_options

  def test_a_folder_is_turned_unless_it_is_done_already(self):
    turned = image_files.Options(exif_orientation=True)
    self.assertEqual(self.options(), turned)
    with flagsaver.flagsaver(exif_orientation=False):
      self.assertEqual(self.options(), image_files.Options())
      splits = record_sources.find_splits(
        'folder', self.output_dir, num_shards=None
      )
    corpus.write_corpus(splits, self.output_dir)
    self.assertEqual(self.options(), image_files.Options())
    with flagsaver.flagsaver(exif_orientation=True):
      self.assertEqual(self.options(), turned)

  def test_range(self):
    with flagsaver.flagsaver(value_range='0,1', exif_orientation=False):
      self.assertEqual(self.options(), image_files.Options(value_range=(0, 1)))


if __name__ == '__main__':
  absltest.main()
