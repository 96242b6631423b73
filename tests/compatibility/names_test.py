"""Every name in names.json still exists, with its default or its shape."""

import json

import tensorflow as tf
from absl.testing import parameterized

from tests.compatibility import names


class NamesTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    with open(names.FILE) as f:
      cls.expected = json.load(f)
    cls.actual = names.all_names()

  @parameterized.parameters(
    'keras', 'keras_model_garden', 'flags', 'gin', 'gin_macros', 'variables'
  )
  def test_nothing_is_gone(self, kind):
    gone = names.missing(self.expected[kind], self.actual[kind], name=kind)
    self.assertEmpty(gone, '\n' + '\n'.join(gone))

  def test_what_is_missing_is_named(self):
    before = {'a': {'b': 1, 'c': [2]}, 'd': {}}
    self.assertEmpty(names.missing(before, {**before, 'e': {}}))
    self.assertEqual(
      names.missing(before, {'a': {'b': 3}, 'd': {}}),
      ['a: b: was 1, is 3', "a: 'c' is gone"],
    )


if __name__ == '__main__':
  tf.test.main()
