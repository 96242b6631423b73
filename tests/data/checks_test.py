"""Tests of official_coatnet.data.checks."""

import dataclasses
import os
import socket
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl.testing import parameterized

from official_coatnet.data import (
  checks,
  file_kinds,
  pipeline,
  schema,
  split_files,
)
from official_coatnet.data.config import DataConfig
from official_coatnet.records import writing
from tests.fixtures import example_files, image_files

PIXEL = image_files.encode(0, size=(4, 4))


def make_config(data_dir, **fields):
  fields = {'num_classes': 10, 'image_size': 8, 'batch_size': 2, **fields}
  return DataConfig(data_dir=data_dir, **fields)


def write(folder, labels, *, num_shards=2, num_classes=10, with_manifest=True):
  def make_shard(shard):
    for i in writing.shard_range(shard, num_shards, num_examples=len(labels)):
      record = schema.serialize_imagenet(
        PIXEL, label=labels[i], height=4, width=4
      )
      yield writing.Record(record, [labels[i]])

  writing.write_split(
    make_shard,
    folder,
    split='train',
    num_shards=num_shards,
    schema='imagenet',
    num_classes=num_classes,
    label_offset=-1,
    class_names=[f'class {i}' for i in range(num_classes)],
  )
  if not with_manifest:
    os.remove(split_files.manifest_path(folder, 'train'))


class Pets(tfds.core.GeneratorBasedBuilder):
  """Two images of two classes."""

  # In a package, TFDS would look for its checksums there.
  code_path = None
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(),
          'label': tfds.features.ClassLabel(names=['cat', 'dog']),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for i in range(2):
      yield i, {'image': np.zeros([4, 4, 3], np.uint8), 'label': i}


def find_problems(config, **options):
  return checks.examine(config, **options)[0]


def count_examples(config):
  source = checks.open_if_there(config)
  return source and source.num_examples


def class_names(config):
  source = checks.open_if_there(config)
  return source and source.class_names


class ChecksTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def assert_problem(self, pattern, config, **options):
    problems = find_problems(config, **options)
    self.assertLen(problems, 1, problems)
    self.assertRegex(problems[0], pattern)

  def test_good_records(self):
    write(self.folder, [1, 10, 5])
    config = make_config(self.folder)
    self.assertEmpty(find_problems(config, num_hosts=2))
    self.assertEqual(count_examples(config), 3)
    self.assertEqual(class_names(config)[9], 'class 9')

  def test_the_manifest_is_read_once(self):
    """By the checks, which hand on what they have read."""
    write(self.folder, [1, 10, 5])
    config = make_config(self.folder)
    with mock.patch.object(
      split_files, 'read_manifest', wraps=split_files.read_manifest
    ) as read:
      problems, source = checks.examine(config)
      for is_training in (True, False):
        pipeline.make_dataset(
          config, seed=0, is_training=is_training, source=source
        )
    self.assertEmpty(problems)
    read.assert_called_once_with(self.folder, 'train')

  def test_good_records_without_manifest(self):
    write(self.folder, [1, 10, 5], with_manifest=False)
    config = make_config(self.folder, num_examples=3)
    self.assertEmpty(find_problems(config))
    self.assertIsNone(count_examples(config))
    self.assertIsNone(class_names(config))

  def test_what_is_left_of_a_build_is_not_taken_for_whole(self):
    write(self.folder, [1, 10, 5], with_manifest=False)
    config = make_config(self.folder, num_examples=3)
    unfinished = split_files.unfinished_dir(self.folder, 'train')
    os.mkdir(unfinished)
    self.assert_problem('holds a part of split .train. only', config)
    os.rmdir(unfinished)
    write(self.folder, [1, 10, 5], num_shards=3, with_manifest=False)
    self.assert_problem('of several builds: of 2, 3 files', config)
    # A pattern of the user's own says which are meant.
    config = make_config(
      self.folder, num_examples=3, file_pattern='train-*-of-00003'
    )
    self.assertEmpty(find_problems(config))

  def test_synthetic_has_no_problems(self):
    config = make_config(None, source='synthetic')
    self.assertEmpty(find_problems(config, num_hosts=9))
    self.assertEqual(count_examples(config), 64)
    self.assertIsNone(class_names(config))

  def test_no_folder(self):
    self.assert_problem('data_dir is None.*DATA_DIR', make_config(None))
    missing = os.path.join(self.folder, 'nowhere')
    self.assert_problem("nowhere'.*no such folder", make_config(missing))
    for config in (make_config(None), make_config(missing)):
      self.assertIsNone(count_examples(config))
      self.assertIsNone(class_names(config))

  def test_no_files_says_what_is_there(self):
    self.assert_problem('in the folder: nothing', make_config(self.folder))
    write(self.folder, [1])
    self.assert_problem(
      r'/val\* nor .*; in the folder: manifest-train.json, train-00000-',
      make_config(self.folder, split='validation'),
    )
    self.assert_problem(
      r'no file matches .*/x\*',
      make_config(self.folder, file_pattern='x*'),
    )

  def test_fewer_files_than_hosts(self):
    write(self.folder, [1, 2, 3])
    self.assert_problem(
      '2 files.*each of 4 hosts.*more shards',
      make_config(self.folder),
      num_hosts=4,
    )

  def test_label_out_of_range_from_the_manifest(self):
    write(self.folder, [1, 11, 14])
    self.assert_problem(
      r'manifest-train.json counts labels.*\[11, 14\].*must lie in 1\.\.10',
      make_config(self.folder),
    )

  def test_label_out_of_range_from_the_first_records(self):
    write(self.folder, [1, 2, 3, 4, 11], with_manifest=False)
    self.assert_problem(
      r'train-00001-of-00002, record 2: label 11 is out of range.*1\.\.10',
      make_config(self.folder, num_examples=5),
    )

  def test_zero_based_records_named_imagenet(self):
    write(self.folder, [10, 1], with_manifest=False)
    self.assert_problem(
      r'train-00000-of-00002, record 0: label 10.*0\.\.9',
      make_config(self.folder, num_examples=2, label_offset=0),
    )

  def test_sixteen_files_are_looked_into(self):
    write(self.folder, [11] * 64, num_shards=64, with_manifest=False)
    self.assert_problem(
      'train-00000-of-00064, record 0: label 11 .* same in 15 more of the',
      make_config(self.folder, num_examples=64),
    )

  def test_number_of_classes(self):
    write(self.folder, [1, 2])
    self.assert_problem(
      'num_classes is 5, but .*manifest-train.json has 10 classes',
      make_config(self.folder, num_classes=5),
    )

  def test_schema(self):
    write(self.folder, [1, 2])
    self.assert_problem(
      "schema is 'multilabel', but .*'imagenet'",
      make_config(self.folder, schema='multilabel', label_offset=-1),
    )

  def test_missing_features(self):
    write(self.folder, [1, 2], with_manifest=False)
    self.assert_problem(
      "train-00000-of-00002: schema 'automl' reads 'image' .* the first "
      "record holds .*'image/encoded' .*: 'image' is missing; 'labels' is "
      "missing. Set schema to 'imagenet'.* same in 1 more of the files",
      make_config(self.folder, schema='automl', num_examples=2),
    )

  def test_records_that_are_no_examples(self):
    with tf.io.TFRecordWriter(os.path.join(self.folder, 'train-0')) as writer:
      writer.write(b'what is this')
    self.assert_problem(
      "train-0, record 0: is not an example of schema 'imagenet'",
      make_config(self.folder, num_examples=1),
    )

  def test_files_that_are_no_records(self):
    with open(os.path.join(self.folder, 'train.csv'), 'w') as file:
      file.write('image,label\n' * 10)
    self.assert_problem(
      "train.csv is no TFRecord file but text.*'image,label'; move it away, or "
      'set DataConfig.file_pattern',
      make_config(self.folder, num_examples=1),
    )

  def test_length_of_an_epoch(self):
    write(self.folder, [1, 2], with_manifest=False)
    self.assert_problem(
      'num_examples is None and .* has no manifest-train.json.*1281167',
      make_config(self.folder),
    )
    self.assertIsNone(count_examples(make_config(self.folder)))
    write(self.folder, [1, 2])
    self.assert_problem(
      "num_examples is 3, but split 'train' has 2",
      make_config(self.folder, num_examples=3),
    )

  def test_damage(self):
    write(self.folder, [1, 2, 3])
    os.truncate(os.path.join(self.folder, 'train-00000-of-00002'), 30)
    self.assert_problem(
      'train-00000-of-00002 has 30 bytes, but', make_config(self.folder)
    )
    os.remove(os.path.join(self.folder, 'train-00001-of-00002'))
    self.assertLen(find_problems(make_config(self.folder)), 2)

  def test_empty_file(self):
    write(self.folder, [1, 2, 3])
    path = os.path.join(self.folder, 'train-00001-of-00002')
    os.truncate(path, 0)
    self.assert_problem(
      'train-00001-of-00002 has 0 bytes, but its manifest says',
      make_config(self.folder),
    )
    os.remove(split_files.manifest_path(self.folder, 'train'))
    self.assert_problem(
      'train-00001-of-00002 is empty; copy or build it again',
      make_config(self.folder, num_examples=3),
    )

  def test_missing_file(self):
    write(self.folder, [1, 2, 3])
    os.remove(os.path.join(self.folder, 'train-00001-of-00002'))
    self.assert_problem(
      'train-00001-of-00002 is missing, but its manifest lists it',
      make_config(self.folder),
    )

  def test_shortened_by_a_record(self):
    """What is left is intact, record by record: only the size tells."""
    write(self.folder, [1, 2, 3])
    path = os.path.join(self.folder, 'train-00001-of-00002')
    first = next(iter(tf.data.TFRecordDataset(path))).numpy()
    os.truncate(path, len(first) + 16)
    self.assert_problem(
      f'train-00001-of-00002 has {len(first) + 16} bytes, but its manifest',
      make_config(self.folder),
    )

  def test_data_service(self):
    write(self.folder, [1, 2, 3])
    with socket.create_server(('localhost', 0)) as server:
      address = f'grpc://localhost:{server.getsockname()[1]}'
      config = make_config(self.folder, data_service=address)
      self.assertEmpty(find_problems(config))
    self.assert_problem(
      f"data_service is '{address}', but nothing answers there", config
    )
    os.remove(split_files.manifest_path(self.folder, 'train'))
    self.assert_problem(
      'data_service is.*which needs the number of records of each file',
      make_config(self.folder, num_examples=3, data_service=address),
    )

  def test_manifest_that_is_none(self):
    with open(split_files.manifest_path(self.folder, 'train'), 'w') as file:
      file.write('{')
    config = make_config(self.folder)
    self.assert_problem('is not a manifest of this package', config)
    self.assertIsNone(count_examples(config))
    self.assertIsNone(class_names(config))

  def test_no_examples(self):
    write(self.folder, [])
    self.assert_problem('has no examples', make_config(self.folder))

  def test_tfds(self):
    with tempfile.TemporaryDirectory() as data_dir:
      tfds.disable_progress_bar()
      Pets(data_dir=data_dir).download_and_prepare()
      fields = {'source': 'tfds', 'tfds_name': 'pets'}
      good = make_config(data_dir, num_classes=2, **fields)
      self.assertEmpty(find_problems(good))
      self.assertEqual(count_examples(good), 2)
      self.assertEqual(class_names(good), ('cat', 'dog'))
      self.assert_problem(
        'num_classes is 10, but pets has 2 classes',
        make_config(data_dir, **fields),
      )
      self.assert_problem(
        "split is 'test', but pets has",
        make_config(data_dir, num_classes=2, split='test', **fields),
      )
      (path,) = tf.io.gfile.glob(os.path.join(data_dir, 'pets/*/*tfrecord*'))
      os.truncate(path, 0)
      self.assert_problem('pets-train.* is empty', good)
      os.remove(path)
      self.assert_problem('pets-train.* is missing, but TFDS lists it', good)
      self.assert_problem(
        "tfds_name is 'dogs'",
        make_config(data_dir, source='tfds', tfds_name='dogs'),
      )

  def write_examples(self, *features, **options):
    records = [example_files.make_example(**each) for each in features]
    return example_files.write_shards(self.folder, records, **options)

  def test_keys_of_others(self):
    """Under the schema's own keys this trained without any label."""
    self.write_examples(*[{'image': PIXEL, 'label': 3}] * 4)
    config = make_config(self.folder, schema='automl', num_examples=4)
    self.assert_problem(
      "train-00000-of-00002: schema 'automl' reads 'image' .* and 'labels' .*, "
      r"but the first 2 records hold 'image' \(bytes\), 'label' \(int64\): "
      "'labels' is missing. Set DataConfig.feature_keys = {'labels': 'label'}. "
      'The same in 1 more',
      config,
    )
    set_keys = dataclasses.replace(config, feature_keys={'labels': 'label'})
    self.assertEmpty(find_problems(set_keys))
    batches = pipeline.make_dataset(set_keys, seed=0, is_training=True)
    self.assertAllEqual(next(iter(batches))['label'], [[3], [3]])

  def test_keys_where_there_is_a_manifest(self):
    """Which does not say what the records hold."""
    write(self.folder, [1, 2])
    path = split_files.manifest_path(self.folder, 'train')
    with open(path) as file:
      text = file.read()
    with open(path, 'w') as file:
      file.write(text.replace('"imagenet"', '"automl"'))
    self.assert_problem(
      "'image' is missing; 'labels' is missing. Set schema to 'imagenet'",
      make_config(self.folder, schema='automl', label_offset=-1),
    )

  def test_labels_of_another_type(self):
    text = {'image/encoded': PIXEL, 'image/class/label': b'cat'}
    self.write_examples(text, text)
    self.assert_problem(
      "'image/class/label' holds text, such as b'cat', but must be int64.* "
      'write an int64_list. The same',
      make_config(self.folder, num_examples=2),
    )

  def test_pixels(self):
    good = {'image': PIXEL, 'labels': 3}
    pixels = {'image': bytes(range(192)), 'labels': 3}
    config = make_config(self.folder, schema='automl', num_examples=3)
    self.write_examples(good, pixels, pixels)
    # One that is none among others is left to reading, which may skip it.
    self.assertEmpty(find_problems(config))
    self.write_examples(pixels, pixels, pixels)
    self.assert_problem(
      "None of the first records of the files of split 'train' in "
      f"{self.folder}, 3 in all, has an image file: 'image' holds "
      '192 bytes .* as many as 8 x 8 x 3 pixels of type uint8 have; store',
      config,
    )

  def test_no_labels_anywhere(self):
    none, one = {'image': PIXEL, 'labels': []}, {'image': PIXEL, 'labels': [3]}
    config = make_config(self.folder, schema='automl', num_examples=3)
    self.write_examples(none, none, one)
    self.assertEmpty(find_problems(config))
    self.write_examples(none, none, none)
    self.assert_problem("None of .* has a label in 'labels'", config)

  def test_confidences_that_do_nothing(self):
    fields = {'image': PIXEL, 'labels': [3]}
    config = make_config(
      self.folder,
      schema='automl',
      num_examples=2,
      feature_keys={'confidences': 'p'},
      confidence_threshold=0.5,
    )
    self.write_examples(fields, fields)
    self.assert_problem("threshold is 0.5, but none .* in 'p', so that", config)
    self.write_examples({**fields, 'p': 0.25}, {**fields, 'p': [0.125]})
    self.assert_problem('no confidence is above 0.25, .*; lower it', config)
    self.write_examples({**fields, 'p': 0.5}, fields)
    self.assertEmpty(find_problems(config))

  def test_compression(self):
    record = {'image': PIXEL, 'labels': [3]}
    self.write_examples(
      record, record, num_shards=1, compression='GZIP', ending='.gz'
    )
    config = make_config(self.folder, schema='automl', num_examples=2)
    self.assert_problem(
      "train-00000-of-00001.gz is compressed by gzip, but .* to 'GZIP'", config
    )
    unpacked = dataclasses.replace(config, compression='GZIP')
    self.assertEmpty(find_problems(unpacked))
    batches = pipeline.make_dataset(unpacked, seed=0, is_training=True)
    self.assertAllEqual(next(iter(batches))['label'], [[3], [3]])

  def test_odd_names_among_many_are_looked_at(self):
    record = {'image': PIXEL, 'labels': [3]}
    self.write_examples(*[record] * 200, num_shards=200)
    path = os.path.join(self.folder, 'train_list')
    with open(path, 'w') as file:
      file.write('image,label\n')
    with mock.patch.object(
      file_kinds, 'read_head', wraps=file_kinds.read_head
    ) as read:
      self.assert_problem(
        'train_list is no TFRecord file but text',
        make_config(self.folder, schema='automl', num_examples=200),
      )
    self.assertBetween(read.call_count, 20, 65)

  def test_damage_in_the_first_records(self):
    (path,) = self.write_examples(
      {'image': PIXEL, 'labels': [3]},
      {'image': PIXEL, 'labels': [3]},
      num_shards=1,
    )
    os.truncate(path, os.path.getsize(path) - 3)
    config = make_config(self.folder, schema='automl', num_examples=2)
    self.assert_problem('is damaged or cut off at byte .*repair`', config)
    self.assertNotIn('{{', find_problems(config)[0])


if __name__ == '__main__':
  tf.test.main()
