"""Tests of tools/path_flags.py."""

import os
from unittest import mock

from absl import flags
from absl.testing import absltest

from tools import path_flags


class PathFlagsTest(absltest.TestCase):
  def _parse(self, *args):
    values = flags.FlagValues()
    path_flags.DEFINE_path(
      'model_dir', None, 'Help.', by_tensorflow=True, flag_values=values
    )
    path_flags.DEFINE_path('picture', 'x', 'Help.', flag_values=values)
    path_flags.DEFINE_multi_path('gin_file', None, 'Help.', flag_values=values)
    values(['tool.py', *args])
    return values

  def test_as_in_a_shell(self):
    with mock.patch.dict(os.environ, {'HOME': '/home/me', 'RUN': 'a b'}):
      values = self._parse(
        '--model_dir=~/runs/$RUN/1',
        '--picture=${HOME}/x',
        '--gin_file=gin/demo.gin',
        '--gin_file',
        '~/my.gin',
      )
      self.assertEqual(path_flags.expand(['~/a', 'b']), ['/home/me/a', 'b'])
    self.assertEqual(values.model_dir, '/home/me/runs/a b/1')
    self.assertEqual(values.picture, '/home/me/x')
    self.assertEqual(values.gin_file, ['gin/demo.gin', '/home/me/my.gin'])

  def test_as_it_is(self):
    values = self._parse(
      '--model_dir=gs://bucket/a run/é', '--picture=x[1].png'
    )
    self.assertEqual(values.model_dir, 'gs://bucket/a run/é')
    self.assertEqual(values.picture, 'x[1].png')
    self.assertIsNone(values.gin_file)
    self.assertEqual(self._parse('--model_dir=').model_dir, '')

  def test_refused(self):
    for argument, words in (
      ('--model_dir=run [v1]', r"the path is 'run \[v1\]', with \[ in it"),
      ('--model_dir=$NO_SUCH/x', 'no environment variable NO_SUCH'),
      ('--gin_file=~no_such_user/x', "no user 'no_such_user'"),
    ):
      with self.assertRaisesRegex(flags.IllegalFlagValueError, words):
        self._parse(argument)


if __name__ == '__main__':
  absltest.main()
