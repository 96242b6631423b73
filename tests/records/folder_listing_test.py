"""Tests of official_coatnet.records.folder_listing.

tests/records/folder_test.py has those of what is held out, and of records.
"""

import os
import unicodedata

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.records import folder_listing


class ListingTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def add(self, *names):
    for name in names:
      path = os.path.join(self.folder, name)
      os.makedirs(os.path.dirname(path), exist_ok=True)
      if os.path.basename(path):
        with open(path, 'wb') as file:
          file.write(b'x')

  def list(self, **options):
    return folder_listing.list_folder(self.folder, **options)

  def names(self, **options):
    return {
      split: sorted(entry.name for entry in entries)
      for split, entries in self.list(**options).images.items()
    }

  def assert_refused(self, pattern, **options):
    with self.assertRaisesRegex(ValueError, pattern):
      self.list(**options)

  def test_what_is_left_out_is_counted(self):
    self.add('a/1.png', 'b/2.png', 'b/notes.txt', 'b/c/3.png', 'top.jpg', '.x')
    listing = self.list()
    self.assertEqual(listing.class_names, ('a', 'b'))
    self.assertCountEqual(
      [(each.count, each.names) for each in listing.left_out],
      [
        (1, ('b/notes.txt',)), (1, ('b/c/3.png',)), (1, ('top.jpg',)),
        (1, ('.x',)),
      ],
    )  # fmt: skip

  def test_deeper_folders(self):
    self.add('a/1.png', 'a/x/2.png', 'b/x/y/3.png')
    self.assert_refused(
      "no image is found for 'b'.*--recursive.*in folders within.*b/x/y/3.png"
    )
    listing = self.list(recursive=True)
    self.assertEqual(listing.class_names, ('a', 'b'))
    self.assertEqual(
      {(entry.name, entry.label) for entry in listing.images['train']},
      {('a/1.png', 0), ('a/x/2.png', 0), ('b/x/y/3.png', 1)},
    )

  def test_classes_without_images(self):
    self.add('a/1.png', 'b/', 'c/x.txt')
    self.assert_refused("is found for 'b', 'c'.*allow_empty_classes")
    listing = self.list(allow_empty_classes=True)
    self.assertEqual(listing.class_names, ('a', 'b', 'c'))
    self.assertLen(listing.images['train'], 1)

  def test_no_images_at_all_says_what_is_there(self):
    self.add('a/x.txt', 'top.png')
    self.assert_refused(r'no images.*1 in no class folder: top.png')

  def test_folders_of_splits(self):
    self.add('train/a/1.png', 'train/b/2.png', 'val/a/3.png', 'val/b/')
    self.assertEqual(
      self.names(),
      {
        'train': ['train/a/1.png', 'train/b/2.png'],
        'validation': ['val/a/3.png'],
      },
    )
    listing = self.list()
    self.assertEqual(listing.class_names, ('a', 'b'))
    self.assertEqual({e.label for e in listing.images['train']}, {0, 1})
    self.assertIn("folder 'val' is split 'validation'.", listing.notes)
    self.assert_refused(
      "validation_fraction is 0.1, but .* folder 'val'", validation_fraction=0.1
    )

  @parameterized.parameters('val', 'valid', 'Validation', 'test')
  def test_names_of_the_folder_to_evaluate_on(self, name):
    self.add('Train/a/1.png', f'{name}/a/2.png')
    self.assertEqual(
      self.names(),
      {'train': ['Train/a/1.png'], 'validation': [f'{name}/a/2.png']},
    )

  def test_a_test_folder_beside_that_for_validation(self):
    self.add('train/a/1.png', 'val/a/2.png', 'test/a/3.png')
    self.assertEqual(
      self.names(),
      {
        'train': ['train/a/1.png'],
        'validation': ['val/a/2.png'],
        'test': ['test/a/3.png'],
      },
    )

  def test_a_test_folder_without_classes(self):
    self.add('train/a/1.png', 'train/b/2.png', 'test/3.png', 'test/4.png')
    listing = self.list(validation_fraction=0.999)
    self.assertEqual(list(listing.images), ['validation'])
    (left_out,) = listing.left_out
    self.assertIn('but in no class folder', left_out.reason)
    self.assertEqual(left_out.names, ('test/3.png', 'test/4.png'))

  def test_splits_must_have_the_same_classes(self):
    self.add('train/a/1.png', 'train/b/2.png', 'val/a/3.png', 'val/c/3.png')
    self.assert_refused(
      "'train' and 'val' must have the same classes.*alone: 'b';.*alone: 'c'"
    )

  def test_two_folders_for_one_split(self):
    self.add('train/a/1.png', 'val/a/3.png', 'validation/a/3.png')
    self.assert_refused("both 'val' and 'validation' are named as the same")

  @parameterized.parameters('val/3.png', 'val/a/3.png', 'test/3.png')
  def test_a_stray_split_is_no_class(self, name):
    self.add('a/1.png', 'b/2.png', name)
    folder = name.split('/')[0]
    self.assert_refused(
      f"'{folder}' is named as a split, beside .*'a', 'b'.*--nosplit_folders"
    )
    if name.count('/') == 1:
      listing = self.list(split_folders=False)
      self.assertEqual(sorted(listing.class_names), sorted(['a', 'b', folder]))

  def test_a_class_of_trains(self):
    self.add('bus/1.png', 'train/2.png')
    self.assertEqual(self.list().class_names, ('bus', 'train'))
    self.assert_refused("'train' is named as a split", split_folders=True)
    self.add('train/deep/2.png')
    self.assert_refused("'train' is named as a split")

  def test_splits_without_classes(self):
    self.add('train/1.png', 'val/2.png')
    self.assert_refused("'train', 'val' is named as a split, but holds no fold")
    listing = self.list(split_folders=False)
    self.assertEqual(listing.class_names, ('train', 'val'))

  def test_two_spellings_of_a_class(self):
    composed = unicodedata.normalize('NFC', 'café')
    self.add(f'{composed}/1.png')
    self.add(f'{unicodedata.normalize("NFD", composed)}/2.png')
    self.assert_refused(r"'cafe\\u0301' and 'caf\\xe9': one class to the eye")

  def test_white_space_at_the_end(self):
    self.add('a/1.png', 'a /2.png')
    self.assert_refused("'a' and 'a ': one class to the eye")

  def test_case_alone_is_said(self):
    self.add('Cat/1.png', 'cat/2.png')
    listing = self.list()
    self.assertEqual(listing.class_names, ('Cat', 'cat'))
    (note,) = listing.notes
    self.assertIn("'Cat' and 'cat' differ in upper and lower case", note)

  def test_one_folder_for_two_classes_or_splits(self):
    self.add('a/1.png')
    os.symlink('a', os.path.join(self.folder, 'b'))
    self.assert_refused("'a' and 'b' are the same folder by a link")
    os.remove(os.path.join(self.folder, 'b'))
    self.add('train/c/1.png')
    os.rename(f'{self.folder}/a', f'{self.folder}/train/a')
    os.symlink('train', os.path.join(self.folder, 'val'))
    self.assert_refused("'train/a' and 'val/a' are the same folder")

  def test_a_class_that_is_held_out_altogether_is_said(self):
    self.add(*(f'a/{i}.png' for i in range(30)), 'b/0.png')
    # SHA-256 of 'b/0.png' begins with 0x0e24: 0.055.
    listing = self.list(validation_fraction=0.2)
    (note,) = listing.notes
    self.assertRegex(note, "all images of 'b' are held out")
    self.assertEmpty(self.list(validation_fraction=0.01).notes)


if __name__ == '__main__':
  tf.test.main()
