"""Tests of official_coatnet.records.shared_images."""

import os

import tensorflow as tf

from official_coatnet.data import sketch, split_files
from official_coatnet.records import corpus, shared_images, validation
from tests.fixtures import image_files, shard_files


def make_splits(**indices):
  """Splits of the images of so many numbers; names tell where they are."""

  def make(split, numbers):
    def select(examples):
      for index in examples:
        yield shard_files.make_record(
          numbers[index], name=f'{split}/{index}.jpg'
        )

    return corpus.Split(
      name=split,
      schema='imagenet',
      num_classes=3,
      num_examples=len(numbers),
      select=select,
      fingerprint=f'{split} {numbers}',
      label_offset=-1,
    )

  return [make(split, list(numbers)) for split, numbers in indices.items()]


class SharedImagesTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.warnings = []

  def write(self, **indices):
    self.warnings.clear()
    return corpus.write_corpus(
      make_splits(**indices),
      self.folder,
      num_shards=3,
      warn=self.warnings.append,
    )

  def test_none(self):
    manifests = self.write(train=range(6), validation=range(6, 9))
    self.assertEmpty(self.warnings)
    for split, numbers in (('train', range(6)), ('validation', range(6, 9))):
      hashes = sorted(
        sketch.checksum(image_files.encode(each)) for each in numbers
      )
      self.assertEqual(manifests[split].sketch.hashes, tuple(hashes))

  def test_names_while_the_build_knows_them(self):
    self.write(train=range(9), validation=[20, 4, 21, 7])
    (warning,) = self.warnings
    self.assertRegex(
      warning, "^2 images of split 'validation' are, byte for byte, .*'train'"
    )
    self.assertIn('validation/1.jpg (train/4.jpg)', warning)
    self.assertIn('validation/3.jpg (train/7.jpg)', warning)

  def test_ten_are_named(self):
    self.write(train=range(13), validation=range(13))
    self.assertIn('13 images', self.warnings[0])
    self.assertEqual(self.warnings[0].count('validation/'), 10)
    self.assertIn(' and 3 more. Remove', self.warnings[0])

  def test_number_afterwards(self):
    indices = {'train': range(9), 'validation': [20, 4], 'test': [8, 4]}
    self.write(**indices)
    first = list(self.warnings)
    self.assertLen(first, 3)
    self.write(**indices)
    self.assertLen(self.warnings, 3)
    for before, after in zip(first, self.warnings):
      self.assertEqual(before.split(':')[0], after.split(':')[0])
      self.assertIn('tfrecords.py validate names them', after)

  def test_what_validate_says(self):
    self.write(train=range(9), validation=[20, 4])
    contents = {}
    for split in split_files.list_splits(self.folder):
      rules = validation.rules_for(split)
      contents[split.split] = validation.validate_split(split, rules=rules)[1]
    (sentence,) = shared_images.find_in_contents(contents, self.folder)
    self.assertRegex(
      sentence,
      "1 images of split 'validation' are.*: validation-00000-of-00001 at byte "
      r'\d+ and train-00001-of-00003 at byte \d+$',
    )
    # Image 4 is the second of its file; the place leads to it.
    offset = int(sentence.rpartition(' ')[2])
    with open(os.path.join(self.folder, 'train-00001-of-00003'), 'rb') as file:
      file.seek(offset)
      self.assertIn(b'train/4.jpg', file.read(2000))
    del contents['validation']
    self.assertEmpty(shared_images.find_in_contents(contents, self.folder))


if __name__ == '__main__':
  tf.test.main()
