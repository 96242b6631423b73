"""Tests of official_coatnet.records.beam, on Beam's local runner."""

import functools
import importlib.util
import os
import unittest

import tensorflow as tf

from official_coatnet.records import beam, corpus, folder as folder_lib
from tests.fixtures import image_files

HAS_BEAM = importlib.util.find_spec('apache_beam') is not None


class BeamTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    source = self.create_tempdir()
    for i in range(9):
      contents = image_files.encode(i, 'PNG')
      source.create_file(f'c{i % 2}/{i}.png', content=contents, mode='wb')
    source.create_file('c0/broken.png', content='text')
    self.splits = folder_lib.folder_splits(source.full_path)

  def build(self, **options):
    folder = self.create_tempdir().full_path
    manifests = corpus.write_corpus(
      self.splits, folder, num_shards=3, **options
    )
    contents = {}
    for name in os.listdir(folder):
      with open(os.path.join(folder, name), 'rb') as file:
        contents[name] = file.read()
    return manifests['train'], contents

  @unittest.skipUnless(HAS_BEAM, 'Apache Beam is not installed.')
  def test_same_bytes_as_without(self):
    done_and_total = []
    manifest, contents = self.build(
      map_tasks=functools.partial(beam.map_tasks, runner='DirectRunner'),
      progress=lambda done, total: done_and_total.append((done, total)),
    )
    self.assertLen(manifest.failures, 1)
    self.assertEqual(contents, self.build()[1])
    self.assertEqual(done_and_total[-1], (10, 10))

  @unittest.skipIf(HAS_BEAM, 'Apache Beam is installed.')
  def test_not_installed(self):
    with self.assertRaisesRegex(ImportError, r'official_coatnet\[beam\]'):
      self.build(
        map_tasks=functools.partial(beam.map_tasks, runner='DirectRunner')
      )


if __name__ == '__main__':
  tf.test.main()
