"""Tests of official_coatnet.records.row_scan; rows_test.py has whole lists."""

import hashlib

from absl.testing import absltest, parameterized

from official_coatnet.records import class_labels, corpus, row_reader, row_scan

ROWS = [
  b'{"image": "a", "labels": [3]}\n',
  b'\n',
  b'nonsense\n',
  b'{"image": "b", "labels": [1], "confidences": [0.5]}\r\n',
]


class RowScanTest(parameterized.TestCase):
  def scan(self, contents, name='list.jsonl', **options):
    path = self.create_tempfile(name, content=contents, mode='wb').full_path
    labels = class_labels.LabelReader(num_classes=None)
    reader = row_reader.RowReader(columns=None, labels=labels)
    options = {'validation_fraction': 0.0, **options}
    return row_scan.scan('list_path', path, reader=reader, **options)

  def test_where_rows_are_and_what_they_come_to(self):
    scan = self.scan(b''.join(ROWS))
    starts = [0, len(ROWS[0]) + 1, len(b''.join(ROWS[:3]))]
    self.assertEqual(scan.offsets.tolist(), starts)
    self.assertEqual(scan.held_out.tolist(), [False] * 3)
    self.assertEqual((scan.max_label, scan.all_single), (3, True))
    self.assertEqual(scan.first_uncertain, 'b')
    self.assertEqual(scan.checksum, hashlib.sha256(b''.join(ROWS)).hexdigest())

  def test_held_out(self):
    fractions = [corpus.hash_fraction(name) for name in 'ab']
    scan = self.scan(b''.join(ROWS), validation_fraction=max(fractions))
    self.assertEqual(
      scan.held_out[[0, 2]].tolist(),
      [each < max(fractions) for each in fractions],
    )
    self.assertFalse(scan.held_out[1])

  def test_rows_of_several_labels(self):
    contents = ROWS[0] + b'{"image": "b", "labels": [7, 1]}\n'
    scan = self.scan(contents)
    self.assertEqual((scan.max_label, scan.all_single), (7, False))
    scan = self.scan(contents, single_label=True)
    self.assertEqual((scan.max_label, scan.all_single), (3, False))
    self.assertIsNone(scan.first_uncertain)
    # Nothing that could be read is nothing of one label.
    self.assertFalse(self.scan(b'nonsense\n').all_single)

  def test_columns(self):
    for mark in (b'', b'\xef\xbb\xbf'):
      scan = self.scan(mark + b'image,label\r\na,2\r\n', 'List.CSV')
      self.assertEqual(scan.reader.columns, ('image', 'label'))
      self.assertEqual(scan.offsets.tolist(), [len(mark) + 13])
      self.assertEqual(scan.max_label, 2)

  def test_a_byte_order_mark_is_no_part_of_a_row(self):
    scan = self.scan(b'\xef\xbb\xbf' + ROWS[0])
    self.assertEqual((scan.offsets.tolist(), scan.max_label), ([0], 3))
    self.assertEqual(row_scan.decode(b'\xef\xbb\xbf\xc3\xa9'), 'é')
    with self.assertRaisesRegex(ValueError, 'row in the list is not UTF-8'):
      row_scan.decode(b'\xe9')

  @parameterized.parameters('list.jsonl', 'list.csv')
  def test_no_list(self, name):
    for contents, message in (
      (b'', 'has no rows'),
      ('image,label'.encode('utf-16'), 'is text in UTF-16'),
    ):
      with self.assertRaisesRegex(ValueError, f"{name}'.* {message}"):
        self.scan(contents, name)
    with self.assertRaisesRegex(
      ValueError, 'list.csv, line 1: the columns are'
    ):
      self.scan(b'a.jpg,3\n', 'list.csv')
    with self.assertRaisesRegex(ValueError, 'line 1, is not UTF-8'):
      self.scan(b'image,label\xe4\n', 'list.csv')


if __name__ == '__main__':
  absltest.main()
