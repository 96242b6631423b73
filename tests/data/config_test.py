"""Tests of official_coatnet.data.config."""

import dataclasses
import json

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import augment, config as config_lib


def make(**fields):
  fields = {'num_classes': 10, 'image_size': 32, 'batch_size': 8, **fields}
  return config_lib.DataConfig(**fields)


class DataConfigTest(parameterized.TestCase, tf.test.TestCase):
  def test_defaults_are_imagenets(self):
    config = make()
    self.assertEqual(config.schema, 'imagenet')
    self.assertEqual(tuple(config.crop_area_range), (0.08, 1.0))
    self.assertEqual(config.eval_crop_fraction, 0.875)
    self.assertIsNone(config.make_randaugment())
    self.assertEqual(config.interpolation, 'bilinear')
    self.assertEqual(config.mean, (0.485, 0.456, 0.406))
    self.assertEqual(config.deviation, (0.229, 0.224, 0.225))

  def test_mean_and_deviation_are_compared_as_numbers(self):
    config = make(mean=[0, 0, 0], deviation=[1, 1, 1])
    self.assertEqual(
      config, make(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))
    )

  @parameterized.parameters((32, (32, 32)), ((16, 24), (16, 24)))
  def test_height_width(self, image_size, expected):
    self.assertEqual(make(image_size=image_size).height_width, expected)

  @parameterized.parameters(
    ('source', 'csv', "one of 'tfrecord'"),
    ('schema', 'coco', 'must be one of'),
    ('split', '', 'the name of a split'),
    ('num_classes', 0, 'integer of at least 1'),
    ('num_classes', 10.0, 'integer of at least 1'),
    ('batch_size', True, 'integer of at least 1'),
    ('batch_size', '8', 'integer of at least 1'),
    ('max_labels', 0, 'integer of at least 1'),
    ('shuffle_buffer', 0, 'integer of at least 1'),
    ('num_examples', 0, 'integer of at least 1'),
    ('parallel_calls', -1, 'integer of at least 1'),
    ('prefetch', -1, 'at least 0'),
    ('image_size', 0, r'\(height, width\)'),
    ('image_size', (32, 32, 3), r'\(height, width\)'),
    ('image_size', 32.5, r'\(height, width\)'),
    ('image_size', None, r'\(height, width\)'),
    ('crop_area_range', (0.0, 1.0), 'lowest <= highest'),
    ('crop_area_range', (0.5, 1.5), 'lowest <= highest'),
    ('crop_area_range', 0.5, 'lowest <= highest'),
    ('crop_aspect_range', (2, 1), 'lowest <= highest'),
    ('eval_crop_fraction', 1.5, r'\(0, 1\]'),
    ('interpolation', 'nearest', r"'bilinear', 'bicubic'"),
    ('mean', 0.5, 'three numbers'),
    ('mean', (0.5, 0.5), 'three numbers'),
    ('mean', (0.5, 0.5, float('nan')), 'three numbers'),
    ('mean', ('a', 'b', 'c'), 'three numbers'),
    ('mean', (123.7, 116.3, 103.5), 'divide values for pixels in 0..255'),
    ('deviation', (0.5, 0.5, 0.0), r'in \(0, 1\]'),
    ('deviation', (0.5, 0.5, float('inf')), r'in \(0, 1\]'),
    ('randaugment', (2,), r'\(layers, magnitude\)'),
    ('randaugment', 15, r'\(layers, magnitude\)'),
    ('randaugment', (0, 15), 'integer of at least 1'),
    ('randaugment_fill', 'black', "'reflect', 'grey'"),
    ('mixup_alpha', 0, 'above 0'),
    ('label_offset', 0.5, 'integer'),
    ('max_pixels', 1e8, 'integer of at least 1'),
    ('on_error', 'ignore', "must be one of.*'skip'"),
    ('max_skipped', 5, r'number in \[0, 1\]'),
    ('data_service', 'localhost:5050', "'grpc://host:port'"),
    ('data_service', 'grpc://localhost', "'grpc://host:port'"),
    ('confidence_threshold', 0.5, "None in schema 'imagenet'"),
    ('labels_optional', True, "False in schema 'imagenet'.*'multilabel'"),
    ('compression', 'gzip', "one of 'GZIP', 'ZLIB', or None"),
    ('feature_keys', {'image': 'jpg'}, 'dict of some of'),
  )
  def test_errors_name_field_value_and_rule(self, name, value, rule):
    with self.assertRaisesRegex(ValueError, rule) as raised:
      make(**{name: value})
    message = str(raised.exception)
    self.assertIn(f'`DataConfig.{name}` is {value!r}', message)
    # A likely fix.
    self.assertRegex(message, r'(\.|;) [A-Za-z].*[.?]$')

  def test_tfds_needs_a_name(self):
    with self.assertRaisesRegex(ValueError, 'tfds_name` is None'):
      make(source='tfds')

  def test_mixup_needs_an_even_batch(self):
    with self.assertRaisesRegex(ValueError, 'batch_size` is 7.*even'):
      make(mixup_alpha=0.8, batch_size=7)

  def test_unknown_randaugment_operation(self):
    with self.assertRaisesRegex(
      ValueError, 'randaugment_exclude.*some of Auto'
    ):
      make(randaugment=(2, 15), randaugment_exclude=('Flip',))

  def test_randaugment_fill_reaches_the_augmentation(self):
    image = np.full((8, 8, 3), 10, np.uint8)
    others = [op for op in augment.OPERATIONS if op != 'TranslateX']
    colors = set()
    for fill in augment.FILLS:
      randaugment = make(
        randaugment=(4, 0.2), randaugment_exclude=others, randaugment_fill=fill
      ).make_randaugment()
      for seed in range(4):
        colors |= {
          (fill, value)
          for value in np.unique(randaugment(image, seed=[0, seed]))
        }
    self.assertEqual(colors, {('reflect', 10), ('grey', 10), ('grey', 128)})

  def test_replaced_fields_are_checked(self):
    with self.assertRaisesRegex(ValueError, 'batch_size` is -2'):
      dataclasses.replace(make(), batch_size=-2)

  def test_feature_keys(self):
    """As gin and Python give them, and as they come out of JSON."""
    keys = {'labels': 'label', 'encoded': 'image'}
    config = make(feature_keys=keys)
    self.assertEqual(config.record_schema.labels, 'label')
    self.assertEqual(config.record_schema.encoded, 'image')
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    pairs = tuple(tuple(pair) for pair in stored['feature_keys'])
    again = make(feature_keys=pairs)
    self.assertEqual(again, config)
    self.assertEqual(hash(again), hash(config))
    self.assertIsNone(make(feature_keys={}).feature_keys)
    # Which has none by itself.
    scored = make(
      schema='automl',
      feature_keys={'confidences': 'p'},
      confidence_threshold=0.5,
    )
    self.assertEqual(scored.record_schema.confidences, 'p')

  def test_no_compression(self):
    self.assertEqual(make(compression=''), make())

  @parameterized.parameters(
    ('feature_keys', {'encoded': 'image'}),
    ('compression', 'GZIP'),
  )
  def test_tfds_knows_its_files(self, name, value):
    with self.assertRaisesRegex(
      ValueError, f"{name}` .* where source is 'tfds'"
    ):
      make(source='tfds', tfds_name='pets', **{name: value})


if __name__ == '__main__':
  tf.test.main()
