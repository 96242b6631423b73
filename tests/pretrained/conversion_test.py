"""Tests of how tables of names are applied, on a table of three lines."""

import numpy as np
from absl.testing import absltest

from official_coatnet.pretrained import conversion
from official_coatnet.pretrained.conversion import Layout, Line

_SAME = Layout(lambda array, *, shape: array, lambda array, into: array)
_SUM = Layout(lambda a, b, *, shape: a + b, None, evaluates=True)
_TURNED = Layout(lambda array, *, shape: array.T, lambda array, into: array.T)
LINES = (
  Line('dense/kernel', ('fc.weight',), _TURNED),
  Line('dense/bias', ('fc.bias',), _SAME, optional=True),
  Line('block/relative_bias', ('table',), _SAME),
  Line('block/relative_bias', ('one', 'two'), _SUM),
)
SHAPES = {
  'dense/kernel': (2, 3),
  'dense/bias': (3,),
  'block/relative_bias': (1, 3, 3),
}


def numbers(*shape):
  return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


class ConversionTest(absltest.TestCase):
  def convert(self, state, shapes=None):
    return conversion.to_ours(
      state,
      SHAPES if shapes is None else shapes,
      lines=LINES,
      ignored=lambda name: name == 'counter',
    )

  def test_what_becomes_of_each(self):
    state = {
      'fc.weight': numbers(3, 2),
      'one': numbers(1, 3, 3),
      'two': numbers(1, 3, 3),
      'counter': np.array(7),
    }
    weights, report = self.convert(state)
    np.testing.assert_array_equal(
      weights['dense/kernel'], [[0, 2, 4], [1, 3, 5]]
    )
    np.testing.assert_array_equal(weights['dense/bias'], [0, 0, 0])
    np.testing.assert_array_equal(
      weights['block/relative_bias'], 2 * numbers(1, 3, 3)
    )
    self.assertEqual(report.loaded, ['dense/kernel'])
    self.assertEqual(report.evaluated, ['block/relative_bias'])
    self.assertEqual(report.zero, ['dense/bias'])
    self.assertEqual(report.left_out, ['counter'])
    self.assertIn('zero          1  dense/bias', report.table())

  def test_tables_are_resized_as_in_fine_tuning(self):
    state = {'fc.weight': numbers(3, 2), 'table': np.ones((1, 5, 5), 'f')}
    weights, report = self.convert(state)
    np.testing.assert_array_equal(
      weights['block/relative_bias'], np.ones((1, 3, 3))
    )
    self.assertEqual(
      report.resized, [('block/relative_bias', (1, 5, 5), (1, 3, 3))]
    )

  def test_everything_that_does_not_fit_is_named(self):
    state = {
      'fc.weight': numbers(4, 2),
      'table': numbers(2, 3, 3),
      'stranger': numbers(1),
    }
    with self.assertRaises(ValueError) as caught:
      self.convert(state, {**SHAPES, 'other/kernel': (1,)})
    message = str(caught.exception)
    for words in (
      r'fc.weight: [2, 4] in the file, [2, 3] in the network',
      r'table: [2, 3, 3] in the file, [1, 3, 3] in the network',
      'other/kernel: not in the file',
      'stranger: in the file, but of no use in this network',
    ):
      self.assertIn(words, message)

  def test_and_back(self):
    ours = {
      'dense/kernel': numbers(2, 3),
      'block/relative_bias': numbers(1, 3, 3),
    }
    state = conversion.to_theirs(ours, lines=LINES)
    self.assertEqual(set(state), {'fc.weight', 'table'})
    np.testing.assert_array_equal(state['fc.weight'], [[0, 3], [1, 4], [2, 5]])
    with self.assertRaisesRegex(ValueError, 'stranger: there is no such'):
      conversion.to_theirs({'stranger': numbers(1)}, lines=LINES)


if __name__ == '__main__':
  absltest.main()
