"""Tests of official_coatnet.data.split_files.

tests/records/validation_test.py lists the splits of damaged folders.
"""

import os
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import manifest as manifest_lib, split_files


def make_manifest(*sizes, **changes):
  """A manifest of files 'a', 'b', ... of so many bytes."""
  fields = {
    'split': 'train',
    'schema': 'imagenet',
    'num_classes': 3,
    'label_offset': -1,
    'files': tuple(
      manifest_lib.FileEntry(name, records=2, bytes=size, sha256='00')
      for name, size in zip('abc', sizes)
    ),
    'label_counts': {2: 2 * len(sizes)},
  }
  return manifest_lib.Manifest(**{**fields, **changes})


class NamesTest(parameterized.TestCase, tf.test.TestCase):
  def test_what_is_written_is_found(self):
    for split in ('train', 'validation', 'dev'):
      folder = self.create_tempdir()
      names = [split_files.shard_name(split, i, num_shards=2) for i in (0, 1)]
      self.assertEqual(names[1], f'{split}-00001-of-00002')
      for name in names:
        folder.create_file(name, content='x')
      manifest = make_manifest(1, split=split)
      path = split_files.manifest_path(folder.full_path, split)
      self.assertEqual(os.path.basename(path), f'manifest-{split}.json')
      found = split_files.find_files(
        split_files.patterns(folder.full_path, split)
      )
      self.assertEqual([os.path.basename(path) for path in found], names)
      (listed,) = split_files.list_splits(folder.full_path)
      self.assertEqual((listed.split, listed.names), (split, tuple(names)))
      self.assertEqual(listed.paths, tuple(found))
      self.assertIsNone(listed.manifest)
      folder.create_file(os.path.basename(path), content=manifest.to_json())
      (listed,) = split_files.list_splits(folder.full_path)
      self.assertEqual((listed.split, listed.manifest), (split, manifest))

  @parameterized.parameters('val', 'valid', 'validation')
  def test_names_of_the_validation_split(self, stem):
    folder = self.create_tempdir()
    name = f'{stem}-00000-of-00001'
    path = folder.create_file(name, content='x').full_path
    (listed,) = split_files.list_splits(folder.full_path)
    self.assertEqual((listed.split, listed.names), ('validation', (name,)))
    found = split_files.find_files(
      split_files.patterns(folder.full_path, 'validation')
    )
    self.assertEqual(found, [path])


class ManifestTest(tf.test.TestCase):
  def test_missing_manifest_is_none(self):
    folder = self.create_tempdir().full_path
    self.assertIsNone(split_files.read_manifest(folder, 'train'))
    self.assertIsNone(split_files.complete_manifest(folder, 'train'))

  def test_damage(self):
    folder = self.create_tempdir()
    manifest = make_manifest(3, 4, fingerprint='f')
    folder.create_file('manifest-train.json', content=manifest.to_json())
    folder.create_file('a', content='123')
    (first,) = split_files.find_damage(manifest, folder.full_path)
    self.assertRegex(first, '/b is missing')
    folder.create_file('b', content='123')
    (first,) = split_files.find_damage(manifest, folder.full_path)
    self.assertRegex(first, '/b has 3 bytes.*says 4')
    self.assertIsNone(split_files.complete_manifest(folder.full_path, 'train'))
    with open(os.path.join(folder, 'b'), 'a') as file:
      file.write('4')
    self.assertEmpty(split_files.find_damage(manifest, folder.full_path))
    self.assertEqual(
      split_files.complete_manifest(folder.full_path, 'train'), manifest
    )
    for fingerprint, found in (('f', manifest), ('g', None)):
      self.assertEqual(
        split_files.complete_manifest(
          folder.full_path, 'train', fingerprint=fingerprint
        ),
        found,
      )

  def test_unreadable_manifest_is_not_complete(self):
    folder = self.create_tempdir()
    folder.create_file('manifest-train.json', content='{"split": "tr')
    self.assertIsNone(split_files.complete_manifest(folder.full_path, 'train'))

  def test_files_of_two_builds(self):
    folder = self.create_tempdir()
    for i in range(2):
      folder.create_file(split_files.shard_name('train', i, num_shards=2))
    (listed,) = split_files.list_splits(folder.full_path)
    self.assertEmpty(listed.problems)
    folder.create_file(split_files.shard_name('train', 0, num_shards=1))
    (listed,) = split_files.list_splits(folder.full_path)
    self.assertRegex(listed.problems[0], "'train' of several .*of 1, 2 files")

  def test_a_build_that_has_not_finished(self):
    folder = self.create_tempdir()
    unfinished = folder.mkdir('.building-train').full_path
    self.assertEqual(
      unfinished, split_files.unfinished_dir(folder.full_path, 'train')
    )
    folder.create_file('train-00000-of-00001', content='x')
    folder.create_file('validation-00000-of-00001', content='x')
    train, validation = split_files.list_splits(folder.full_path)
    self.assertRegex(train.problems[0], "holds a part of split 'train' only")
    self.assertEmpty(validation.problems)
    names = split_files.read_names(folder.full_path)
    self.assertEqual(names.unfinished, ('train',))
    self.assertEqual(names.shards['train'], ['train-00000-of-00001'])
    # Killed between the manifest and the end, it is whole.
    entry = manifest_lib.FileEntry('train-00000-of-00001', 1, 1, '')
    manifest = make_manifest(files=(entry,))
    folder.create_file('manifest-train.json', content=manifest.to_json())
    train, _ = split_files.list_splits(folder.full_path)
    self.assertEmpty(train.problems)

  def test_manifest_is_withdrawn_while_the_folder_is_listed(self):
    folder = self.create_tempdir()
    manifest = make_manifest(1)
    folder.create_file('manifest-train.json', content=manifest.to_json())
    folder.create_file('train-00000-of-00002', content='x')
    with mock.patch.object(split_files, 'read_manifest', return_value=None):
      (listed,) = split_files.list_splits(folder.full_path)
    self.assertIsNone(listed.manifest)
    self.assertEqual(listed.names, ('train-00000-of-00002',))
    self.assertRegex(listed.problems[0], 'of 00002 files .* 1 are missing')


if __name__ == '__main__':
  tf.test.main()
