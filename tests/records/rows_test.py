"""Tests of official_coatnet.records.rows."""

import hashlib
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
    return corpus.write_corpus(
      splits, self.output_dir, num_shards=2, overwrite=True
    )

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
    names = ['cat', 'dog', 'eel']
    manifest = self.build(path, class_names=names, numeric_labels='ids')
    manifest = manifest['train']
    self.assertEqual(self.read(manifest)['a.jpg'][0], [2, 0])
    self.assertEqual(manifest.class_names, ('cat', 'dog', 'eel'))
    self.assertEqual(manifest.num_classes, 3)
    with self.assertRaisesRegex(
      ValueError, "a.jpg: label '0' is no class name; set numeric_labels=ids"
    ):
      self.build(path, class_names=names)

  def test_a_name_of_two_words_is_one_class(self):
    names = ['red', 'wine', 'red wine', 'cheese']
    self.add_images(*'abcd')
    lists = [
      self.add_list(
        ['image,labels', 'a,red wine', 'b,red;wine', 'c,cheese;red wine', 'd,'],
        'list.csv',
      ),
      self.add_list(
        [
          {'image': 'a', 'label': 'red wine'},
          {'image': 'b', 'labels': ['red', 'wine']},
          {'image': 'c', 'labels': 'cheese;red wine'},
          {'image': 'd', 'labels': []},
        ]
      ),
    ]
    for path in lists:
      manifest = self.build(path, class_names=names)['train']
      self.assertEqual(
        {key: row[0] for key, row in self.read(manifest).items()},
        {'a': [2], 'b': [0, 1], 'c': [3, 2], 'd': []},
      )

  def test_the_nearest_name_is_named(self):
    self.add_images('a.jpg', 'b.jpg')
    path = self.add_list(
      ['image,label', 'a.jpg,Cheeze', 'b.jpg,cheese'], 'list.csv'
    )
    manifest = self.build(path, class_names=['wine', 'cheese'])['train']
    (failure,) = manifest.failures
    self.assertEqual(
      (failure.name, failure.reason),
      (
        'list.csv at byte 12',
        "a.jpg: label 'Cheeze' is no class name; the nearest is 'cheese'",
      ),
    )

  def test_single_label(self):
    self.add_images('a.jpg', 'b.jpg', 'c.jpg', 'd.jpg')
    path = self.add_list(
      [
        {'image': 'a.jpg', 'labels': ['dog']},
        {'image': 'b.jpg', 'label': 'cat', 'confidence': 1},
        {'image': 'c.jpg', 'labels': ['dog', 'cat']},
        {'image': 'd.jpg', 'labels': []},
      ]
    )
    lines = []
    options = {'class_names': ['cat', 'dog'], 'tell': lines.append}
    manifest = self.build(path, single_label=True, **options)['train']
    self.assertEqual(
      (manifest.schema, manifest.label_offset, manifest.num_classes),
      ('imagenet', -1, 2),
    )
    self.assertEqual(manifest.label_counts, {1: 1, 2: 1})
    features = {}
    for each in manifest.files:
      for record in tf.data.TFRecordDataset(f'{self.output_dir}/{each.name}'):
        example = tf.train.Example.FromString(record.numpy())
        values = example.features.feature
        features[values['image/filename'].bytes_list.value[0]] = (
          values['image/class/label'].int64_list.value[0],
          values['image/class/text'].bytes_list.value[0],
          values['image/height'].int64_list.value[0],
          values['image/width'].int64_list.value[0],
        )
    self.assertEqual(
      features, {b'a.jpg': (2, b'dog', 12, 16), b'b.jpg': (1, b'cat', 12, 16)}
    )
    self.assertEqual(
      {failure.name: failure.reason for failure in manifest.failures},
      {
        'c.jpg': "2 labels ['dog', 'cat'], but with single_label an image has "
        'exactly one',
        'd.jpg': '0 labels [], but with single_label an image has exactly one',
      },
    )
    # The same list as records of several labels is another build.
    manifest = self.build(path, **options)['train']
    self.assertEqual(
      (manifest.schema, manifest.label_offset), ('multilabel', 0)
    )
    self.assertEmpty(manifest.failures)
    self.assertEmpty(lines)

  def test_a_label_that_is_left_out_makes_no_class(self):
    self.add_images('a.jpg', 'b.jpg')
    path = self.add_list(['image,labels', 'a.jpg,2', 'b.jpg,0 7'], 'list.csv')
    manifest = self.build(path, single_label=True)['train']
    self.assertEqual(manifest.num_classes, 3)

  def test_confidences_have_no_place_beside_a_single_label(self):
    self.add_images('a.jpg')
    path = self.add_list(['image,label,confidence', 'a.jpg,0,0.5'], 'list.csv')
    with self.assertRaisesRegex(
      ValueError, 'list.csv gives a.jpg a confidence other than 1'
    ):
      self.build(path, single_label=True)

  def test_single_label_is_suggested(self):
    self.add_images('a.jpg', 'b.jpg')
    single, several, uncertain = (
      self.add_list(['image,labels,confidences', *rows], f'{i}.csv')
      for i, rows in enumerate(
        (
          ['a.jpg,0,', 'b.jpg,1,'],
          ['a.jpg,0,', 'b.jpg,1 0,'],
          ['a.jpg,0,', 'b.jpg,1,0.5'],
        )
      )
    )
    for paths, expected in (
      ((single, None), True),
      ((single, single), True),
      ((several, None), False),
      ((single, several), False),
      ((uncertain, None), False),
    ):
      lines = []
      self.build(paths[0], validation_list=paths[1], tell=lines.append)
      self.assertLen(lines, int(expected))
    self.build(single, tell=lines.append)
    self.assertIn('exactly one label. With --single_label', lines[0])

  def test_byte_order_marks_are_no_part_of_a_name(self):
    self.add_images('a.jpg', 'b.jpg', 'c.jpg')
    mark = '\ufeff'
    path = self.add_list(
      [
        f'{mark}{{"image": "a.jpg", "label": 0}}',
        {'image': 'b.jpg', 'label': 1},
        f'{mark}{{"image": "c.jpg", "label": 1}}',
      ]
    )
    manifest = self.build(path)['train']
    self.assertEmpty(manifest.failures)
    self.assertEqual(manifest.num_examples, 3)
    path = self.add_list([f'{mark}image,label', 'a.jpg,1'], 'list.csv')
    self.assertEqual(self.build(path)['train'].num_examples, 1)

  def test_images_that_cannot_be_read(self):
    self.add_images('good.jpg')
    os.mkdir(os.path.join(self.input_dir, 'folder.jpg'))
    os.mkfifo(os.path.join(self.input_dir, 'pipe.jpg'))
    os.symlink('gone', os.path.join(self.input_dir, 'link.jpg'))
    names = ['good.jpg', 'folder.jpg', 'pipe.jpg', 'link.jpg', 'a\n.jpg']
    path = self.add_list([{'image': name, 'label': 0} for name in names])
    with open(path, 'ab') as file:
      first = file.tell()
      file.write(b'{"image": "\xe4.jpg", "label": 0}\n')
      second = file.tell()
      file.write(b'{"image": "\\udce4.jpg", "label": 0}\n')
    manifest = self.build(path)['train']
    self.assertEqual(manifest.num_examples, 1)
    reasons = {each.name: each.reason for each in manifest.failures}
    self.assertRegex(
      reasons.pop(f'list.jsonl at byte {first}'), 'row .* is not UTF-8'
    )
    self.assertEqual(
      reasons,
      {
        'folder.jpg': 'it is a folder',
        'pipe.jpg': 'it is no plain file',
        'link.jpg': 'its link leads nowhere',
        r'a\n.jpg': rf'there is no {self.input_dir}/a\n.jpg',
        f'list.jsonl at byte {second}': r'\xe4.jpg is no name of a file in '
        'UTF-8',
      },
    )

  def test_only_what_names_change_is_built_again(self):
    self.add_images('a.jpg')
    path = self.add_list([{'image': 'a.jpg', 'label': 0}])

    def fingerprint(**options):
      (split,) = rows.rows_splits(path, input_dir=self.input_dir, **options)
      return split.fingerprint

    with open(path, 'rb') as file:
      checksum = hashlib.sha256(file.read()).hexdigest()
    # As version 0.1 has it, so that its records stay what they are.
    self.assertEqual(
      fingerprint(), corpus.fingerprint(checksum, 0.0, 0, 1, None)
    )
    names = {'class_names': ['0']}
    prints = [
      fingerprint(**options)
      for options in (
        {}, {'label_separator': '|'}, {'single_label': True}, names,
        {**names, 'numeric_labels': 'ids'}, {**names, 'label_separator': '|'},
      )
    ]  # fmt: skip
    self.assertLen(set(prints), len(prints))

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
    ('{"image": "b.jpg", "labels": [1]}', '^there is no /.*/b.jpg$'),
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
    path = self.add_list([{'image': 'a', 'label': 0}])
    with self.assertRaisesRegex(
      ValueError, 'num_classes is 3, but class_names'
    ):
      self.build(path, num_classes=3, class_names=['a'])
    with self.assertRaisesRegex(ValueError, "'b', class number 1 from 0, is"):
      self.build(path, class_names=['b', 'b'])
    with self.assertRaisesRegex(ValueError, "'/nowhere', but there is no such"):
      rows.rows_splits('/nowhere', input_dir='')
    with self.assertRaisesRegex(ValueError, 'has no rows'):
      rows.rows_splits(self.add_list([]), input_dir='')


if __name__ == '__main__':
  tf.test.main()
