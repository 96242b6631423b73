"""Tests of official_coatnet.records.receipts."""

import collections
import dataclasses
import os

import tensorflow as tf

from official_coatnet.data import manifest as manifest_lib
from official_coatnet.records import receipts


class ReceiptsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir()
    self.path = self.folder.create_file('train-0', content='12345').full_path
    self.shard = receipts.Shard(
      manifest_lib.FileEntry('train-0', records=3, bytes=5, sha256='00'),
      collections.Counter({7: 2, 11: 1}),
      (manifest_lib.Failure('a.jpg', 'broken'),),
      bytes(range(24)),
    )
    receipts.save(self.shard, self.folder.full_path, fingerprint='f')

  def load(self, fingerprint='f'):
    return receipts.load(
      [self.path, f'{self.path}0'],
      self.folder.full_path,
      fingerprint=fingerprint,
    )

  def test_round_trip(self):
    self.assertEqual(self.load(), {'train-0': self.shard})
    self.assertEqual(self.shard.num_items, 4)
    names = receipts.list_names(self.folder.full_path)
    self.assertEqual(names, {'train-0'})

  def test_receipt_of_version_0_1(self):
    shard = dataclasses.replace(self.shard, image_hashes=None)
    receipts.save(shard, self.folder.full_path, fingerprint='f')
    self.assertEqual(self.load(), {'train-0': shard})

  def test_owner(self):
    folder = self.folder.full_path
    # Version 0.1 left receipts alone.
    self.assertEqual(receipts.find_owner(folder), receipts.Owner('f'))
    owner = receipts.Owner('g', 'mark')
    receipts.save_owner(owner, folder)
    self.assertEqual(receipts.find_owner(folder), owner)
    self.assertEqual(receipts.list_names(folder), {'train-0'})
    self.assertIsNone(receipts.find_owner(self.create_tempdir().full_path))

  def test_other_contents(self):
    self.assertEmpty(self.load('g'))
    self.assertEmpty(self.load(None))

  def test_file_that_is_gone_or_changed(self):
    with open(self.path, 'a') as file:
      file.write('6')
    self.assertEmpty(self.load())
    os.remove(self.path)
    self.assertEmpty(self.load())


if __name__ == '__main__':
  tf.test.main()
