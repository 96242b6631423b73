"""Tests of official_coatnet.records.validation and files."""

import os
import shutil

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import images, schema, split_files
from official_coatnet.records import writing
from tests.fixtures import format_files, image_files, shard_files

# Opaque, Pillow would leave alpha out.
ALPHA = np.dstack([format_files.RGB, format_files.ALPHA])


class ValidateTest(shard_files.ShardsTestCase):
  def test_nothing_wrong(self):
    self.write([shard_files.make_record(i) for i in range(6)])
    done = []
    self.assertEmpty(self.validate(progress=done.append))
    self.assertEqual(sum(done), 6)

  def test_flipped_bit(self):
    self.write([shard_files.make_record(i) for i in range(6)])
    self.flip(self.path(), 100)
    damage, count = self.validate()
    self.assertEqual(
      damage.split(' of its')[0],
      f'{self.path()} at byte 0: data damaged, the checksum',
    )
    self.assertRegex(count, '2 intact records, but its manifest says 3')

  def test_cut_off_and_missing(self):
    self.write([shard_files.make_record(i) for i in range(6)])
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
    ({'image': image_files.encode(0, 'TIFF')}, 'TIFF, which TensorFlow cannot'),
  )
  def test_bad_record(self, changes, message):
    self.write(
      [
        shard_files.make_record(0, **changes),
        shard_files.make_record(1),
        shard_files.make_record(2),
      ]
    )
    (problem,) = self.validate()
    self.assertRegex(problem, f'{self.path()} at byte 0: ')
    self.assertRegex(problem, message)

  def test_formats_that_training_decodes(self):
    self.write(
      [
        shard_files.make_record(i, image=image_files.encode(i, image_format))
        for i, image_format in enumerate(images.DECODED)
      ]
      # Some cameras and web sites leave something behind the end.
      + [shard_files.make_record(5, image=image_files.encode(5) + b'rubbish')]
    )
    self.assertEmpty(self.validate())

  def test_images_that_pillow_decodes_and_training_does_not(self):
    for image, message in (
      (image_files.encode(0, 'BMP', mode='1'), 'BMP of a kind that TensorFlow'),
      (format_files.lossless_jpeg(), 'JPEG of a kind that TensorFlow'),
      (
        format_files.save(ALPHA, 'WEBP', lossless=True),
        'WebP with alpha, which TensorFlow does not decode'
        if 'WebP' in images.DECODED
        else 'image of format WEBP, which TensorFlow cannot decode',
      ),
    ):
      self.write([shard_files.make_record(1, image=image)])
      (problem,) = self.validate()
      self.assertRegex(problem, message)

  def test_not_an_example(self):
    self.write([writing.Record(b'\xff\xff', [1]), shard_files.make_record(1)])
    self.assertRegex(self.validate()[0], 'at byte 0: no tf.train.Example')

  def test_labels_of_a_single_label_record(self):
    serialized = schema.serialize_multilabel(
      image_files.encode(0), labels=[1, 2], key='k'
    )
    self.write([writing.Record(serialized, [1, 2])])
    (problem,) = self.validate()
    self.assertRegex(problem, r'2 labels in image/class/label.*\(k\)')

  def test_duplicates(self):
    self.write(
      [
        shard_files.make_record(0),
        shard_files.make_record(1),
        shard_files.make_record(2),
        shard_files.make_record(5, image=image_files.encode(0)),
        shard_files.make_record(6, name='1.jpg'),
      ]
    )
    image, name = self.validate()
    second = (
      os.path.getsize(self.path(1))
      - len(shard_files.make_record(5, image=image_files.encode(0)).serialized)
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
    self.write([shard_files.make_record(i) for i in range(4)])
    first, second = (shard_files.make_record(i).serialized for i in (2, 0))
    with tf.io.TFRecordWriter(self.path()) as writer:
      writer.write(first)
      writer.write(second)
    self.assertRegex(self.validate()[0], 'another checksum than its manifest')

  def test_without_a_manifest(self):
    self.write([shard_files.make_record(i) for i in range(4)])
    os.remove(split_files.manifest_path(self.folder, 'train'))
    self.assertEmpty(self.validate())
    os.remove(self.path(1))
    self.assertRegex(self.validate()[0], 'of 00002 files .*1 are missing')

  def test_file_that_the_manifest_does_not_know(self):
    self.write([shard_files.make_record(i) for i in range(4)])
    shutil.copy(self.path(), os.path.join(self.folder, 'train-00002-of-00003'))
    self.assertRegex(self.validate()[0], '00002-of-00003 is not in the manif')

  def test_one_file(self):
    self.write([shard_files.make_record(i) for i in range(6)])
    self.flip(self.path(1), 100)
    self.assertEmpty(self.validate(self.path()))
    self.assertLen(self.validate(self.path(1)), 2)

  def test_nothing_there(self):
    with self.assertRaisesRegex(ValueError, 'neither a manifest nor files'):
      split_files.list_splits(self.folder)
    with self.assertRaisesRegex(ValueError, 'is not a folder'):
      split_files.list_splits('/nowhere')


if __name__ == '__main__':
  tf.test.main()
