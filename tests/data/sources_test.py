"""Tests of official_coatnet.data.sources."""

import os

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import sources, split_files, streams
from official_coatnet.data.config import DataConfig
from official_coatnet.records import writing


def make_config(data_dir, **fields):
  fields = {'num_classes': 10, 'image_size': 8, 'batch_size': 2, **fields}
  return DataConfig(data_dir=data_dir, **fields)


class OpenSourceTest(parameterized.TestCase, tf.test.TestCase):
  def make_folder(self, *names):
    folder = self.create_tempdir()
    for name in names:
      folder.create_file(name, content='x')
    return folder.full_path

  def find(self, folder, **fields):
    paths = sources.find_records(make_config(folder, **fields)).paths
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

  def test_a_folder_is_no_pattern(self):
    top = self.create_tempdir()
    for folder in ('run [v1]', 'run v', 'a*', 'ab'):
      top.create_file(f'{folder}/train-00000-of-00001', content='x')
    for folder in ('run [v1]', 'a*'):
      path = os.path.join(top.full_path, folder)
      for fields in ({}, {'file_pattern': 'tr*'}):
        found = sources.find_records(make_config(path, **fields))
        self.assertEqual(found.paths, (f'{path}/train-00000-of-00001',))

  def test_a_build_that_was_stopped(self):
    folder = self.create_tempdir()
    folder.create_file('train-00000-of-00002', content='x')
    config = make_config(folder.full_path)
    self.assertLen(sources.find_records(config).paths, 1)
    os.mkdir(split_files.unfinished_dir(folder.full_path, 'validation'))
    self.assertLen(sources.find_records(config).paths, 1)
    os.mkdir(split_files.unfinished_dir(folder.full_path, 'train'))
    for fields in ({}, {'file_pattern': 'train*'}):
      with self.assertRaisesRegex(ValueError, "a part of split 'train' only"):
        sources.find_records(make_config(folder.full_path, **fields))
    (listed,) = split_files.list_splits(folder.full_path)
    self.assertRegex(listed.problems[0], "a part of split 'train' only")

  def test_pattern_of_the_user(self):
    folder = self.make_folder('a-1.tfrecord', 'a-2.tfrecord', 'b-1.tfrecord')
    expected = ['a-1.tfrecord', 'a-2.tfrecord']
    self.assertEqual(self.find(folder, file_pattern='a-*'), expected)
    absolute = os.path.join(folder, 'a-*')
    config = make_config(None, file_pattern=absolute)
    self.assertEqual(
      sources.find_records(config).paths,
      tuple(os.path.join(folder, e) for e in expected),
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
    source = sources.open_source(make_config(folder))
    self.assertEqual(source.counts, (1, 2))
    self.assertEqual(source.label_offset, -3)
    explicit = sources.open_source(make_config(folder, label_offset=0))
    self.assertEqual(explicit.label_offset, 0)
    # A pattern of the user's own may mean other files.
    other = sources.open_source(make_config(folder, file_pattern='train*9'))
    self.assertIsNone(other.counts)
    self.assertLen(other.files, 1)

  def test_nothing_found(self):
    folder = self.make_folder('test-0')
    self.assertEmpty(self.find(folder))
    with self.assertRaisesRegex(ValueError, r'no file matches .*/train\*'):
      sources.open_source(make_config(folder))
    with self.assertRaisesRegex(ValueError, 'data_dir is None.*DATA_DIR'):
      sources.open_source(make_config(None))

  def test_empty_files_do_not_hang(self):
    folder = self.create_tempdir()
    folder.create_file('train-0')
    folder.create_file('train-1')
    with self.assertRaisesRegex(ValueError, 'all 2 files in it are empty'):
      sources.open_source(make_config(folder.full_path))

  def test_label_offset_does_not_spoil_dry_runs(self):
    config = make_config(None, source='synthetic', label_offset=0)
    self.assertEqual(sources.open_source(config).label_offset, -1)

  @parameterized.parameters((None, 64), (7, 7))
  def test_synthetic_examples(self, num_examples, expected):
    config = make_config(None, source='synthetic', num_examples=num_examples)
    source = sources.open_source(config, num_hosts=3)
    self.assertLen(source.files, 3)
    self.assertEqual(source.num_examples, expected)


class SyntheticTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters('imagenet', 'multilabel')
  def test_images_and_labels(self, schema):
    source = sources.synthetic_source(
      schema=schema, num_classes=7, image_size=(16, 32), num_examples=40
    )
    labels = set()
    distinct = set()
    for record in streams.evaluation_records(source):
      example = source.parse(record['record'])
      image = tf.io.decode_jpeg(example['encoded'])
      self.assertEqual(image.shape, [20, 40, 3])
      self.assertLen(example['labels'], 1)
      labels.add(int(example['labels'][0]) + source.label_offset)
      distinct.add(example['encoded'].numpy())
    self.assertEqual(labels, set(range(7)))
    self.assertLen(distinct, 16)

  @parameterized.parameters((64, 1), (64, 3), (1, 4))
  def test_number_of_examples(self, num_examples, num_files):
    source = sources.synthetic_source(
      schema='imagenet',
      num_classes=3,
      image_size=8,
      num_examples=num_examples,
      num_files=num_files,
    )
    self.assertEqual(source.num_examples, num_examples)
    self.assertLen(source.files, num_files)
    total = sum(
      1
      for host in range(num_files)
      for _ in streams.evaluation_records(source.shard(num_files, host))
    )
    self.assertEqual(total, num_examples)

  def test_the_same_each_time(self):
    first, second = (
      sources.synthetic_source(
        schema='imagenet', num_classes=3, image_size=8, num_examples=5
      )
      for _ in range(2)
    )
    for one, other in zip(
      streams.evaluation_records(first), streams.evaluation_records(second)
    ):
      self.assertEqual(one['record'], other['record'])

  @parameterized.parameters('imagenet', 'multilabel', 'automl')
  def test_a_dry_run_has_labels(self, schema):
    source = sources.synthetic_source(
      schema=schema, num_classes=32, image_size=8, num_examples=2
    )
    records = streams.evaluation_records(source)
    for each in records:
      example = source.parse(each['record'])
      self.assertStartsWith(example['encoded'].numpy(), b'\xff\xd8')
      self.assertLen(example['labels'], 1)


if __name__ == '__main__':
  tf.test.main()
