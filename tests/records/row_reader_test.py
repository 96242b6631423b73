"""Tests of official_coatnet.records.row_reader.

tests/records/rows_test.py has rows that cannot be read, and whole lists.
"""

import json

from absl.testing import absltest

from official_coatnet.records import row_reader


def _reader(columns=None, num_classes=9, names=None):
  return row_reader.RowReader(
    columns=columns, num_classes=num_classes, class_numbers=names
  )


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

  def test_names_of_classes_before_numbers(self):
    reader = _reader(names={'eel': 4, '1': 2})
    row = reader.read('{"image": "a.jpg", "labels": ["eel", "1", 1]}')
    self.assertEqual(row.labels, (4, 2, 1))

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
