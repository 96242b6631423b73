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

  return gin_syntax.read(files, bindings, read_file=read_file)


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
