"""Tests of official_coatnet.kinds."""

import math
import pathlib

from absl.testing import absltest, parameterized

from official_coatnet import kinds

_RATE = kinds.Number('[0, 1)')
_PAIR = kinds.Several(
  _RATE, 'two rates', count=2, together=lambda v: v[0] < v[1]
)


class KindsTest(parameterized.TestCase):
  @parameterized.parameters(
    (kinds.Flag(), [True, False], [0, 1, 'True', None]),
    (kinds.Whole(), [0, -3, 2**62], [True, 1.0, '1', None, 10**400]),
    (kinds.Whole(1, 5), [1, 5], [0, 6]),
    (kinds.Number(), [0, -1.5, 3e38], [True, '1', math.nan, math.inf, 1e39]),
    (_RATE, [0, 0.0, 0.999], [1, -1e-9, math.nan]),
    (kinds.Number('(0, 1]'), [1e-9, 1], [0, 1.1]),
    (kinds.Number('(0, inf)'), [1e-9, 1e9], [0, -1, math.inf]),
    (kinds.Text(), ['a'], ['', ' ', 1, None, b'a']),
    (kinds.Text('an address', r'\w+:\d+'), ['a:1'], ['a', 'a:', 'a:1 ']),
    (kinds.Path(), ['a', pathlib.Path('a')], ['', 3, None]),
    (kinds.Choice(('a', 'b')), ['a'], ['c', 'A', 1, [], None]),
    (_PAIR, [(0, 0.5), [0, 0.5]], [(0.5, 0), (0,), 0.5, (0, '1'), 'ab', None]),
    (kinds.Several(kinds.Text(), 'names', lone=True), ['a', (), ('a',)], [1]),
    (kinds.Either((_RATE, kinds.Choice(('all',)))), [0.5, 'all'], [2, 'al']),
    (kinds.Made(int, 'digits', types=(str,)), ['12'], ['x', 12, None]),
    (kinds.Part(pathlib.PurePath), [pathlib.Path('a')], ['a', None]),
    (kinds.Number(none='for none'), [None, 1], ['None']),
  )
  def test_accepts(self, rule, right, wrong):
    for value in right:
      self.assertTrue(rule.accepts(value), value)
    for value in wrong:
      self.assertFalse(rule.accepts(value), value)

  @parameterized.parameters(
    (kinds.Whole(), 'an integer'),
    (kinds.Whole(1), 'an integer of at least 1'),
    (kinds.Whole(0, kinds.LARGEST_INT32), 'an integer of at least 0'),
    (kinds.Whole(0, 9), 'an integer from 0 to 9'),
    (kinds.Number(), 'a finite number'),
    (kinds.Number('(0, inf)'), 'a finite number above 0'),
    (kinds.Number('[0, inf)'), 'a finite number of at least 0'),
    (_RATE, 'a number in [0, 1)'),
    (kinds.Choice(('a', 'b')), "one of 'a', 'b'"),
    (kinds.Flag(), 'True or False'),
    (kinds.Either((_RATE, kinds.Text())), 'a number in [0, 1), or a text'),
    (kinds.Flag(none='for neither'), 'True or False, or None for neither'),
    (kinds.Part(dict), 'a dict'),
  )  # fmt: skip
  def test_words(self, rule, words):
    self.assertEqual(rule.words, words)

  def test_normal_forms_can_be_hashed_and_compared(self):
    self.assertEqual(_PAIR.normal([0, 0.5]), (0, 0.5))
    self.assertIsNone(_PAIR.normal(None))
    lone = kinds.Several(kinds.Text(), 'names', lone=True)
    self.assertEqual(lone.normal('a'), ('a',))
    self.assertEqual(kinds.Either((_RATE, _PAIR)).normal([0, 0.5]), (0, 0.5))
    self.assertEqual(kinds.Path().normal(pathlib.Path('a/b')), 'a/b')
    self.assertEqual(kinds.Made(int, 'digits').normal('12'), 12)


if __name__ == '__main__':
  absltest.main()
