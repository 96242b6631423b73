"""Tests of training.gin_syntax."""

import gin
from absl.testing import absltest, parameterized

from official_coatnet.training import gin_syntax


def _read(files=(), bindings=(), **contents):
  """Reads files 'a' or others, given as texts by their names."""

  def read_file(name):
    if name not in contents:
      raise ValueError(f'no file {name}')
    return name, contents[name]

  return gin_syntax.read(files, bindings, read_file=read_file)[0]


class ReadTest(parameterized.TestCase):
  def test_statements_in_gin_s_order(self):
    statements = _read(
      ['a'],
      ['N = 3'],
      a="N = 1\ninclude 'b'\ntrain/Data.sizes = (%N, [%M, 2])",
      b='M = 2\nOther:\n  x = @Model()\n  y = {1: %N}',
    )
    self.assertEqual(
      [(each.name, each.value, each.reads) for each in statements],
      [
        ('N', 1, frozenset()),
        ('M', 2, frozenset()),
        ('Other.x', '@Model()', frozenset()),
        ('Other.y', {1: '%N'}, {'N'}),
        ('train/Data.sizes', ('%N', ['%M', 2]), {'N', 'M'}),
        ('N', 3, frozenset()),
      ],
    )

  @parameterized.parameters(
    ('\nN = (1, 2', r"a, line 2, 'N = \(1, 2': .*'\(' is not closed; add '\)'"),
    (
      'N = [1, 2\nM = 3',
      "line 1, .*not closed before line 2, 'M = 3'; add ']'",
    ),
    ('N = (1,\n\nM = 3', 'line 1, .*not closed before line 3'),
    ("D = '''x\nM = 3", 'line 1, .*a closing quote is missing'),
    ("D = 'x\nM = 3", 'a, line 1, .*a quote is missing; a text begins'),
    (
      'N = 1 \\\nM = 2',
      "line 2, 'M = 2': the line before ends with a backslash",
    ),
    ('  N = 1\n M = 2', 'line 2, .*more or fewer blanks'),
    ('A:\nN = 1', 'line 2, .*more or fewer blanks'),
    ('N = @Model', r'@Model needs parentheses: write @Model\(\)'),
    ("include 'b'", 'a, line 1, .*: no file b'),
    (
      "\ninclude 'a'",
      r'line 2, .*: the file includes itself \(a > a\); remove',
    ),
    ('N = {[1]: 2}', 'a, line 1'),
  )
  def test_places_and_remedies(self, text, message):
    with self.assertRaisesRegex(gin_syntax.GinSyntaxError, message):
      _read(['a'], a=text)

  def test_a_circle_of_files(self):
    with self.assertRaisesRegex(
      gin_syntax.GinSyntaxError, r'b, line 1, .*\(a > b > a\)'
    ):
      _read(['a'], a="include 'b'", b="include 'a'")
    twice = "include 'b'\ninclude 'b'"
    self.assertLen(_read(['a', 'b'], a=twice, b='N = 1'), 3)

  def test_a_binding_is_read_by_itself(self):
    with self.assertRaisesRegex(
      gin_syntax.GinSyntaxError, r"^Binding 'N = \(1,': "
    ):
      _read(bindings=['N = (1,', '2)'])
    self.assertLen(_read(bindings=['N = 1\nM = 2']), 2)


class ImportsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('import os', "import os': a gin file imports nothing .*=os"),
    ('import my.sub', '--allow_imports=my'),
    ('from my import sub', '--allow_imports=my'),
    ('import my_own', '--allow_imports=my_own'),
    ('from __gin__ import dynamic_registration', 'registers nothing here'),
  )
  def test_refused(self, text, message):
    for given in ({'files': ['a'], 'a': text}, {'bindings': [text]}):
      with self.assertRaisesRegex(gin_syntax.GinSyntaxError, message):
        _read(**given)
    with self.assertRaisesRegex(gin_syntax.GinSyntaxError, 'b, line 1, '):
      _read(['a'], a="include 'b'", b=text)

  def test_allowed_by_name(self):
    for text in ('import my', 'import my.sub', 'from my import sub'):
      gin_syntax.read([], [text], read_file=None, allow_imports=['my'])
    with self.assertRaisesRegex(gin_syntax.GinSyntaxError, 'imports nothing'):
      gin_syntax.read(
        [], ['import my'], read_file=None, allow_imports=['my.sub']
      )
    with self.assertRaisesRegex(gin_syntax.GinSyntaxError, 'registers'):
      gin_syntax.read(
        [],
        ['from __gin__ import dynamic_registration'],
        read_file=None,
        allow_imports=['__gin__'],
      )


class ChunksTest(parameterized.TestCase):
  def test_gin_gets_what_was_read_and_no_include(self):
    contents = {
      'a': "N = 1\ninclude 'b'\n\nM = (2,\n 3)\ninclude 'b'",
      'b': 'Other:\n  x = 1',
    }
    _, chunks = gin_syntax.read(
      ['a'], ['K = 4'], read_file=lambda name: (name, contents[name])
    )
    self.assertEqual(
      [(each.file, each.text) for each in chunks],
      [
        ('a', 'N = 1'),
        ('b', 'Other:\n  x = 1'),
        ('a', '\n\n\nM = (2,\n 3)'),
        ('b', 'Other:\n  x = 1'),
        ('a', '\n' * 6),
        (None, 'K = 4'),
      ],
    )

  @parameterized.parameters('\u2028', '\x0b', '\x0c', '\x1c', '\x85', '\r\n')
  def test_other_ends_of_lines_hide_no_include(self, end):
    _, chunks = gin_syntax.read(
      ['a'],
      [],
      read_file=lambda name: (
        name,
        f"# {end * 3}\ninclude 'b'\nN = 1" if name == 'a' else 'M = 1',
      ),
    )
    self.assertNotIn('include', ''.join(each.text for each in chunks))

  def test_files_within_files_have_an_end(self):
    def read_file(name):
      return name, f"include '{int(name) + 1}'"

    with self.assertRaisesRegex(gin_syntax.GinSyntaxError, '20 deep'):
      gin_syntax.read(['1'], [], read_file=read_file)

    def read_twice(name):
      number = int(name.split('/')[-1])
      if number > 15:
        return name, 'N = 1'
      return name, '\n'.join(f"include '{name}{i}/{number + 1}'" for i in '01')

    with self.assertRaisesRegex(gin_syntax.GinSyntaxError, '2000 in all'):
      gin_syntax.read(['1'], [], read_file=read_twice)


class StatementTest(parameterized.TestCase):
  def test_names_and_references(self):
    first, second, third = _read(
      bindings=[
        'train/coatnet.Data.mean = (@eval/coatnet.Model(), %N)',
        'a/N/macro.value = 3',
        'N = %M',
      ]
    )
    self.assertEqual(first.name, 'train/Data.mean')
    self.assertEqual(
      (first.scope, first.configurable, first.parameter),
      ('train', 'Data', 'mean'),
    )
    self.assertEqual((first.makes, first.reads), ({'eval/Model'}, {'N'}))
    self.assertEqual((second.name, second.is_macro), ('a/N', True))
    self.assertEqual((second.scope, second.configurable), ('', ''))
    self.assertFalse(first.is_macro or first.is_macro_alone)
    self.assertTrue(third.is_macro_alone)
    self.assertEqual(third.place, "Binding 'N = %M'")

  def test_what_is_nested_too_deeply_and_what_is_too_long(self):
    for text in ('N = ' + '(' * 3000 + ')' * 3000, 'N = ' + '[' * 150 + '1 2'):
      with self.assertRaises(gin_syntax.GinSyntaxError) as caught:
        _read(bindings=[text])
      self.assertLess(len(str(caught.exception)), 500)

  def test_a_macro_of_no_name(self):
    with self.assertRaises(gin_syntax.GinSyntaxError):
      _read(bindings=['macro.value = 3'])


class MissingCommaTest(parameterized.TestCase):
  @parameterized.parameters(
    "N = ('a' 'b')",
    "N = 'a' 'b'",
    "N = ['a',\n 'b'\n 'c']",
    "N = ('a'\n 'b', 'c')",
    "N = {1: 'a' 'b'}",
  )
  def test_refused(self, text):
    with self.assertRaisesRegex(
      gin_syntax.GinSyntaxError, 'line [12], .* there is no comma'
    ):
      _read(['a'], a=text)

  @parameterized.parameters(
    "N = ('a'\n     'b')",
    "N = ['a b '\n 'c', 'd']",
    "N = ('a', 'b')\nM = 'a'",
    "N = '''a''' # 'b'",
  )
  def test_one_text_on_several_lines(self, text):
    _read(['a'], a=text)

  def test_what_gin_writes_is_read(self):
    gin.clear_config()  # Others may have locked it.
    self.addCleanup(gin.clear_config)
    words = 'many words ' * 30
    gin.parse_config(f"N = ['{words}', '{words}']\nM = '{words}'")
    written = gin.config_str()
    self.assertGreater(written.count("'"), 8)  # Broken into several.
    values = {each.name: each.value for each in _read(['a'], a=written)}
    self.assertEqual(values, {'N': [words, words], 'M': words})


if __name__ == '__main__':
  absltest.main()
