"""Tests of official_coatnet.data.shards.validation, repair and files."""

import os
import shutil

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import manifest as manifest_lib
from official_coatnet.data import records, schema
from official_coatnet.data.shards import files, repair, validation
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


class ValidateTest(ShardsTestCase):
  def test_nothing_wrong(self):
    self.write([make_record(i) for i in range(6)])
    reported = []
    self.assertEmpty(self.validate(report=reported.append))
    self.assertEqual(sum(reported), 6)

  def test_flipped_bit(self):
    self.write([make_record(i) for i in range(6)])
    self.flip(self.path(), 100)
    damage, count = self.validate()
    self.assertEqual(
      damage.split(' of its')[0],
      f'{self.path()} at byte 0: data damaged, the checksum',
    )
    self.assertRegex(count, '2 intact records, but its manifest says 3')

  def test_cut_off_and_missing(self):
    self.write([make_record(i) for i in range(6)])
    os.remove(self.path(1))
    os.truncate(self.path(), os.path.getsize(self.path()) - 3)
    problems = '\n'.join(self.validate())
    self.assertRegex(problems, 'train-00001-of-00002 is missing')
    self.assertRegex(problems, r'00000-of-00002 has \d+ bytes, but its manif')
    self.assertRegex(problems, r'00000-of-00002 at byte \d+: data cut off')

  @parameterized.parameters(
    ({'label': 4}, r'at byte 0: label 4, but must lie in 1 to 3 \(0.jpg\)'),
    ({'image': b''}, 'at byte 0: no image'),
    ({'image': b'text'}, 'image does not decode: UnidentifiedImage'),
    ({'image': image_files.encode(0)[:-2]}, 'JPEG without an end'),
    ({'image': image_files.encode(0)[:300]}, 'JPEG without an end'),
    (
      {'image': image_files.encode(0)[:300] + b'\xff\xda\xff\xd9'},
      'image does not decode',
    ),
    ({'image': image_files.encode(0, 'WEBP')}, 'WEBP, which TensorFlow cannot'),
  )
  def test_bad_record(self, changes, message):
    self.write([make_record(0, **changes), make_record(1), make_record(2)])
    (problem,) = self.validate()
    self.assertRegex(problem, f'{self.path()} at byte 0: ')
    self.assertRegex(problem, message)

  def test_formats_that_training_decodes(self):
    self.write(
      [
        make_record(i, image=image_files.encode(i, image_format))
        for i, image_format in enumerate(['PNG', 'BMP', 'GIF', 'JPEG'])
      ]
      # Some cameras and web sites leave something behind the end.
      + [make_record(5, image=image_files.encode(5) + b'rubbish')]
    )
    self.assertEmpty(self.validate())

  def test_not_an_example(self):
    self.write([records.Record(b'\xff\xff', [1]), make_record(1)])
    self.assertRegex(self.validate()[0], 'at byte 0: no tf.train.Example')

  def test_labels_of_a_single_label_record(self):
    serialized = schema.serialize_multilabel(
      image_files.encode(0), labels=[1, 2], key='k'
    )
    self.write([records.Record(serialized, [1, 2])])
    (problem,) = self.validate()
    self.assertRegex(problem, r'2 labels in image/class/label.*\(k\)')

  def test_duplicates(self):
    self.write(
      [
        make_record(0),
        make_record(1),
        make_record(2),
        make_record(5, image=image_files.encode(0)),
        make_record(6, name='1.jpg'),
      ]
    )
    image, name = self.validate()
    second = (
      os.path.getsize(self.path(1))
      - len(make_record(5, image=image_files.encode(0)).serialized)
      - 16
    )
    self.assertEqual(
      image,
      f'{self.path(1)} at byte {second}: same image as in {self.path()} at '
      'byte 0',
    )
    self.assertRegex(name, '00001-of-00002 at byte 0: same name as in .*00000-')
    self.assertEmpty(self.validate(allow_duplicates=True))

  def test_replaced_file(self):
    self.write([make_record(i) for i in range(4)])
    first, second = (make_record(i).serialized for i in (2, 0))
    with tf.io.TFRecordWriter(self.path()) as writer:
      writer.write(first)
      writer.write(second)
    self.assertRegex(self.validate()[0], 'another checksum than its manifest')

  def test_without_a_manifest(self):
    self.write([make_record(i) for i in range(4)])
    os.remove(manifest_lib.manifest_path(self.folder, 'train'))
    self.assertEmpty(self.validate())
    os.remove(self.path(1))
    self.assertRegex(self.validate()[0], 'of 00002 files .*1 are missing')

  def test_file_that_the_manifest_does_not_know(self):
    self.write([make_record(i) for i in range(4)])
    shutil.copy(self.path(), os.path.join(self.folder, 'train-00002-of-00003'))
    self.assertRegex(self.validate()[0], '00002-of-00003 is not in the manif')

  def test_one_file(self):
    self.write([make_record(i) for i in range(6)])
    self.flip(self.path(1), 100)
    self.assertEmpty(self.validate(self.path()))
    self.assertLen(self.validate(self.path(1)), 2)

  def test_nothing_there(self):
    with self.assertRaisesRegex(ValueError, 'neither a manifest nor files'):
      files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'is not a folder'):
      files.list_splits('/nowhere')


class RepairTest(ShardsTestCase):
  def repair(self, path=None):
    output_dir = self.create_tempdir().full_path
    (split,) = files.list_splits(path or self.folder)
    return output_dir, repair.repair_split(
      split, output_dir, rules=validation.rules_for(split)
    )

  def read(self, path):
    return [each.numpy() for each in tf.data.TFRecordDataset(path)]

  def test_loses_one_record_alone(self):
    items = [make_record(i) for i in range(8)]
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
    self.assertEqual(manifest_lib.read_manifest(output_dir, 'train'), manifest)
    self.assertEmpty(self.validate(output_dir))

  def test_one_file(self):
    items = [make_record(i) for i in range(8)]
    self.write(items)
    os.truncate(self.path(), os.path.getsize(self.path()) - 1)
    output_dir, manifest = self.repair(self.path())
    self.assertLen(manifest.files, 1)
    self.assertCountEqual(
      os.listdir(output_dir), ['train-00000-of-00002', 'manifest-train.json']
    )
    self.assertEqual(manifest.num_examples, 3)

  def test_not_in_place(self):
    self.write([make_record(0)])
    (split,) = files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'give another folder'):
      repair.repair_split(split, self.folder, rules=validation.rules_for(split))


class IndexTest(ShardsTestCase):
  def test_manifest_of_files_of_others(self):
    expected = self.write([make_record(i) for i in range(7)])
    path = manifest_lib.manifest_path(self.folder, 'train')
    os.remove(path)
    (split,) = files.list_splits(self.folder)
    rules = validation.rules_for(split)
    manifest = repair.index_split(split, rules=rules)
    self.assertEqual(manifest.files, expected.files)
    self.assertEqual(manifest.label_counts, expected.label_counts)
    # As many as the largest label says.
    self.assertEqual(manifest.num_classes, 3)
    self.assertTrue(manifest_lib.is_complete(self.folder, 'train'))
    (split,) = files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'is there already'):
      repair.index_split(split, rules=rules)

  def test_names_of_validation_splits(self):
    self.write([make_record(i) for i in range(2)], split='valid')
    os.remove(manifest_lib.manifest_path(self.folder, 'valid'))
    (split,) = files.list_splits(self.folder)
    manifest = repair.index_split(split, rules=validation.rules_for(split))
    self.assertEqual(manifest.split, 'validation')

  def test_damage(self):
    self.write([make_record(i) for i in range(6)])
    os.remove(manifest_lib.manifest_path(self.folder, 'train'))
    self.flip(self.path(), 100)
    (split,) = files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'at byte 0: data damaged.*repair'):
      repair.index_split(split, rules=validation.rules_for(split))


if __name__ == '__main__':
  tf.test.main()
