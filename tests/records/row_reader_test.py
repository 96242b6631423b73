"""Tests of official_coatnet.records.row_reader.

tests/records/rows_test.py has rows that cannot be read, and whole lists.
"""

import json

from absl.testing import absltest

from official_coatnet.records import class_labels, row_reader


def _reader(columns=None, num_classes=9, **options):
  labels = class_labels.LabelReader(num_classes=num_classes, **options)
  return row_reader.RowReader(columns=columns, labels=labels)


class RowReaderTest(absltest.TestCase):
  def test_the_first_name_that_has_a_value_counts(self):
    fields = {'id': 7, 'image': '', 'path': 'b.jpg', 'labels': [2, 0]}
    row = _reader().read(json.dumps(fields))
    self.assertEqual(row, row_reader.Row('b.jpg', (2, 0), None))
    fields = {'id': 7, 'label': 3, 'label_probs': [0.5], 'url': 'http://x'}
    row = _reader().read(json.dumps(fields))
    self.assertEqual(row, row_reader.Row('7.jpg', (3,), (0.5,)))

  def test_lists_in_csv(self):
    reader = _reader(columns=('image', 'labels', 'confidences'))
    for line, labels, confidences in (
      ('a.jpg,3 1,0.5 1', (3, 1), (0.5, 1.0)),
      ('a.jpg,3;1,', (3, 1), None),
      ('a.jpg,"[3, 1]","[0, 1]"', (3, 1), (0.0, 1.0)),
      ('a.jpg,,', (), None),
    ):
      row = reader.read(line)
      self.assertEqual(row, row_reader.Row('a.jpg', labels, confidences), line)
    with self.assertRaisesRegex(ValueError, '2 values for 3 columns'):
      reader.read('a.jpg,3')

  def test_names_with_confidences(self):
    reader = _reader(
      columns=('image', 'labels', 'confidences'),
      num_classes=None,
      class_names=('red wine', 'cheese'),
      separator='|',
    )
    row = reader.read('a.jpg,cheese | red wine,0.5 | 0.25')
    self.assertEqual(row, row_reader.Row('a.jpg', (1, 0), (0.5, 0.25)))
    with self.assertRaisesRegex(ValueError, '2 confidences for 1 labels'):
      reader.read('a.jpg,red wine,0.5|0.25')

  def test_an_unknown_label_is_that_of_an_image(self):
    reader = _reader(num_classes=None, class_names=('red wine', 'cheese'))
    with self.assertRaisesRegex(
      class_labels.UnknownLabelError, "^a.jpg: label 'wine' is no class name$"
    ):
      reader.read('{"image": "a.jpg", "label": "wine"}')

  def test_images_that_are_no_file(self):
    for name in ('a\\u0000.jpg', '\\udcff.jpg', '\\ud800.jpg'):
      with self.assertRaisesRegex(ValueError, 'is no name of a file in UTF-8'):
        _reader().read(f'{{"image": "{name}", "label": 1}}')
    row = _reader().read('{"image": "\\ud83d\\ude00.jpg", "label": 1}')
    self.assertEqual(row.image, '\N{GRINNING FACE}.jpg')

  def test_columns(self):
    self.assertEqual(
      row_reader.read_columns('"image", labels ,x,x\r\n', origin='/l.csv'),
      ('image', 'labels', 'x', 'x'),
    )
    self.assertEqual(
      row_reader.read_columns('id,label', origin='/l.csv'), ('id', 'label')
    )
    for line, message in (
      ('a.jpg,3 1', r"columns are \['a.jpg', '3 1'\], but .* image or path or"),
      ('image;labels', r"columns are \['image;labels'\].*separated by commas"),
      ('image,class', 'must be called labels or label'),
      ('image,label,label', "2 columns are called 'label'; which"),
      ('"image', "columns are .'image'.*labels"),
    ):
      with self.assertRaisesRegex(ValueError, f'^/l.csv, line 1: .*{message}'):
        row_reader.read_columns(line, origin='/l.csv')

  def test_no_label_beyond_the_classes(self):
    reader = _reader(num_classes=3)
    for label in (3, -1):
      with self.assertRaisesRegex(ValueError, f'label {label} is not in'):
        reader.read(json.dumps({'image': 'a.jpg', 'labels': [label]}))
    for label in (2.5, True, 'eel', None, 'None', float('inf')):
      with self.assertRaisesRegex(ValueError, 'is no class number and no'):
        reader.read(json.dumps({'image': 'a.jpg', 'labels': [label]}))


if __name__ == '__main__':
  absltest.main()
