"""Tests of training.gin_mistakes."""

from absl.testing import absltest, parameterized

from official_coatnet.training import gin_mistakes


class GinMistakesTest(parameterized.TestCase):
  @parameterized.parameters(
    ('D=/x', '/x is a text, .* write --gin_bindings="D = \'/x\'"'),
    ('D=~/x y', "quotes: .*D = '~/x y'"),
    ('D=$HOME/x', "quotes: .*D = '.HOME/x'"),
    ('D=gs://b/c  # there', "quotes: .*D = 'gs://b/c'"),
    (r'D=C:\data', r"quotes: .*D = 'C:\\\\data'"),
    ('N=BATCH', "quotes: .*N = 'BATCH'.* A macro is read by %BATCH"),
    ('B=true', 'true is called True here; write .*B = True'),
    ('B=NULL', 'NULL is called None'),
    ("D='x", 'a quote is missing'),
    ("D=x'", 'a quote is missing'),
    ('D=‘x’', 'curly quotes'),
    ("'N=3'", 'in a shell, quotes go around the whole'),
    ('N=1 M=2', 'more than one thing is set; give each a --gin_bindings'),
    ("N=1, D='a = b', M = 3", 'more than one thing'),
    ('N=1,024', 'without separators: 1024'),
    ('N=64k', '64k is no number; write digits alone'),
    ('N=+3', 'without its plus: 3'),
    ('N=2**6', 'gin does not calculate'),
    ('N=3)', r"there is a '\)' too many"),
    ('N=', 'no value after `=`; write N = 64'),
    ('N 64', 'no `=`; write N = 64'),
    ('N: x', "no `=`; write N = 'x'"),
    ('N', 'no `=`; a binding is a name and a value'),
    ('N == 3', 'write one `=`'),
    ('A N = 3', 'what stands before `=` is no name'),
    ('1N = 3', 'what stands before `=` is no name'),
    ('// words', 'a comment begins with #'),
    ('--n=3', 'that is a flag'),
    ('include a.gin', "write include 'gin/demo.gin'"),
    ('gin/demo.gin', 'given by --gin_file'),
  )
  def test_a_binding(self, line, message):
    words = gin_mistakes.explain(line, '', in_file=False)
    self.assertRegex(words, message)

  def test_a_line_of_a_file(self):
    self.assertEqual(
      gin_mistakes.explain('D = /x', '', in_file=True),
      "/x is a text, and needs quotes: write D = '/x'.",
    )
    self.assertRegex(
      gin_mistakes.explain('N = 1 M = 2', '', in_file=True),
      'give each a line of its own',
    )

  def test_in_brackets(self):
    self.assertEqual(
      gin_mistakes.explain(
        'N = (foo, 3)', "Failed to parse token 'foo'", in_file=True
      ),
      "foo cannot be read; write 'foo'.",
    )
    self.assertEqual(
      gin_mistakes.explain('N = (1 2)', "Expected ',' or ')'.", in_file=True),
      'a comma is missing between two values.',
    )


if __name__ == '__main__':
  absltest.main()
