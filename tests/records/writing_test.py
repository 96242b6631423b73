"""Tests of official_coatnet.records.writing."""

import hashlib
import os

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import manifest as manifest_lib, split_files
from official_coatnet.records import writing


def make_shard(shard, *, num_shards, num_examples=10):
  for index in writing.shard_range(
    shard, num_shards, num_examples=num_examples
  ):
    if index == 3:
      yield manifest_lib.Failure('image 3', 'broken')
    else:
      yield writing.Record(f'record {index}'.encode(), [index % 2, 7])


def write(folder, *, num_shards=3, fingerprint='f', **options):
  return writing.write_split(
    lambda shard: make_shard(shard, num_shards=num_shards),
    folder,
    split='train',
    num_shards=num_shards,
    schema='multilabel',
    num_classes=8,
    label_offset=0,
    num_examples=10,
    fingerprint=fingerprint,
    **options,
  )


def contents(folder):
  result = {}
  for name in os.listdir(folder):
    with open(os.path.join(folder, name), 'rb') as file:
      result[name] = file.read()
  return result


class RecordsTest(parameterized.TestCase, tf.test.TestCase):
  def test_files_and_manifest(self):
    folder = os.path.join(self.create_tempdir(), 'new', 'folder')
    manifest = write(folder)
    names = [f'train-0000{i}-of-00003' for i in range(3)]
    self.assertCountEqual(os.listdir(folder), [*names, 'manifest-train.json'])
    paths = [os.path.join(folder, name) for name in names]
    stored = [r.numpy().decode() for r in tf.data.TFRecordDataset(paths)]
    self.assertEqual(stored, [f'record {i}' for i in range(10) if i != 3])
    self.assertEqual(split_files.read_manifest(folder, 'train'), manifest)
    self.assertEqual([file.records for file in manifest.files], [3, 2, 4])
    for file, path in zip(manifest.files, paths):
      with open(path, 'rb') as opened:
        data = opened.read()
      self.assertEqual(file.bytes, len(data))
      self.assertEqual(file.sha256, hashlib.sha256(data).hexdigest())
    self.assertEqual(manifest.num_examples, 9)
    self.assertEqual(manifest.label_counts, {0: 5, 1: 4, 7: 9})
    self.assertEqual(
      manifest.failures, (manifest_lib.Failure('image 3', 'broken'),)
    )

  def test_class_names_are_lines_of_text(self):
    folder = self.create_tempdir().full_path
    with self.assertRaisesRegex(ValueError, r"'a\\nb', class number 0 from 0"):
      write(folder, class_names=['a\nb', *'cdefghi'])
    self.assertEmpty(os.listdir(folder))

  def test_written_twice_has_the_same_bytes(self):
    first, second = self.create_tempdir(), self.create_tempdir()
    write(first)
    write(second)
    self.assertEqual(contents(first), contents(second))

  def test_other_number_of_shards_leaves_no_old_files(self):
    folder = self.create_tempdir().full_path
    write(folder, num_shards=3)
    other = os.path.join(folder, 'train-notes.txt')
    with open(other, 'w') as file:
      file.write('mine')
    write(folder, num_shards=2)
    self.assertCountEqual(
      os.listdir(folder),
      [
        'train-00000-of-00002',
        'train-00001-of-00002',
        'manifest-train.json',
        'train-notes.txt',
      ],
    )

  def test_killed_run_is_not_complete_and_is_made_good(self):
    folder = self.create_tempdir().full_path
    whole = self.create_tempdir().full_path
    write(whole)

    class Killed(Exception):
      pass

    def kill(done, total):
      self.assertEqual(total, 10)
      if done == 5:
        raise Killed

    with self.assertRaises(Killed):
      write(folder, progress=kill)
    self.assertNotIn('manifest-train.json', os.listdir(folder))
    # The shard in the making is not there under its name.
    self.assertNotIn('train-00001-of-00003', os.listdir(folder))
    self.assertIsNone(split_files.complete_manifest(folder, 'train'))
    write(folder)
    self.assertEqual(contents(folder), contents(whole))

  def test_rebuild_withdraws_the_old_manifest_first(self):
    folder = self.create_tempdir().full_path
    write(folder)

    def kill(done, total):
      raise RuntimeError

    with self.assertRaises(RuntimeError):
      write(folder, progress=kill)
    self.assertIsNone(split_files.complete_manifest(folder, 'train'))

  def test_progress_counts_everything(self):
    calls = []
    write(self.create_tempdir(), progress=lambda *call: calls.append(call))
    self.assertEqual(calls, [(i, 10) for i in range(1, 11)])

  def test_killed_run_goes_on_after_its_finished_shards(self):
    folder = self.create_tempdir().full_path
    whole = self.create_tempdir().full_path
    write(whole)

    def kill(done, total):
      if done == 8:
        raise KeyboardInterrupt

    with self.assertRaises(KeyboardInterrupt):
      write(folder, progress=kill)
    first = os.path.join(folder, 'train-00000-of-00003')
    before = os.stat(first)
    calls = []
    write(folder, progress=lambda *call: calls.append(call))
    self.assertEqual(calls, [(i, 10) for i in range(6, 11)])
    self.assertEqual(os.stat(first).st_ino, before.st_ino)
    self.assertEqual(contents(folder), contents(whole))

  def test_receipts_of_something_else_count_for_nothing(self):
    folder = self.create_tempdir().full_path
    whole = self.create_tempdir().full_path
    write(whole, fingerprint='g')

    def kill(done, total):
      if done == 8:
        raise KeyboardInterrupt

    with self.assertRaises(KeyboardInterrupt):
      write(folder, progress=kill)
    calls = []
    write(folder, fingerprint='g', progress=lambda *call: calls.append(call))
    self.assertLen(calls, 10)
    self.assertEqual(contents(folder), contents(whole))

  def test_killed_rebuilds_leave_no_old_files(self):
    folder = self.create_tempdir().full_path
    whole = self.create_tempdir().full_path
    write(whole, num_shards=1)
    write(folder, num_shards=3)

    def kill(done, total):
      if done == 8:
        raise KeyboardInterrupt

    for num_shards in (2, 4):
      with self.assertRaises(KeyboardInterrupt):
        write(folder, num_shards=num_shards, progress=kill)
    write(folder, num_shards=1)
    self.assertEqual(contents(folder), contents(whole))

  def test_too_many_failures(self):
    folder = self.create_tempdir().full_path
    with self.assertRaisesRegex(
      ValueError, 'max_failures allows 0 .* 1 could not.*image 3: broken'
    ):
      write(folder, failure_limit=0)
    self.assertIsNone(split_files.complete_manifest(folder, 'train'))
    # What is finished is kept for a run that is more patient.
    calls = []
    write(folder, failure_limit=1, progress=lambda *call: calls.append(call))
    self.assertEqual(calls[0], (6, 10))

  @parameterized.parameters((10, 3), (3, 5), (1281167, 1024))
  def test_shard_ranges_partition(self, num_examples, num_shards):
    ranges = [
      writing.shard_range(i, num_shards, num_examples=num_examples)
      for i in range(num_shards)
    ]
    self.assertEqual(ranges[0].start, 0)
    self.assertEqual(ranges[-1].stop, num_examples)
    for left, right in zip(ranges, ranges[1:]):
      self.assertEqual(left.stop, right.start)
    sizes = [len(each) for each in ranges]
    self.assertLessEqual(max(sizes) - min(sizes), 1)


if __name__ == '__main__':
  tf.test.main()
