"""Tests of official_coatnet.records.repair."""

import dataclasses
import os

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import manifest as manifest_lib, split_files
from official_coatnet.records import repair, validation, writing
from tests.fixtures import example_files, shard_files


class RepairTest(shard_files.ShardsTestCase):
  def repair(self, path=None):
    output_dir = self.create_tempdir().full_path
    (split,) = split_files.list_splits(path or self.folder)
    return output_dir, repair.repair_split(
      split, output_dir, rules=validation.rules_for(split)
    )

  def read(self, path):
    return [each.numpy() for each in tf.data.TFRecordDataset(path)]

  def test_loses_one_record_alone(self):
    items = [shard_files.make_record(i) for i in range(8)]
    old = self.write(items)
    self.flip(self.path(), 16 + len(items[0].serialized) + 5)
    output_dir, manifest = self.repair()
    paths = [os.path.join(output_dir, each.name) for each in manifest.files]
    self.assertEqual(
      self.read(paths[0]), [items[i].serialized for i in (0, 4, 6)]
    )
    with open(paths[1], 'rb') as new, open(self.path(1), 'rb') as whole:
      self.assertEqual(new.read(), whole.read())
    (lost,) = manifest.failures
    offset = 16 + len(items[0].serialized)
    self.assertEqual(lost.name, f'train-00000-of-00002 at byte {offset}')
    self.assertRegex(lost.reason, 'header damaged')
    self.assertEqual(manifest.label_counts, {1: 3, 2: 3, 3: 1})
    self.assertEqual(manifest.class_names, old.class_names)
    self.assertEqual(split_files.read_manifest(output_dir, 'train'), manifest)
    self.assertEmpty(self.validate(output_dir))

  def test_one_file(self):
    items = [shard_files.make_record(i) for i in range(8)]
    self.write(items)
    os.truncate(self.path(), os.path.getsize(self.path()) - 1)
    output_dir, manifest = self.repair(self.path())
    self.assertLen(manifest.files, 1)
    self.assertCountEqual(
      os.listdir(output_dir), ['train-00000-of-00002', 'manifest-train.json']
    )
    self.assertEqual(manifest.num_examples, 3)

  def test_what_belongs_together_still_does(self):
    old = dataclasses.replace(
      self.write([shard_files.make_record(i) for i in range(3)]),
      build=manifest_lib.Build('mark', {'train': 3}),
      exif_orientation=True,
    )
    writing.write_manifest(old, self.folder)
    self.assertEqual(self.repair(self.folder)[1], old)

  def test_beside_files_of_another_build(self):
    self.write([shard_files.make_record(i) for i in range(3)])
    output_dir = self.create_tempdir()
    output_dir.create_file('train-00000-of-00007', content='x')
    (split,) = split_files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'of 2, 7 files.*another folder'):
      repair.repair_split(
        split, output_dir.full_path, rules=validation.rules_for(split)
      )

  def test_stopped(self):
    """What there is so far is not taken for all."""
    self.write([shard_files.make_record(i) for i in range(8)])
    (split,) = split_files.list_splits(self.folder)
    output_dir = self.create_tempdir().full_path
    rules = validation.rules_for(split)

    def map_one(function, tasks, progress):
      yield function(tasks[0], progress)
      raise KeyboardInterrupt

    with self.assertRaises(KeyboardInterrupt):
      repair.repair_split(split, output_dir, rules=rules, map_tasks=map_one)
    self.assertIn('train-00000-of-00002', os.listdir(output_dir))
    (half,) = split_files.list_splits(output_dir)
    with self.assertRaisesRegex(ValueError, "a part of split 'train' only"):
      repair.index_split(half, rules=rules)
    repair.repair_split(split, output_dir, rules=rules)
    self.assertEmpty(self.validate(output_dir))
    self.assertLen(os.listdir(output_dir), 3)

  def test_not_in_place(self):
    self.write([shard_files.make_record(0)])
    (split,) = split_files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'give another folder'):
      repair.repair_split(split, self.folder, rules=validation.rules_for(split))


class IndexTest(shard_files.ShardsTestCase):
  def test_manifest_of_files_of_others(self):
    expected = self.write([shard_files.make_record(i) for i in range(7)])
    path = split_files.manifest_path(self.folder, 'train')
    os.remove(path)
    (split,) = split_files.list_splits(self.folder)
    rules = validation.rules_for(split)
    manifest = repair.index_split(split, rules=rules)
    self.assertEqual(manifest.files, expected.files)
    self.assertEqual(manifest.label_counts, expected.label_counts)
    # As many as the largest label says.
    self.assertEqual(manifest.num_classes, 3)
    self.assertIsNotNone(split_files.complete_manifest(self.folder, 'train'))
    (split,) = split_files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'is there already'):
      repair.index_split(split, rules=rules)

  def test_what_manifests_of_version_0_1_lack(self):
    expected = self.write([shard_files.make_record(i) for i in range(7)])
    self.assertLen(expected.sketch.hashes, 7)
    old = dataclasses.replace(expected, sketch=None, fingerprint='f')
    writing.write_manifest(old, self.folder)
    (split,) = split_files.list_splits(self.folder)
    manifest = repair.index_split(split, rules=validation.rules_for(split))
    self.assertEqual(manifest, dataclasses.replace(expected, fingerprint='f'))
    self.assertEqual(split_files.read_manifest(self.folder, 'train'), manifest)

  def test_names_of_validation_splits(self):
    self.write([shard_files.make_record(i) for i in range(2)], split='valid')
    os.remove(split_files.manifest_path(self.folder, 'valid'))
    (split,) = split_files.list_splits(self.folder)
    manifest = repair.index_split(split, rules=validation.rules_for(split))
    self.assertEqual(manifest.split, 'validation')

  def test_damage(self):
    self.write([shard_files.make_record(i) for i in range(6)])
    os.remove(split_files.manifest_path(self.folder, 'train'))
    self.flip(self.path(), 100)
    (split,) = split_files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'at byte 0: data damaged.*repair'):
      repair.index_split(split, rules=validation.rules_for(split))

  def compress(self, compression, *, shards=(0, 1), ending='.gz'):
    """Replaces shards by compressed ones, without a manifest."""
    os.remove(split_files.manifest_path(self.folder, 'train'))
    options = tf.io.TFRecordOptions(compression_type=compression)
    for shard in shards:
      records = list(tf.data.TFRecordDataset(self.path(shard)))
      os.remove(self.path(shard))
      with tf.io.TFRecordWriter(self.path(shard) + ending, options) as writer:
        for record in records:
          writer.write(record.numpy())

  @parameterized.parameters('GZIP', 'ZLIB')
  def test_compressed_files(self, compression):
    whole = self.write([shard_files.make_record(i) for i in range(6)])
    self.compress(compression)
    (split,) = split_files.list_splits(self.folder)
    rules = validation.rules_for(split, num_classes=3)
    self.assertEmpty(self.validate())
    manifest = repair.index_split(split, rules=rules)
    self.assertEqual([file.records for file in manifest.files], [3, 3])
    self.assertEqual(
      [file.bytes for file in manifest.files],
      [os.path.getsize(path) for path in split.paths],
    )
    # It fits the files, for a run to read.
    self.assertIsNotNone(split_files.complete_manifest(self.folder, 'train'))
    output = self.create_tempdir().full_path
    self.assertEqual(
      repair.repair_split(split, output, rules=rules).files, whole.files
    )

  def test_compressed_and_cut_off(self):
    self.write([shard_files.make_record(i) for i in range(6)])
    self.compress('GZIP')
    path = self.path() + '.gz'
    os.truncate(path, os.path.getsize(path) // 2)
    self.assertIn(
      f'{path}: cut off within its compression by gzip', self.validate()
    )
    (split,) = split_files.list_splits(self.folder)
    manifest = repair.repair_split(
      split, self.create_tempdir().full_path, rules=validation.rules_for(split)
    )
    self.assertEqual(
      manifest.failures[-1].reason, 'cut off within its compression by gzip'
    )

  def test_files_compressed_in_different_ways(self):
    self.write([shard_files.make_record(i) for i in range(6)])
    self.compress('GZIP', shards=[1])
    self.assertRegex(
      self.validate()[0],
      r'different ways \(train-00000-of-00002 is not, train-00001-of-00002.gz '
      r'by gzip\)',
    )

  def test_records_of_another_schema(self):
    """Copied, they would get a manifest that says what is not so."""
    record = example_files.make_example(image=b'x', label=3)
    example_files.write_shards(self.folder, [record] * 4)
    (split,) = split_files.list_splits(self.folder)
    words = (
      "'image/class/label' is missing.*|'labels' is missing. Give "
      '--feature_keys=labels:label'
    )
    for schema in ('imagenet', 'automl'):
      rules = validation.rules_for(split, schema=schema)
      with self.assertRaisesRegex(ValueError, words):
        repair.repair_split(split, self.folder + '/out', rules=rules)
      with self.assertRaisesRegex(ValueError, words):
        repair.index_split(split, rules=rules)
    # Once a file, and not once a record.
    problems, _ = validation.validate_split(
      split, rules=rules, allow_duplicates=True
    )
    self.assertLen(problems, 2)


if __name__ == '__main__':
  tf.test.main()
