"""Tests of official_coatnet.records.builds, by what `write_corpus` leaves."""

import dataclasses
import os
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import manifest as manifest_lib, schema, split_files
from official_coatnet.records import builds, corpus, writing


def make_splits(*names, source='s', count=6, build=True, **changes):
  """Splits of a source; each of other images."""

  def make(split):
    def select(examples):
      for index in examples:
        image = f'{source} {split} {index}'.encode()
        yield writing.Record(
          schema.serialize_multilabel(image, labels=[0], key=str(index)), [0]
        )

    return corpus.Split(
      name=split,
      schema='multilabel',
      num_classes=1,
      num_examples=count,
      select=select,
      fingerprint=f'{source} {split}',
      label_offset=0,
      build=manifest_lib.Build(source, {'train': count, 'validation': count})
      if build
      else None,
      **changes,
    )

  return [make(name) for name in names]


def read(folder):
  contents = {}
  for directory, _, names in os.walk(folder):
    for name in names:
      path = os.path.join(directory, name)
      with open(path, 'rb') as file:
        contents[os.path.relpath(path, folder)] = file.read()
  return contents


class Killed(BaseException):
  pass


class BuildsTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def write(self, splits, *, num_shards=2, kill_at=None, **options):
    calls = []

    def progress(done, total):
      del total
      calls.append(done)
      if len(calls) == kill_at:
        raise Killed

    manifests = corpus.write_corpus(
      splits,
      self.folder,
      num_shards=num_shards,
      progress=progress,
      **options,
    )
    return manifests, len(calls)

  def kill(self, splits, *, at, **options):
    with self.assertRaises(Killed):
      self.write(splits, kill_at=at, **options)

  def expected(self, splits, **options):
    """What a build leaves in a folder of its own."""
    folder = self.create_tempdir().full_path
    corpus.write_corpus(splits, folder, **{'num_shards': 2, **options})
    return read(folder)

  def assert_refused(self, pattern, splits, **options):
    before = read(self.folder)
    with self.assertRaisesRegex(ValueError, pattern):
      self.write(splits, **options)
    self.assertEqual(read(self.folder), before)

  def assert_replaced(self, splits, **options):
    self.write(splits, overwrite=True, **options)
    self.assertEqual(read(self.folder), self.expected(splits, **options))

  def test_the_same_build_is_left_as_it_is(self):
    splits = make_splits('train', 'validation')
    first, calls = self.write(splits)
    self.assertEqual(calls, 12)
    for overwrite in (False, True):
      self.assertEqual(self.write(splits, overwrite=overwrite), (first, 0))

  def test_splits_say_that_they_belong_together(self):
    splits = make_splits('train', 'validation', build=False)
    manifests, _ = self.write(splits)
    train, validation = manifests.values()
    self.assertEqual(train.build, validation.build)
    self.assertEqual(train.build.splits, {'train': 6, 'validation': 6})
    other = make_splits('train', 'validation', source='t', build=False)
    self.assertNotEqual(corpus.make_build(other).mark, train.build.mark)
    # The number of files is not what they are made from.
    self.assertEqual(corpus.make_build(splits).mark, train.build.mark)

  def test_a_split_of_before_is_refused_or_goes(self):
    self.write(make_splits('train', 'validation', build=False))
    now = make_splits('train', source='all', build=False)
    self.assert_refused(
      'output_dir is .*manifest-train.json.*something else.*6 images in 2 files'
      ".*manifest-validation.json, split 'validation' of an earlier.*overwrite",
      now,
    )
    self.assert_replaced(now)

  def test_another_number_of_files(self):
    splits = make_splits('train')
    self.write(splits)
    self.assert_refused('other files than the 3', splits, num_shards=3)
    self.assert_replaced(splits, num_shards=3)

  def test_other_splits_of_the_same_source_are_written_to_the_same_folder(self):
    self.write(make_splits('train'), num_shards=3)
    self.write(make_splits('validation'))
    self.assertLen(read(self.folder), 3 + 2 + 2)
    self.write(make_splits('train'), num_shards=3)
    self.assert_refused(
      "split 'validation' of an earlier", make_splits('train', source='t')
    )

  def test_an_unfinished_split_of_the_same_source_is_left_alone(self):
    self.kill(make_splits('validation'), at=4)
    self.write(make_splits('train'))
    _, calls = self.write(make_splits('validation'))
    self.assertEqual(calls, 1 + 3)  # The finished shard is counted at once.
    self.assertEqual(
      read(self.folder),
      {
        **self.expected(make_splits('train')),
        **self.expected(make_splits('validation')),
      },
    )

  @parameterized.parameters(
    'train-00000-of-00002', 'train-00007-of-00009', 'val-00000-of-00001',
    'validation-00000-of-00002', 'test-00000-of-00001',
  )  # fmt: skip
  def test_files_of_nobody(self, name):
    with open(os.path.join(self.folder, name), 'w') as file:
      file.write('x')
    splits = make_splits('train')
    self.assert_refused(f'files that no manifest lists: {name}', splits)
    self.assert_replaced(splits)

  def test_other_files_are_no_concern(self):
    names = ('notes.txt', 'manifest-x.json', 'x.tfrecord-00000-of-00001')
    for name in names:
      with open(os.path.join(self.folder, name), 'w') as file:
        file.write('x')
    self.write(make_splits('train'))
    self.write(make_splits('train', source='t'), overwrite=True)
    self.assertContainsSubset(names, os.listdir(self.folder))
    self.assert_refused(
      'manifest-x.json, which is no manifest', make_splits('x', 'train')
    )

  def test_an_unfinished_build_of_something_else(self):
    self.kill(make_splits('train', 'validation'), at=8)
    other = make_splits('train', 'validation', source='t')
    self.assert_refused('.building-validation, what a build of some', other)
    self.assert_replaced(other)

  def test_a_killed_build_goes_on(self):
    splits = make_splits('train', 'validation')
    for at in range(1, 13):
      with self.subTest(at):
        self.folder = self.create_tempdir().full_path
        self.kill(splits, at=at)
        _, calls = self.write(splits)
        self.assertLessEqual(calls, 12 - at + 4)
        self.assertEqual(read(self.folder), self.expected(splits))

  def test_a_replacement_that_is_killed_leaves_nothing_that_looks_whole(self):
    old = make_splits('train', 'validation')
    new = make_splits('train', source='t', build=False)
    for at in range(1, 7):
      with self.subTest(at):
        self.folder = self.create_tempdir().full_path
        self.write(old)
        self.kill(new, at=at, overwrite=True)
        self.assertNotIn('manifest-train.json', os.listdir(self.folder))
        self.assertNotIn('manifest-validation.json', os.listdir(self.folder))
        for split in split_files.list_splits(self.folder):
          self.assertIn('a part of split', split.problems[0])
        # The old files are there until the new ones are.
        self.assertIn('validation-00001-of-00002', os.listdir(self.folder))
        _, calls = self.write(new, overwrite=True)
        self.assertLessEqual(calls, 6 - at + 4)
        self.assertEqual(read(self.folder), self.expected(new))

  def test_a_replacement_that_is_killed_before_the_old_files_are_gone(self):
    self.write(make_splits('train', 'validation', build=False))
    new = make_splits('train', source='t', build=False)

    def kill(*arguments, **options):
      raise Killed

    with mock.patch.object(builds, 'finish', kill):
      with self.assertRaises(Killed):
        self.write(new, overwrite=True)
    by_name = {
      each.split: each for each in split_files.list_splits(self.folder)
    }
    self.assertEmpty(by_name['train'].problems)
    self.assertIn('a part of split', by_name['validation'].problems[0])
    self.assert_refused('.building-validation, what a build of some', new)
    self.assert_replaced(new)

  def test_one_split_changed_and_the_other_not(self):
    self.write(make_splits('train', 'validation', build=False))
    before = os.stat(os.path.join(self.folder, 'train-00000-of-00002'))
    new = [
      *make_splits('train', build=False),
      *make_splits('validation', source='t', build=False),
    ]
    self.assert_refused(
      "^((?!manifest-train).)*'validation' made from something", new
    )
    self.assert_replaced(new)
    after = os.stat(os.path.join(self.folder, 'train-00000-of-00002'))
    self.assertEqual(
      (after.st_ino, after.st_mtime_ns), (before.st_ino, before.st_mtime_ns)
    )

  def test_what_version_0_1_has_finished_or_not(self):
    splits = make_splits('train', 'validation', build=False)
    manifests, _ = self.write(splits)
    for manifest in manifests.values():
      fields = dataclasses.replace(manifest, build=None, sketch=None)
      writing.write_manifest(fields, self.folder)
    again, calls = self.write(splits)
    self.assertEqual(calls, 0)
    self.assertEqual([each.build for each in again.values()], [None, None])
    self.assert_refused("split 'validation' of an earlier", splits[:1])
    # Its folder of what is unfinished says of nobody whose it is.
    self.folder = self.create_tempdir().full_path
    self.kill(splits, at=5)
    os.remove(os.path.join(self.folder, '.building-train', 'owner.json'))
    _, calls = self.write(splits)
    self.assertEqual(calls, 1 + 3 + 6)
    self.assertEqual(read(self.folder), self.expected(splits))

  def test_a_split_that_lost_a_file_is_mended(self):
    splits = make_splits('train')
    self.write(splits)
    os.remove(os.path.join(self.folder, 'train-00000-of-00002'))
    self.write(splits)
    self.assertEqual(read(self.folder), self.expected(splits))

  def test_a_wrong_limit_costs_nothing(self):
    self.write(make_splits('train'))
    before = read(self.folder)
    with self.assertRaisesRegex(ValueError, 'max_failures is -1'):
      self.write(
        make_splits('train', source='t'), overwrite=True, max_failures=-1
      )
    self.assertEqual(read(self.folder), before)


if __name__ == '__main__':
  tf.test.main()
