"""Tests of official_coatnet.records.demo_digits."""

import io
import os
import re
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn import datasets

from official_coatnet.data import schema
from official_coatnet.records import demo_digits


class DemoDigitsTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.digits = datasets.load_digits()

  def read(self, folder, manifest):
    paths = [os.path.join(folder, file.name) for file in manifest.files]
    for record in tf.data.TFRecordDataset(paths):
      yield schema.parse(record, schema='imagenet')

  def test_records_hold_the_digits_in_file_order(self):
    folder = self.create_tempdir().full_path
    manifests = demo_digits.write_digits(folder)
    index = 0
    for split, size in (('train', 1347), ('validation', 450)):
      manifest = manifests[split]
      self.assertEqual(manifest.num_examples, size)
      self.assertEqual(manifest.class_names, tuple('0123456789'))
      self.assertEqual(manifest.num_classes, 10)
      self.assertEqual(manifest.label_offset, -1)
      for example in self.read(folder, manifest):
        (label,) = example['labels'].numpy()
        self.assertEqual(label - 1, self.digits.target[index])
        if index % 100 == 0:
          self.check_image(example['encoded'].numpy(), index)
        index += 1
    self.assertEqual(index, 1797)
    histogram = np.bincount(self.digits.target[:1347])
    self.assertEqual(
      manifests['train'].label_counts,
      {digit + 1: count for digit, count in enumerate(histogram)},
    )

  def check_image(self, encoded, index):
    image = Image.open(io.BytesIO(encoded))
    self.assertEqual(image.format, 'JPEG')
    self.assertEqual((image.mode, image.size), ('RGB', (64, 64)))
    # Averaged over blocks of 8 x 8, the enlarged digit is the digit again.
    blocks = np.asarray(image.convert('L'), np.float64)
    blocks = blocks.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    original = self.digits.images[index] * (255 / 16)
    self.assertGreater(
      np.corrcoef(blocks.ravel(), original.ravel())[0, 1], 0.97
    )

  def test_sample_images_show_index_and_digit(self):
    folder = self.create_tempdir().full_path
    demo_digits.write_digits(folder)
    names = os.listdir(os.path.join(folder, 'images'))
    self.assertLen(names, 12)
    for name in names:
      index, digit = map(
        int, re.fullmatch(r'validation_(\d{4})_digit_(\d).jpg', name).groups()
      )
      self.assertEqual(self.digits.target[1347 + index], digit)
      with open(os.path.join(folder, 'images', name), 'rb') as file:
        self.check_image(file.read(), 1347 + index)

  def test_complete_output_is_reused_and_damage_made_good(self):
    folder = self.create_tempdir().full_path
    calls = []
    progress = lambda done, total: calls.append((done, total))
    first = demo_digits.write_digits(folder, progress=progress)
    self.assertLen(calls, 1797)
    calls.clear()
    self.assertEqual(demo_digits.write_digits(folder, progress=progress), first)
    self.assertEmpty(calls)
    os.truncate(os.path.join(folder, 'validation-00001-of-00002'), 100)
    self.assertEqual(demo_digits.write_digits(folder, progress=progress), first)
    self.assertLen(calls, 450)

  def test_missing_sklearn_names_the_extra(self):
    with (
      mock.patch.dict(sys.modules, {'sklearn': None}),
      self.assertRaisesRegex(
        ImportError, r'pip install official_coatnet\[demo\]'
      ),
    ):
      demo_digits.load_split('train')

  def test_unknown_split(self):
    with self.assertRaisesRegex(ValueError, "'test'.*'train' and 'validation'"):
      demo_digits.load_split('test')


if __name__ == '__main__':
  tf.test.main()
