"""Tests of official_coatnet.data.schema."""

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import schema
from tests.fixtures import example_files


class SchemaTest(parameterized.TestCase, tf.test.TestCase):
  def test_imagenet_features(self):
    record = schema.serialize_imagenet(
      b'bytes',
      label=7,
      height=3,
      width=5,
      filename='a.jpg',
      synset='n01440764',
      text='tench',
    )
    features = tf.train.Example.FromString(record).features.feature
    self.assertEqual(features['image/encoded'].bytes_list.value, [b'bytes'])
    self.assertEqual(features['image/class/label'].int64_list.value, [7])
    self.assertEqual(features['image/height'].int64_list.value, [3])
    self.assertEqual(features['image/width'].int64_list.value, [5])
    self.assertEqual(features['image/channels'].int64_list.value, [3])
    self.assertEqual(features['image/colorspace'].bytes_list.value, [b'RGB'])
    self.assertEqual(features['image/format'].bytes_list.value, [b'JPEG'])
    self.assertEqual(features['image/filename'].bytes_list.value, [b'a.jpg'])
    self.assertEqual(
      features['image/class/synset'].bytes_list.value, [b'n01440764']
    )
    self.assertEqual(features['image/class/text'].bytes_list.value, [b'tench'])

  def test_imagenet_round_trip(self):
    record = schema.serialize_imagenet(b'x', label=1000, height=1, width=1)
    example = schema.parse(tf.constant(record), schema='imagenet')
    self.assertEqual(example['encoded'], b'x')
    self.assertAllEqual(example['labels'], [1000])
    self.assertNotIn('confidences', example)

  def test_imagenet_labels_start_at_one(self):
    with self.assertRaisesRegex(ValueError, 'label is 0.*start at 1'):
      schema.serialize_imagenet(b'x', label=0, height=1, width=1)

  @parameterized.parameters(
    ([], None), ([4], [0.5]), ([9, 0, 9], [0.25, 1.0, 0.0]), ([1, 2], None)
  )
  def test_multilabel_round_trip(self, labels, confidences):
    record = schema.serialize_multilabel(
      b'x', labels=labels, confidences=confidences, key='k'
    )
    example = tf.function(schema.parse)(
      tf.constant(record), schema='multilabel'
    )
    self.assertEqual(example['encoded'], b'x')
    self.assertEqual(example['labels'].dtype, tf.int64)
    self.assertAllEqual(example['labels'], labels)
    self.assertAllEqual(example['confidences'], confidences or [])

  def test_multilabel_errors(self):
    with self.assertRaisesRegex(ValueError, '1 confidences for 2 labels'):
      schema.serialize_multilabel(b'x', labels=[1, 2], confidences=[0.5])
    with self.assertRaisesRegex(ValueError, 'negative'):
      schema.serialize_multilabel(b'x', labels=[-1])

  def test_automl_records(self):
    feature = {
      'id': tf.train.Feature(bytes_list=tf.train.BytesList(value=[b'7'])),
      'image': tf.train.Feature(bytes_list=tf.train.BytesList(value=[b'jpg'])),
      'labels': tf.train.Feature(
        int64_list=tf.train.Int64List(value=[3, 21842])
      ),
    }
    record = tf.train.Example(features=tf.train.Features(feature=feature))
    example = schema.parse(record.SerializeToString(), schema='automl')
    self.assertEqual(example['encoded'], b'jpg')
    self.assertAllEqual(example['labels'], [3, 21842])

  def test_missing_keys_are_empty(self):
    empty = tf.train.Example().SerializeToString()
    example = schema.parse(empty, schema='multilabel')
    self.assertEqual(example['encoded'], b'')
    self.assertAllEqual(example['labels'], [])
    self.assertAllEqual(example['confidences'], [])

  def test_equal_arguments_give_equal_bytes(self):
    records = {
      schema.serialize_imagenet(b'x', label=1, height=2, width=3, text='a')
      for _ in range(20)
    }
    self.assertLen(records, 1)

  def test_unknown_schema(self):
    with self.assertRaisesRegex(ValueError, "'coco'.*imagenet.*multilabel"):
      schema.get_schema('coco')

  def test_keys_of_others(self):
    keys = {'encoded': 'jpg', 'labels': 'cls', 'confidences': 'p'}
    record = example_files.make_example(jpg=b'x', cls=[4, 2], p=[0.5, 0.25])
    example = schema.parse(
      tf.constant(record), schema=schema.get_schema('automl', keys)
    )
    self.assertEqual(example['encoded'], b'x')
    self.assertAllEqual(example['labels'], [4, 2])
    self.assertAllEqual(example['confidences'], [0.5, 0.25])
    self.assertEqual(schema.get_schema('automl', {}).labels, 'labels')
    self.assertEqual(
      schema.get_schema('automl', (('labels', 'cls'),)).encoded, 'image'
    )

  @parameterized.parameters(
    ('imagenet', {'image': 'jpg'}, "'image' is none of them"),
    ('imagenet', {'labels': 3}, '3 is no name'),
    ('imagenet', {'labels': ''}, "'' is no name"),
    ('imagenet', 'labels:cls', "'labels:cls', but must map"),
    ('imagenet', {1: 'a', 'labels': 'b'}, 'but must map'),
    ('imagenet', {'confidences': 'p'}, "has no 'confidences'.*'multilabel'"),
    ('automl', {'labels': 'image'}, 'each must be a feature of its own'),
  )
  def test_wrong_keys(self, name, keys, words):
    with self.assertRaisesRegex(ValueError, f'feature_keys is .*{words}'):
      schema.get_schema(name, keys)


if __name__ == '__main__':
  tf.test.main()
