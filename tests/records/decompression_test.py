"""Tests of official_coatnet.records.decompression."""

import gzip
import os
import zlib

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.records import decompression
from tests.fixtures import example_files


class DecompressionTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir().full_path
    (self.path,) = example_files.write_shards(
      folder, [os.urandom(3000)] * 3, num_shards=1
    )
    with open(self.path, 'rb') as file:
      self.plain = file.read()

  def open(self, content):
    with open(self.path, 'wb') as file:
      file.write(content)
    with decompression.open_records(self.path) as opened:
      opened.file.seek(0)
      return opened.file.read(), opened

  def test_as_it_is(self):
    content, opened = self.open(self.plain)
    self.assertEqual(content, self.plain)
    self.assertIsNone(opened.compression)
    self.assertLen(self.plain, opened.size)

  @parameterized.parameters(
    ('GZIP', gzip.compress),
    ('ZLIB', zlib.compress),
    # As `cat a.gz b.gz` leaves it.
    ('GZIP', lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),
  )
  def test_whole(self, compression, compress):
    content, opened = self.open(compress(self.plain))
    self.assertEqual(content, self.plain)
    self.assertEqual(opened.compression, compression)
    self.assertLen(self.plain, opened.size)
    self.assertEqual(opened.problem, '')

  def test_damaged(self):
    packed = bytearray(gzip.compress(self.plain))
    content, opened = self.open(packed[:-2000])
    self.assertStartsWith(self.plain, content)
    self.assertEqual(opened.problem, 'cut off within its compression by gzip')
    packed[-3] ^= 1  # Its own checksums.
    _, opened = self.open(packed)
    self.assertStartsWith(opened.problem, 'damaged within its compression by')


if __name__ == '__main__':
  tf.test.main()
