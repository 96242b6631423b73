"""Tests of official_coatnet.data.record_features."""

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import record_features, schema
from tests.fixtures import example_files

# As far as a beginning tells.
JPEG = b'\xff\xd8\xff\xe0 jpeg'
make = example_files.make_example


def compare(records, name='imagenet', *, feature_keys=None, **options):
  features = record_features.read_features(records)
  assert len(features) == len(records)
  keys = schema.get_schema(name, feature_keys)
  return record_features.compare(features, keys, **options)


class CompareTest(parameterized.TestCase):
  @parameterized.parameters('imagenet', 'multilabel')
  def test_records_of_our_own(self, name):
    records = {
      'imagenet': schema.serialize_imagenet(JPEG, label=1, height=1, width=1),
      'multilabel': schema.serialize_multilabel(JPEG, labels=[]),
    }
    self.assertIsNone(compare([records[name]] * 3, name))

  def test_a_missing_key_names_both_lists(self):
    records = [make(image=JPEG, label=3)] * 15 + [
      make(image=JPEG, label=3, x=1.0)
    ]
    mismatch = compare(records, 'automl')
    self.assertEqual(
      str(mismatch),
      "schema 'automl' reads 'image' (bytes, an image file) and 'labels' "
      '(int64, any number of classes), but the first 16 records hold '
      "'image' (bytes), 'label' (int64), 'x' (float) in 1 of them: 'labels' is "
      "missing. Set DataConfig.feature_keys = {'labels': 'label'}.",
    )
    self.assertEndsWith(
      mismatch.for_flags(), 'Give --feature_keys=labels:label.'
    )
    self.assertIsNone(
      compare(records, 'automl', feature_keys={'labels': 'label'})
    )

  @parameterized.parameters(
    # Of the records that others write.
    ({'image/encoded': JPEG, 'image/class/label': 3}, 'automl',
     "Set schema to 'imagenet', and feature_keys to None."),
    ({'image/encoded': JPEG, 'image/class/label': [3, 4]}, 'automl',
     "Set schema to 'multilabel', and feature_keys to None."),
    ({'image': JPEG, 'labels': [3, 4]}, 'imagenet',
     "Set schema to 'automl', and feature_keys to None."),
    ({'image': JPEG, 'labels': 3}, 'imagenet',
     "feature_keys = {'encoded': 'image', 'labels': 'labels'}."),
    ({'jpg': JPEG, 'cls': 3, 'height': 4}, 'imagenet',
     'Check schema and feature_keys.'),
    ({'jpg': JPEG, 'label_fine': 3, 'label_coarse': 1}, 'imagenet',
     'Check schema and feature_keys.'),
    ({'png': JPEG, 'name': b'a.png', 'target': 3, 'height': 4}, 'imagenet',
     "feature_keys = {'encoded': 'png', 'labels': 'target'}."),
  )  # fmt: skip
  def test_what_to_set(self, features, name, fix):
    self.assertEndsWith(str(compare([make(**features)] * 2, name)), fix)

  @parameterized.parameters(
    ('imagenet', 'image/class/label', b'cat',
     "holds text, such as b'cat', but must be int64, the numbers of classes"),
    ('imagenet', 'image/class/label', 3.0, 'holds float, such as 3.0, but'),
    ('imagenet', 'image/encoded', [0.5] * 48,
     r'holds 48 numbers \(float\), which are pixels, but must be one byte'),
    ('imagenet', 'image/encoded', [5] * 48, r'48 numbers \(int64\)'),
    ('imagenet', 'image/encoded', [JPEG, JPEG], 'holds several values'),
    ('multilabel', 'image/class/confidence', 5, 'must be float: write a'),
  )  # fmt: skip
  def test_another_type(self, name, key, value, words):
    good = {'image/encoded': JPEG, 'image/class/label': 3}
    records = [make(**good), make(**{**good, key: value})]
    found = str(compare(records, name))
    self.assertRegex(found, f"'{key}' .*{words}")

  def test_labels_that_some_lack(self):
    good = make(image=JPEG, labels=[])
    records = [good, good, make(image=JPEG)]
    self.assertRegex(
      str(compare(records, 'automl')),
      "'labels' is missing in 1 of them; where an image has no label, write",
    )
    self.assertIsNone(compare(records, 'automl', labels_optional=True))
    self.assertIsNone(compare([good], 'automl'))
    self.assertIsNotNone(
      compare([make(image=JPEG)], 'automl', labels_optional=True)
    )

  def test_images_that_are_none(self):
    keys = schema.get_schema('automl')
    pixels = make(image=bytes(range(256)) * 3, labels=3, height=16, width=16)
    records = record_features.read_features([pixels] * 2)
    self.assertIsNone(record_features.compare(records, keys))
    self.assertRegex(
      record_features.without_images(records, keys),
      "'image' holds 768 bytes .* 16 x 16 x 3 pixels of type uint8",
    )
    records += record_features.read_features([make(image=JPEG, labels=3)])
    self.assertIsNone(record_features.without_images(records, keys))


if __name__ == '__main__':
  tf.test.main()
