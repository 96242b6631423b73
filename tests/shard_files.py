"""Records in files, whole and damaged, for tests of shards."""

import os

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import records, schema
from official_coatnet.data.shards import files, validation
from tests import image_files


def make_record(index, *, label=None, image=None, name=None):
  return records.Record(
    schema.serialize_imagenet(
      image_files.encode(index) if image is None else image,
      label=index % 3 + 1 if label is None else label,
      height=12,
      width=16,
      filename=f'{index}.jpg' if name is None else name,
    ),
    labels=[index % 3 + 1 if label is None else label],
  )


class ShardsTestCase(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def write(self, items, *, split='train', num_shards=2):
    return records.write_split(
      lambda shard: items[shard::num_shards],
      self.folder,
      split=split,
      num_shards=num_shards,
      schema='imagenet',
      num_classes=3,
      label_offset=-1,
      class_names=('a', 'b', 'c'),
    )

  def path(self, shard=0):
    return os.path.join(self.folder, f'train-{shard:05d}-of-00002')

  def validate(self, folder=None, **options):
    problems = []
    for split in files.list_splits(folder or self.folder):
      rules = validation.rules_for(split, num_classes=3)
      problems += validation.validate_split(split, rules=rules, **options)[0]
    return problems

  def flip(self, path, offset):
    with open(path, 'r+b') as file:
      file.seek(offset)
      (byte,) = file.read(1)
      file.seek(offset)
      file.write(bytes([byte ^ 4]))
