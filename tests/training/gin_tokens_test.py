"""Tests of training.gin_tokens."""

from absl.testing import absltest

from official_coatnet.training import gin_tokens


class GinTokensTest(absltest.TestCase):
  def test_open_brackets(self):
    self.assertEqual(gin_tokens.open_bracket('N = [(1,\n2)\nM = 3'), ('[', 1))
    self.assertIsNone(gin_tokens.open_bracket("N = (1, '[')"))
    text = 'N = (1,\n2)\nM = {1'
    self.assertEqual(gin_tokens.open_bracket(text, before=2), ('(', 1))
    self.assertEqual(gin_tokens.open_bracket(text), ('{', 3))

  def test_missing_commas(self):
    self.assertEqual(
      gin_tokens.missing_comma("M = 1\nN = ['a' 'b']"), (2, "'a'", "'b'")
    )
    self.assertIsNone(gin_tokens.missing_comma("N = ('a'\n 'b')"))
    self.assertIsNone(gin_tokens.missing_comma("N = ['a ',\n 'b'] # 'c' 'd'"))


if __name__ == '__main__':
  absltest.main()
