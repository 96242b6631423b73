"""Tests of official_coatnet.records.demo."""

import io
import json
import os
import re
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn import datasets

from official_coatnet.data import schema
from official_coatnet.records import corpus, demo, rows

_FEW = {'train': 60, 'validation': 20}


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
    manifests = demo.write_digits(folder)
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
    demo.write_digits(folder)
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
    first = demo.write_digits(folder, progress=progress)
    self.assertLen(calls, 1797)
    calls.clear()
    self.assertEqual(demo.write_digits(folder, progress=progress), first)
    self.assertEmpty(calls)
    os.truncate(os.path.join(folder, 'validation-00001-of-00002'), 100)
    self.assertEqual(demo.write_digits(folder, progress=progress), first)
    self.assertLen(calls, 450)

  def test_missing_sklearn_names_the_extra(self):
    with (
      mock.patch.dict(sys.modules, {'sklearn': None}),
      self.assertRaisesRegex(
        ImportError, r'pip install "official_coatnet\[demo\]"'
      ),
    ):
      demo.load_split('train')

  def test_unknown_split(self):
    with self.assertRaisesRegex(ValueError, "'test'.*'train' and 'validation'"):
      demo.load_split('test')


class DemoScenesTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.digits = datasets.load_digits()

  def test_no_digit_serves_twice_and_none_is_of_the_test(self):
    pools = demo.deal()
    dealt = np.concatenate([pools.scenes, pools.held_out, pools.labelled])
    # The test images are those from 1,347 on.
    np.testing.assert_array_equal(np.sort(dealt), np.arange(1347))
    np.testing.assert_array_equal(
      np.bincount(self.digits.target[pools.labelled]), np.full(10, 10)
    )
    again = demo.deal()
    np.testing.assert_array_equal(again.scenes, pools.scenes)
    np.testing.assert_array_equal(again.labelled, pools.labelled)

  def test_what_is_seen_of_a_digit(self):
    full = np.full([8, 8], 255, np.uint8)
    dark = np.full([8, 8], 100, np.uint8)
    inside = hidden = 0
    for seed in range(40):
      rng = np.random.RandomState(seed)
      scene, (seen,) = demo.compose(full[np.newaxis], rng)
      rows_with_ink = np.flatnonzero(scene.any(axis=1))
      columns_with_ink = np.flatnonzero(scene.any(axis=0))
      area = len(rows_with_ink) * len(columns_with_ink)
      self.assertEqual(np.count_nonzero(scene), area)
      # Drawn again, for the side of the whole digit.
      side = np.random.RandomState(seed).randint(*demo._SIDES)
      self.assertAllClose(seen, area / side**2)
      self.assertGreaterEqual(seen, 0.75**2 - 0.05)
      inside += seen == 1
      # The brighter of two hides the other, and not the other way round.
      scene, (bright, covered) = demo.compose(
        np.stack([full, dark]), np.random.RandomState(seed)
      )
      self.assertAllClose(bright, seen)
      visible = np.count_nonzero(scene == 100)
      self.assertLessEqual(covered, 1)
      self.assertEqual(covered == 0, visible == 0)
      hidden += covered < 0.5
    self.assertBetween(inside, 1, 39)
    self.assertBetween(hidden, 1, 39)

  def test_lists_records_and_their_digits(self):
    folder = self.create_tempdir().full_path
    with mock.patch.dict(demo.NUM_SCENES, _FEW):
      manifests = demo.write_transfer(folder)
    self.assertEqual(
      {split: each.num_examples for split, each in manifests.items()},
      {'train': 100, 'dev': 247, 'validation': 450},
    )
    lists = {name: self.read_list(folder, name) for name in _FEW}
    used = {
      name: {digit for row in lines for digit in row['digits']}
      for name, lines in lists.items()
    }
    pools = demo.deal()
    self.assertContainsSubset(used['train'], pools.scenes)
    self.assertContainsSubset(used['validation'], pools.held_out)
    for lines in lists.values():
      for row in lines:
        self.check_row(folder, row)
    self.check_single_digits(folder, manifests['validation'], range(1347, 1797))
    self.check_single_digits(folder, manifests['train'], pools.labelled)
    self.check_single_digits(folder, manifests['dev'], pools.held_out)
    self.check_records(folder, lists)

  def read_list(self, folder, name):
    with open(os.path.join(folder, f'{name}.jsonl')) as file:
      lines = [json.loads(line) for line in file]
    self.assertLen(lines, _FEW[name])
    return lines

  def check_row(self, folder, row):
    """Labels are those of scikit-learn; the ink is that of the digits."""
    self.assertEqual(row['labels'], self.digits.target[row['digits']].tolist())
    self.assertLen(set(row['labels']), len(row['labels']))
    self.assertBetween(len(row['labels']), 1, 3)
    self.assertLen(row['label_probs'], len(row['labels']))
    path = os.path.join(folder, 'scenes', f'{row["id"]}.jpg')
    with Image.open(path) as image:
      self.assertEqual((image.mode, image.size), ('RGB', (64, 64)))
      grey = image.convert('L')
    if len(row['labels']) == 1 and row['label_probs'] == [1.0]:
      # Cut out and made 8 x 8 again, it is that digit rather than any other.
      cut = grey.crop(grey.point(lambda ink: 255 * (ink > 60)).getbbox())
      ours = _tight(np.asarray(cut, np.float64))
      digit = self.digits.images[row['digits'][0]]
      likeness = np.corrcoef(ours.ravel(), _tight(digit).ravel())[0, 1]
      self.assertGreater(likeness, 0.75)

  def check_single_digits(self, folder, manifest, indices):
    paths = [
      os.path.join(folder, 'digits', file.name) for file in manifest.files
    ]
    for index, record in zip(
      indices, tf.data.TFRecordDataset(paths), strict=True
    ):
      example = schema.parse(record, schema='imagenet')
      (label,) = example['labels'].numpy()
      self.assertEqual(label - 1, self.digits.target[index])
      image = Image.open(io.BytesIO(example['encoded'].numpy())).convert('L')
      blocks = np.asarray(image, np.float64).reshape(8, 8, 8, 8)
      likeness = np.corrcoef(
        blocks.mean(axis=(1, 3)).ravel(), self.digits.images[index].ravel()
      )
      self.assertGreater(likeness[0, 1], 0.95)

  def check_records(self, folder, lists):
    """The public schema: what `tools/tfrecords.py manifest` builds of them."""
    output_dir = self.create_tempdir().full_path
    manifests = corpus.write_corpus(
      rows.rows_splits(
        os.path.join(folder, 'train.jsonl'),
        validation_list=os.path.join(folder, 'validation.jsonl'),
        input_dir=os.path.join(folder, 'scenes'),
        num_classes=10,
      ),
      output_dir,
      num_shards=2,
    )
    for name, lines in lists.items():
      self.assertEmpty(manifests[name].failures)
      expected = {
        f'{row["id"]}.jpg': (row['labels'], row['label_probs']) for row in lines
      }
      paths = [
        os.path.join(output_dir, file.name) for file in manifests[name].files
      ]
      for record in tf.data.TFRecordDataset(paths):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        example = schema.parse(record, schema='multilabel')
        labels, shares = expected.pop(
          features['image/key'].bytes_list.value[0].decode()
        )
        self.assertAllEqual(example['labels'], labels)
        self.assertAllClose(example['confidences'], shares)
      self.assertEmpty(expected)


def _tight(image):
  """Cuts empty margins off and averages what is left to 8 x 8."""
  rows_, columns = (np.flatnonzero(image.max(axis=a) > 4) for a in (1, 0))
  cut = image[rows_[0] : rows_[-1] + 1, columns[0] : columns[-1] + 1]
  return np.asarray(Image.fromarray(cut.astype(np.float32)).resize((8, 8)))


if __name__ == '__main__':
  tf.test.main()
