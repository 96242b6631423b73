"""Tests of official_coatnet.records.rows."""

import json
import os

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import schema
from official_coatnet.records import corpus, rows
from tests.fixtures import image_files


class RowsTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.input_dir = self.create_tempdir().full_path
    self.output_dir = self.create_tempdir().full_path

  def add_images(self, *names):
    for seed, name in enumerate(names):
      path = os.path.join(self.input_dir, name)
      os.makedirs(os.path.dirname(path), exist_ok=True)
      with open(path, 'wb') as file:
        file.write(image_files.encode(seed))

  def add_list(self, lines, name='list.jsonl'):
    path = os.path.join(self.input_dir, name)
    with open(path, 'w', newline='') as file:
      file.writelines(
        f'{line if isinstance(line, str) else json.dumps(line)}\n'
        for line in lines
      )
    return path

  def build(self, path, **options):
    splits = rows.rows_splits(path, input_dir=self.input_dir, **options)
    return corpus.write_corpus(splits, self.output_dir, num_shards=2)

  def read(self, manifest):
    """Returns by key: labels, confidences, image."""
    examples = {}
    for each in manifest.files:
      path = os.path.join(self.output_dir, each.name)
      for record in tf.data.TFRecordDataset(path):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        example = schema.parse(record, schema='multilabel')
        examples[features['image/key'].bytes_list.value[0].decode()] = (
          example['labels'].numpy().tolist(),
          [round(float(each), 4) for each in example['confidences']],
          example['encoded'].numpy(),
        )
    return examples

  def test_json_lines(self):
    self.add_images('a.jpg', 'b/c.jpg', 'd.jpg', '7.jpg')
    path = self.add_list(
      [
        {'image': 'a.jpg', 'labels': [3, 1], 'confidences': [0.5, 0.25]},
        {'path': 'b/c.jpg', 'labels': []},
        '',
        {'file_name': 'd.jpg', 'labels': [2]},
        # As COYO-Labeled has them.
        {
          'id': 7,
          'url': 'http://x/y.jpg',
          'imagehash': '0f',
          'labels': [0, 3],
          'label_probs': [0.75, 0.125],
        },
      ]
    )
    manifest = self.build(path)['train']
    self.assertEqual(
      self.read(manifest),
      {
        'a.jpg': ([3, 1], [0.5, 0.25], image_files.encode(0)),
        'b/c.jpg': ([], [], image_files.encode(1)),
        'd.jpg': ([2], [], image_files.encode(2)),
        '7.jpg': ([0, 3], [0.75, 0.125], image_files.encode(3)),
      },
    )
    self.assertEqual(manifest.label_counts, {0: 1, 1: 1, 2: 1, 3: 2})
    self.assertEqual(
      (manifest.schema, manifest.num_classes, manifest.label_offset),
      ('multilabel', 4, 0),
    )

  def test_csv(self):
    self.add_images('a.jpg', 'b, "c".jpg', 'd.jpg')
    path = self.add_list(
      [
        'image,labels,label_probs\r',
        'a.jpg,3 1,0.5 0.25\r',
        '"b, ""c"".jpg",3;0,\r',
        'd.jpg,"[2, 1]","[0.5, 1.0]"',
      ],
      'list.csv',
    )
    self.assertEqual(
      self.read(self.build(path, num_classes=9)['train']),
      {
        'a.jpg': ([3, 1], [0.5, 0.25], image_files.encode(0)),
        'b, "c".jpg': ([3, 0], [], image_files.encode(1)),
        'd.jpg': ([2, 1], [0.5, 1.0], image_files.encode(2)),
      },
    )

  def test_labels_by_name(self):
    self.add_images('a.jpg')
    path = self.add_list([{'image': 'a.jpg', 'labels': ['eel', 0]}])
    manifest = self.build(path, class_names=['cat', 'dog', 'eel'])['train']
    self.assertEqual(self.read(manifest)['a.jpg'][0], [2, 0])
    self.assertEqual(manifest.class_names, ('cat', 'dog', 'eel'))
    self.assertEqual(manifest.num_classes, 3)

  @parameterized.parameters(
    ('{"image": "a.jpg"', 'delimiter'),
    ('[1]', 'not a JSON object'),
    ('{"labels": [1]}', "no image in the row, which has .'labels'."),
    ('{"image": "a.jpg"}', 'a.jpg has no labels'),
    ('{"image": "a.jpg", "labels": [5]}', r'label 5 is not in \[0, 5\)'),
    ('{"image": "a.jpg", "labels": [-1]}', 'label -1 is not in'),
    ('{"image": "a.jpg", "labels": [1.5]}', 'label 1.5 is no class number'),
    ('{"image": "a.jpg", "labels": [true]}', 'label True is no class'),
    ('{"image": "a.jpg", "labels": [[1]]}', 'no class number'),
    ('{"image": "a.jpg", "labels": ["None"]}', "label 'None' is no class"),
    ('{"image": "a.jpg", "labels": [1e999]}', 'label inf is no class number'),
    ('{"image": "a.jpg", "labels": {"x": 1}}', 'no class number'),
    (
      '{"image": "a.jpg", "labels": [1], "label_probs": [0.1, 0.2]}',
      '2 confidences for 1 labels',
    ),
    (
      '{"image": "a.jpg", "labels": [1], "label_probs": [1.5]}',
      r'not all in \[0, 1\]',
    ),
    (
      '{"image": "a.jpg", "labels": [1], "label_probs": [null]}',
      'not a row of images',
    ),
    ('{"image": "../a.jpg", "labels": [1]}', 'leads out of the folder'),
    ('{"image": "/etc/passwd", "labels": [1]}', 'leads out of the folder'),
    ('{"image": "gs://b/a.jpg", "labels": [1]}', 'leads out of the folder'),
    ('{"image": "b.jpg", "labels": [1]}', 'no such file'),
  )
  def test_bad_rows_are_failures(self, line, reason):
    self.add_images('a.jpg', 'good.jpg')
    path = self.add_list([line, {'image': 'good.jpg', 'labels': [4]}])
    manifest = self.build(path, num_classes=5)['train']
    self.assertCountEqual(self.read(manifest), ['good.jpg'])
    (failure,) = manifest.failures
    self.assertRegex(failure.reason, reason)

  def test_held_out_by_a_hash_of_the_path(self):
    names = [f'{i}.jpg' for i in range(30)]
    self.add_images(*names)
    path = self.add_list([{'image': name, 'labels': [0]} for name in names])
    manifests = self.build(path, validation_fraction=0.3)
    validation = self.read(manifests['validation'])
    self.assertCountEqual(
      validation, [name for name in names if corpus.hash_fraction(name) < 0.3]
    )
    train = self.read(manifests['train'])
    self.assertCountEqual([*train, *validation], names)
    self.assertNotEqual(list(train), sorted(train, key=names.index))

  def test_a_list_of_what_is_held_out(self):
    self.add_images('a.jpg', 'b.jpg', 'c.jpg')
    train = self.add_list([{'image': 'a.jpg', 'labels': [1]}])
    validation = self.add_list(
      ['image,labels', 'b.jpg,3 0', 'c.jpg,2'], 'validation.csv'
    )
    manifests = self.build(train, validation_list=validation)
    self.assertEqual(
      {
        split: {key: row[0] for key, row in self.read(manifest).items()}
        for split, manifest in manifests.items()
      },
      {'train': {'a.jpg': [1]}, 'validation': {'b.jpg': [3, 0], 'c.jpg': [2]}},
    )
    for manifest in manifests.values():
      self.assertEqual(manifest.num_classes, 4)  # Of both lists.
    with self.assertRaisesRegex(ValueError, 'validation_list is .*, but one'):
      self.build(train, validation_list=validation, validation_fraction=0.1)
    with self.assertRaisesRegex(ValueError, "validation_list is '/nowhere'"):
      self.build(train, validation_list='/nowhere')

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, "'/nowhere', but there is no such"):
      rows.rows_splits('/nowhere', input_dir='')
    with self.assertRaisesRegex(ValueError, 'has no rows'):
      rows.rows_splits(self.add_list([]), input_dir='')


if __name__ == '__main__':
  tf.test.main()
