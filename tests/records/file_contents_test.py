"""Tests of official_coatnet.records.file_contents, on made-up contents."""

import collections

import numpy as np
from absl.testing import absltest

from official_coatnet.data import manifest as manifest_lib
from official_coatnet.records import file_contents


def make(name, *, labels=(1, 2), images=(7, 8), names=(0, 0), compression=None):
  return file_contents.FileContents(
    manifest_lib.FileEntry(name, records=len(labels), bytes=90, sha256='s'),
    collections.Counter(labels),
    (),
    np.array([0, 40], np.int64),
    np.array(images, np.uint64),
    np.array(names, np.uint64),
    compression,
  )


class FileContentsTest(absltest.TestCase):
  def test_duplicates_have_places(self):
    contents = [
      make('a', names=[3, 4]),
      make('b', images=[9, 7], names=[4, 0]),
    ]
    self.assertEqual(
      file_contents.find_duplicates(contents, folder='/d'),
      [
        '/d/b at byte 40: same image as in /d/a at byte 0',
        '/d/b at byte 0: same name as in /d/a at byte 40',
      ],
    )
    self.assertEmpty(file_contents.find_duplicates(contents[:1], folder='/d'))
    self.assertEmpty(file_contents.find_duplicates([], folder='/d'))

  def test_compared_with_the_manifest(self):
    manifest = manifest_lib.Manifest(
      'train', 'imagenet', 3, -1, (make('a').entry,), {1: 1, 2: 1}
    )
    compare = file_contents.compare
    self.assertEmpty(compare(manifest, [make('a')], folder='/d'))
    (problem,) = compare(manifest, [make('a', labels=[1, 3])], folder='/d')
    self.assertRegex(problem, "/d: the labels of split 'train' are not those")
    (problem,) = compare(manifest, [make('a', labels=[1])], folder='/d')
    self.assertRegex(problem, '/d/a: 1 intact records, but its manifest says 2')

  def test_mixture(self):
    find = file_contents.find_mixture
    packed = [make(name, compression='GZIP') for name in 'ab']
    self.assertEmpty(find(packed, folder='/d'))
    self.assertEmpty(find([], folder='/d'))
    (problem,) = find([*packed, make('c')], folder='/d')
    self.assertRegex(problem, r'different ways \(a by gzip, c is not\)')


if __name__ == '__main__':
  absltest.main()
