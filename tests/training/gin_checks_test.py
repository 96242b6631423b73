"""Tests of training.gin_checks."""

from absl.testing import absltest, parameterized

from official_coatnet.training import gin_checks, gin_syntax

_KNOWN = ('Experiment', 'Data', 'Model')
_BASE = (
  'N = 3\n'
  'Experiment.train = @train/Data()\n'
  'Experiment.eval = @eval/Data()\n'
  'Experiment.model = @Model()\n'
  'Data.size = %N\n'
  'train/Data.alpha = 0.5\n'
)


def _read(text):
  return gin_syntax.read(
    ['a'], [], read_file=lambda path: (path, _BASE + text)
  )[0]


def _check(text):
  gin_checks.check(_read(text), known=_KNOWN)


class GinChecksTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      'trian/Data.alpha = 1',
      "a, line 7, 'trian.*': nothing reads 'trian/Data.alpha', since nothing "
      r"makes a @trian/Data\(\). Did you mean 'train/Data.alpha'\?",
    ),
    ('far/Data.alpha = 1', r'makes a @far/Data\(\). Scopes of Data: eval'),
    ('train/Model.x = 1', 'Model has no scopes: write Model.x'),
    ('train/x/Data.alpha = 1', "nothing reads 'train/x/Data.alpha'"),
    ('Experiment.eval = @evla/Data()\neval/Data.alpha = 1',
     r'@evla/Data\(\) has the scope .*Did you mean .@eval/Data\(\)'),
    ('NN = 1', "The macro 'NN' is set, but nothing reads it. Did you mean 'N'"),
    ('Data.size = 1\nN = 2', "'N' is set, but Data.size, which would read it"),
    ('coatnet.Data.size = 1\nN = 2', "'N' is set, but Data.size, which would"),
    ('N = %N', 'The macro .N. is set to itself: %N = %N'),
    ('N = (1, {2: [%M]})\nM = %N', 'set to itself: %M = %N = %M'),
    ('Model.x = @Model()', r'what it is a part of: @Model\(\) = @Model\(\)'),
    ('train/Data.x = @eval/Data()\neval/Data.y = [@train/Data()]',
     r'@eval/Data\(\) = @train/Data\(\) = @eval/Data\(\)'),
    ('Model.x = @s/Model()', r'@s/Model\(\) = @s/Model\(\)'),
    ('N = @Model()\nModel.x = %N', r'%N = @Model\(\) = %N|@Model\(\) = %N ='),
  )  # fmt: skip
  def test_refused(self, text, message):
    with self.assertRaisesRegex(gin_syntax.GinSyntaxError, message):
      _check(text)

  @parameterized.parameters(
    '',
    'Data.size = 5',  # What a macro feeds, set itself.
    'coatnet.Data.size = 5',
    'M = 5\nData.size = %M\nData.size = 7',
    'M = 5\nN = %M\nData.size = 7',
    'Experiment.train = @mine/Data()\nmine/Data.alpha = 1',
    # The file's own scope, of which the reference was replaced.
    'Experiment.train = @mine/Data()',
    'train/coatnet.Data.alpha = 1',
    'Experiment.train = @a/b/Data()\na/Data.alpha = 1\na/b/Data.alpha = 2',
    'nosuch/Unknown.alpha = 1',  # gin says so.
    # In another scope, which ends.
    'Model.x = @s/Model()\ns/Model.x = 3',
  )
  def test_accepted(self, text):
    _check(text)

  def test_a_thousand_macros_in_a_row(self):
    chain = ''.join(f'M{i} = %M{i + 1}\n' for i in range(3000))
    _check(f'Data.size = %M0\n{chain}M3000 = 1')

  def test_macro_of_a_field(self):
    statements = _read('train/Data.alpha = %A\nA = %B\nB = 2')
    self.assertEqual(gin_checks.macro_of('Data.alpha', statements), 'B')
    self.assertEqual(gin_checks.macro_of('Data.size', statements), 'N')
    self.assertIsNone(gin_checks.macro_of('Model.x', statements))

  def test_without_what_nobody_reads(self):
    text = "A = %B\nB = \\\n    'x'\nC = 1\n\n# Parameters:\nData.size = %C\n"
    self.assertEqual(
      gin_checks.without_unread(text),
      'C = 1\n\n# Parameters:\nData.size = %C\n',
    )


if __name__ == '__main__':
  absltest.main()
