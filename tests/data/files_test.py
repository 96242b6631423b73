"""Tests of official_coatnet.data.files."""

import os

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import files
from official_coatnet.data.config import DataConfig
from official_coatnet.records import writing


def make_config(data_dir, **fields):
  fields = {'num_classes': 10, 'image_size': 8, 'batch_size': 2, **fields}
  return DataConfig(data_dir=data_dir, **fields)


class FindFilesTest(parameterized.TestCase, tf.test.TestCase):
  def make_folder(self, *names):
    folder = self.create_tempdir()
    for name in names:
      folder.create_file(name, content='x')
    return folder.full_path

  def find(self, folder, **fields):
    paths = files.find_files(make_config(folder, **fields))
    return [os.path.relpath(path, folder) for path in paths]

  @parameterized.parameters('validation', 'valid', 'val')
  def test_names_of_the_validation_split(self, stem):
    name = f'{stem}-00000-of-00001'
    folder = self.make_folder('train-00000-of-00001', name)
    self.assertEqual(self.find(folder, split='validation'), [name])
    self.assertEqual(self.find(folder), ['train-00000-of-00001'])

  def test_sorted_without_manifests_of_others_and_temporary_files(self):
    folder = self.make_folder(
      'train-00001-of-00002',
      'train-00000-of-00002',
      'train-info.json',
      '.train-00001-of-00002.tmp',
    )
    self.assertEqual(
      self.find(folder), ['train-00000-of-00002', 'train-00001-of-00002']
    )

  def test_a_folder_for_each_split(self):
    folder = self.make_folder('train/train-0', 'validation/validation-0')
    self.assertEqual(self.find(folder), ['train/train-0'])
    self.assertEqual(
      self.find(folder, split='validation'), ['validation/validation-0']
    )

  def test_pattern_of_the_user(self):
    folder = self.make_folder('a-1.tfrecord', 'a-2.tfrecord', 'b-1.tfrecord')
    expected = ['a-1.tfrecord', 'a-2.tfrecord']
    self.assertEqual(self.find(folder, file_pattern='a-*'), expected)
    absolute = os.path.join(folder, 'a-*')
    config = make_config(None, file_pattern=absolute)
    self.assertEqual(
      files.find_files(config), [os.path.join(folder, e) for e in expected]
    )

  def test_manifest_decides(self):
    folder = self.make_folder('train-00000-of-00009')
    writing.write_split(
      lambda shard: [writing.Record(b'r', [1])] * (shard + 1),
      folder,
      split='train',
      num_shards=2,
      schema='imagenet',
      num_classes=10,
      label_offset=-3,
    )
    self.assertEqual(
      self.find(folder), ['train-00000-of-00002', 'train-00001-of-00002']
    )
    source = files.open_source(make_config(folder))
    self.assertEqual(source.counts, (1, 2))
    self.assertEqual(source.label_offset, -3)
    explicit = files.open_source(make_config(folder, label_offset=0))
    self.assertEqual(explicit.label_offset, 0)
    # A pattern of the user's own may mean other files.
    other = files.open_source(make_config(folder, file_pattern='train*9'))
    self.assertIsNone(other.counts)
    self.assertLen(other.files, 1)

  def test_nothing_found(self):
    folder = self.make_folder('test-0')
    self.assertEmpty(self.find(folder))
    with self.assertRaisesRegex(ValueError, r'no file matches .*/train\*'):
      files.open_source(make_config(folder))
    with self.assertRaisesRegex(ValueError, 'data_dir is None.*DATA_DIR'):
      files.open_source(make_config(None))

  def test_empty_files_do_not_hang(self):
    folder = self.create_tempdir()
    folder.create_file('train-0')
    folder.create_file('train-1')
    with self.assertRaisesRegex(ValueError, 'all 2 files in it are empty'):
      files.open_source(make_config(folder.full_path))

  def test_label_offset_does_not_spoil_dry_runs(self):
    config = make_config(None, source='synthetic', label_offset=0)
    self.assertEqual(files.open_source(config).label_offset, -1)

  @parameterized.parameters((None, 64), (7, 7))
  def test_synthetic_examples(self, num_examples, expected):
    config = make_config(None, source='synthetic', num_examples=num_examples)
    source = files.open_source(config, num_hosts=3)
    self.assertLen(source.files, 3)
    self.assertEqual(source.num_examples, expected)


if __name__ == '__main__':
  tf.test.main()
