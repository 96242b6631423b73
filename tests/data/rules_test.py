"""Tests of official_coatnet.data.rules."""

import numpy as np
from absl.testing import absltest, parameterized

from official_coatnet.data import rules


class RulesTest(parameterized.TestCase):
  @parameterized.parameters((0, True), (-3, True), (True, False), (1.0, False))
  def test_integers(self, value, expected):
    self.assertEqual(rules.is_int(value), expected)

  @parameterized.parameters(
    ((1, 2), True), ([1, 'x'], True), ((1, 2, 3), False), (2, False)
  )
  def test_pairs(self, value, expected):
    self.assertEqual(rules.is_pair(value), expected)

  @parameterized.parameters(
    ((0, 0.5, 1), True),
    ([0.1, 0.2, 0.3], True),
    ((0.5, 0.5), False),
    (0.5, False),
    ('abc', False),
    ((0.5, 0.5, True), False),
    ((0.5, 0.5, 1.5), False),
    ((0.5, 0.5, np.nan), False),
  )
  def test_shares(self, value, expected):
    self.assertEqual(rules.are_shares(value), expected)

  def test_words(self):
    rules.require([1], 'x', 2, 'must be', 'use 1')
    with self.assertRaisesRegex(
      ValueError, '^DataConfig.x is 2, but must be 1; use 1.$'
    ):
      rules.require([], 'x', 2, 'must be 1', 'use 1')
    rules.check_positive('x', 1, 'use 1')
    with self.assertRaisesRegex(
      ValueError, 'x is 0, but must be a positive integer; use 1'
    ):
      rules.check_positive('x', 0, 'use 1')


if __name__ == '__main__':
  absltest.main()
