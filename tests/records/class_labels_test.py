"""Tests of official_coatnet.records.class_labels."""

import contextlib
import json

from absl.testing import absltest, parameterized

from official_coatnet.records import class_labels

NAMES = ('red', 'wine', 'red wine', 'cheese')
NUMBERS = ('10', '20', '30', '1')


def _reader(names=None, num_classes=None, **options):
  return class_labels.LabelReader(
    num_classes=num_classes, class_names=names, **options
  )


class ClassNumbersTest(parameterized.TestCase):
  @parameterized.parameters(
    ('3 1', (3, 1)), ('3;1', (3, 1)), (' 3; 1 ;', (3, 1)), ('3\t1', (3, 1)),
    ('[3, 1]', (3, 1)), (' ["3", 1]', (3, 1)), ('', ()), ('3', (3,)),
    ([3, '1'], (3, 1)), (3, (3,)), ([], ()),
  )  # fmt: skip
  def test_without_names(self, value, expected):
    self.assertEqual(_reader(num_classes=4).read(value), expected)

  def test_one_more_separator(self):
    reader = _reader(num_classes=4, separator='|')
    self.assertEqual(reader.read('3|1 0;2'), (3, 1, 0, 2))

  def test_no_class(self):
    reader = _reader(num_classes=3)
    for label in (3, -1, '3', 1 << 40):
      with self.assertRaisesRegex(ValueError, f'label {label} is not in .0, 3'):
        reader.read([label])
    for label in (
      2.5, True, 'eel', None, 'None', float('inf'), '02', '+1', '1_0', '\u0663',
    ):  # fmt: skip
      with self.assertRaisesRegex(ValueError, 'is no class number and no'):
        reader.read([label])
    with self.assertRaisesRegex(ValueError, "label 'eel' .*; give class_names"):
      reader.read('eel')
    with self.assertRaisesRegex(ValueError, 'begin as a JSON list, but are no'):
      reader.read('[3, 1')
    with self.assertRaisesRegex(ValueError, 'not in .0, 2147483648'):
      _reader().read(1 << 31)


class ClassNamesTest(parameterized.TestCase):
  @parameterized.parameters(
    ('red wine', (2,)), (' red wine ', (2,)), ('red;wine', (0, 1)),
    ('cheese; red wine;', (3, 2)), ('["red wine", "red"]', (2, 0)),
    (['red wine', 'red'], (2, 0)), ('', ()), ([], ()),
  )  # fmt: skip
  def test_the_whole_of_a_name(self, value, expected):
    self.assertEqual(_reader(NAMES).read(value), expected)

  @parameterized.parameters(
    ('red cheese', "'red cheese' is no class name; set label_separator=' ' if"),
    ('wine;redd', "label 'redd' is no class name$"),
    ('red,wine', "label 'red,wine' is no class name$"),
    (['red cheese'], "label 'red cheese' is no class name$"),
    ('Red', "label 'Red' is no class name$"),
    (['red;wine'], "label 'red;wine' is no class name$"),
    ([1.0], 'label 1.0 is no class number and no class name'),
    ([True], 'label True is no class number and no class name'),
    ([['red']], r"label \['red'\] is no class number and no class name"),
  )
  def test_nothing_is_guessed(self, value, message):
    with self.assertRaisesRegex(ValueError, message):
      _reader(NAMES).read(value)

  def test_other_separators(self):
    reader = _reader(NAMES, separator='|')
    self.assertEqual(reader.read('red|red wine'), (0, 2))
    with self.assertRaisesRegex(ValueError, "label 'red;wine' is no class"):
      reader.read('red;wine')
    reader = _reader(NAMES[:2], separator=' ')
    self.assertEqual(reader.read('red  wine'), (0, 1))

  @parameterized.parameters(
    (NAMES, ' ', 'red wine', (2,)),
    (NAMES, ' ', 'cheese red', (3, 0)),
    (NAMES, ' ', 'cheese red wine', "labels .*, or the class 'red wine'"),
    (('a', 'b', 'a;b'), None, 'a;b', (2,)),
    (('a', 'b', 'a;b'), None, 'b;a', (1, 0)),
    (('a', 'b', 'a; b'), None, 'b;a;b', "labels .*, or the class 'a;b'"),
  )
  def test_names_that_hold_the_separator(
    self, names, separator, text, expected
  ):
    reader = _reader(names, separator=separator)
    if isinstance(expected, tuple):
      self.assertEqual(reader.read(text), expected)
    else:
      with self.assertRaisesRegex(ValueError, expected):
        reader.read(text)

  def test_accents_are_the_same_however_they_are_written(self):
    reader = _reader(('caf\u00e9', 'A\u030angstrom'))
    self.assertEqual(reader.read('cafe\u0301'), (0,))
    self.assertEqual(reader.read('\u00c5ngstrom'), (1,))


class NumbersAsNamesTest(parameterized.TestCase):
  @parameterized.parameters(
    # As before: class 3 by name. As a number it was class 1, "20".
    (None, '1', (3,)),
    (None, 1, 'may be the class of that name, whose number is 3, or class '
     "number 1 from 0, '20'; say which by numeric_labels=names or"),
    (None, 10, (0,)),  # There is no class number 10.
    (None, '10;1', (0, 3)),
    (None, 0, "label '0' is no class name; set numeric_labels=ids if"),
    (None, '0', "label '0' is no class name; set numeric_labels=ids if"),
    (None, '10 20', "set label_separator=' ' .* or numeric_labels=ids if"),
    ('names', 1, (3,)), ('names', '1', (3,)), ('names', [10, '20'], (0, 1)),
    ('names', 0, "label '0' is no class name"),
    ('ids', 1, (1,)), ('ids', '1', (1,)), ('ids', '1 0;2', (1, 0, 2)),
    ('ids', '[1, "0"]', (1, 0)), ('ids', '10', r'label 10 is not in \[0, 4\)'),
    ('ids', 'x', "label 'x' is no class name$"),
  )  # fmt: skip
  def test_one_meaning_or_none(self, numeric, label, expected):
    reader = _reader(NUMBERS, numeric=numeric)
    if isinstance(expected, tuple):
      self.assertEqual(reader.read(label), expected)
    else:
      with self.assertRaisesRegex(ValueError, expected):
        reader.read(label)

  def test_a_number_and_its_text_are_never_two_classes(self):
    for names in (NUMBERS, ('1', '0', '2'), ('0', '1', '2'), ('x', '3', '0')):
      for numeric in (None, *class_labels.NUMERIC_LABELS):
        reader = _reader(names, numeric=numeric)
        for number in range(-1, 40):
          found = set()
          for label in (number, str(number)):
            for value in (label, [label], json.dumps([label])):
              with contextlib.suppress(ValueError):
                found.add(reader.read(value))
          self.assertLessEqual(len(found), 1, (names, numeric, number))

  def test_digits_in_order_are_both(self):
    reader = _reader(tuple('0123456789'))
    self.assertEqual(reader.read([7, '7']), (7, 7))

  def test_ids_and_names(self):
    reader = _reader(NAMES, numeric='ids')
    self.assertEqual(reader.read(['red wine', 0]), (2, 0))
    self.assertEqual(reader.read('red wine; 0'), (2, 0))


class OptionsTest(parameterized.TestCase):
  @parameterized.parameters('', 'ab', 'x', '1', '.', '-', '[', '"')
  def test_no_separator(self, separator):
    with self.assertRaisesRegex(ValueError, 'label_separator is .* a single'):
      _reader(NAMES, separator=separator)

  def test_others(self):
    with self.assertRaisesRegex(ValueError, "numeric_labels is 'x', but must"):
      _reader(NAMES, numeric='x')
    with self.assertRaisesRegex(
      ValueError, 'there are no names; give class_na'
    ):
      _reader(numeric='names')
    with self.assertRaisesRegex(ValueError, 'num_classes is 5, .* has 4 names'):
      _reader(NAMES, num_classes=5)


class NearestNamesTest(absltest.TestCase):
  def test_nearest(self):
    nearest = class_labels.NearestNames(['Bordeaux', 'cheese'])
    self.assertEqual(nearest.hint('BORDEUX'), "; the nearest is 'Bordeaux'")
    self.assertEqual(nearest.hint('xyz'), '')
    self.assertEqual(class_labels.NearestNames(['20']).hint('2'), '')

  def test_not_for_ever(self):
    nearest = class_labels.NearestNames(['cheese'])
    hints = [nearest.hint(f'cheese{i}') for i in range(200)]
    self.assertEqual(sum(map(bool, hints)), 100)
    self.assertEqual(nearest.hint('cheese0'), hints[0])


class ReadClassNamesTest(parameterized.TestCase):
  def _file(self, contents):
    return self.create_tempfile(content=contents, mode='wb').full_path

  @parameterized.parameters(
    (b'cat\nred wine\n',), (b'cat\nred wine',), (b'cat\r\nred wine\r\n',),
    (b'\xef\xbb\xbfcat\nred wine \n\n\n',), (b'cat \n\t red wine\n',),
  )  # fmt: skip
  def test_a_name_a_line(self, contents):
    names = class_labels.read_class_names(self._file(contents))
    self.assertEqual(names, ['cat', 'red wine'])

  @parameterized.parameters(
    (b'', "line 1, '', is blank"),
    (b'\n\n', "line 1, '', is blank"),
    (b'cat\n \ndog\n', "line 2, '', is blank, but the place of a line"),
    (b'cat\ndog\ncat \n', "line 3, 'cat', is the same as line 1"),
    (b'e\xcc\x81\n\xc3\xa9\n', 'line 2, .* is the same as line 1'),
    (b'n01440764\ttench\n', r"line 1, 'n01440764\\ttench', holds a tab"),
    (b'cat\rdog\r', r"line 1, 'cat\\rdog', holds a tab or another control"),
    (b'cat\nB\xe4r\n', 'line 2, is not UTF-8'),
    ('cat'.encode('utf-16'), 'is text in UTF-16'),
  )
  def test_what_would_be_a_guess(self, contents, message):
    with self.assertRaisesRegex(ValueError, message):
      class_labels.read_class_names(self._file(contents))

  def test_no_file(self):
    with self.assertRaisesRegex(ValueError, "class_names is '/nowhere', but"):
      class_labels.read_class_names('/nowhere')


if __name__ == '__main__':
  absltest.main()
