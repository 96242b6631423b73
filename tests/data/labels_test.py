"""Tests of official_coatnet.data.labels."""

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import labels as labels_lib, schema
from tests.fixtures import example_files


def clean(stored, confidences=None, **options):
  options = {
    'num_classes': 10,
    'label_offset': 0,
    'max_labels': 4,
    'single_label': False,
    **options,
  }

  def call(stored, confidences):
    example = {'labels': stored}
    if confidences is not None:
      example['confidences'] = confidences
    return labels_lib.clean_labels(
      example,
      file=tf.constant('/data/train-7'),
      record=tf.constant(123, tf.int64),
      **options,
    )

  # As in the pipeline, the number of labels is not known beforehand.
  signature = [tf.TensorSpec([None], tf.int64)]
  arguments = [tf.constant(stored, tf.int64)]
  if confidences is None:
    compiled = tf.function(lambda each: call(each, None), signature)
  else:
    signature.append(tf.TensorSpec([None], tf.float32))
    arguments.append(tf.constant(confidences, tf.float32))
    compiled = tf.function(call, signature)
  result = compiled(*arguments)
  assert result.dtype == tf.int32
  assert result.shape == [options['max_labels']]
  return result.numpy().tolist()


class CleanLabelsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    ([], [-1, -1, -1, -1]),
    ([3], [3, -1, -1, -1]),
    ([9, 0, 9, 9, 0], [9, 0, -1, -1]),
    ([4, 3, 2, 1], [4, 3, 2, 1]),
  )
  def test_padding_and_duplicates(self, stored, expected):
    self.assertEqual(clean(stored), expected)

  @parameterized.parameters((1, 0), (10, 9))
  def test_offset(self, stored, expected):
    options = {'label_offset': -1, 'max_labels': 1, 'single_label': True}
    self.assertEqual(clean([stored], **options), [expected])

  @parameterized.parameters(
    # Stored label, offset, the range that the message gives.
    (0, -1, r'1\.\.10'),
    (11, -1, r'1\.\.10'),
    (10, 0, r'0\.\.9'),
    (-1, 0, r'0\.\.9'),
    (2**40, 0, r'0\.\.9'),
  )
  def test_out_of_range(self, stored, offset, allowed):
    for single_label in (False, True):
      with self.assertRaisesRegex(
        tf.errors.InvalidArgumentError,
        f'/data/train-7, record 123: label {stored} is out of range.*'
        f'num_classes = 10 and label_offset = {offset}.*{allowed}',
      ):
        clean([stored], label_offset=offset, single_label=single_label)

  def test_confidences(self):
    stored, confidences = [5, 6, 7, 5], [0.2, 0.5, 0.49, 0.9]
    for threshold, expected in (
      (None, [5, 6, 7, -1]),
      (0.5, [6, 5, -1, -1]),
      (0.95, [-1, -1, -1, -1]),
    ):
      self.assertEqual(
        clean(stored, confidences, confidence_threshold=threshold), expected
      )

  def test_labels_below_the_threshold_may_be_anything(self):
    self.assertEqual(
      clean([99, 3], [0.1, 0.9], confidence_threshold=0.5), [3, -1, -1, -1]
    )

  def test_record_without_confidences_keeps_all(self):
    self.assertEqual(clean([1, 2], [], confidence_threshold=0.5)[:2], [1, 2])

  def test_confidences_of_another_number(self):
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError,
      '/data/train-7, record 123: 1 confidences for 2 labels',
    ):
      clean([1, 2], [0.5], confidence_threshold=0.5)

  def test_too_many(self):
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError,
      'record 123: 3 labels, but max_labels = 2; raise max_labels',
    ):
      clean([1, 2, 3], max_labels=2)
    self.assertEqual(clean([1, 2, 1], max_labels=2), [1, 2])

  @parameterized.parameters(([],), ([1, 2],))
  def test_single_label_needs_one(self, stored):
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError,
      f'record 123: {len(stored)} labels where the schema has exactly one',
    ):
      clean(stored, single_label=True)

  def look_at(self, record, **options):
    keys = schema.get_schema('automl')
    return clean([], serialized=tf.constant(record), keys=keys, **options)

  def test_no_labels_is_not_no_key(self):
    make = example_files.make_example
    empty = [-1, -1, -1, -1]
    self.assertEqual(self.look_at(make(image=b'x', labels=[])), empty)
    # Behind the image, where it is not found at once.
    behind = make(image=b'x' * 2000, labels=[])
    self.assertEqual(self.look_at(behind), empty)
    missing = make(image=b'x' * 2000, label=3)
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError,
      "/data/train-7, record 123: no labels, and no key for them. .*'labels.*; "
      r'the record holds image \(bytes\), label \(int64\)\. .*feature_keys.*'
      'labels_optional = True',
    ):
      self.look_at(missing)
    self.assertEqual(self.look_at(missing, labels_optional=True), empty)

  def test_labels_that_all_fall_below_the_threshold(self):
    record = example_files.make_example(image=b'x', labels=[3])
    self.assertEqual(
      clean(
        [3],
        [0.1],
        confidence_threshold=0.5,
        serialized=tf.constant(record),
        keys=schema.get_schema('automl'),
      ),
      [-1, -1, -1, -1],
    )

  def test_single_label_says_what_is_there(self):
    record = example_files.make_example(image=b'x', label=3)
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError,
      '0 labels where .*image/class/label.*; the record holds image',
    ):
      clean(
        [],
        single_label=True,
        serialized=tf.constant(record),
        keys=schema.get_schema('imagenet'),
      )


if __name__ == '__main__':
  tf.test.main()
