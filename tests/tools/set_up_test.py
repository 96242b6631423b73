"""Tests of tools.set_up."""

import io
import os
from unittest import mock

from absl.testing import absltest

from tools import set_up

_PIP = """\
Collecting absl-py==1.4.0 (from -r requirements.lock (line 24))
  Downloading absl_py-1.4.0-py3-none-any.whl (126 kB)
Collecting tensorflow==2.15.1 (from -r requirements.lock (line 25))
  Downloading tensorflow-2.15.1-cp311.whl (475.2 MB)
Progress 100000000 of 475200000
"""


class SetUpTest(absltest.TestCase):
  def _state(self, text):
    state = set_up.State(4)
    for line in text.splitlines():
      state.read(line)
    return state

  def test_packages_of_a_lock(self):
    lock = '# comment\n\n--find-links x\nabsl-py==1.4.0\nnumpy==1.26.4\n'
    self.assertEqual(set_up.count_packages(lock), 2)

  def test_while_it_fetches(self):
    self.assertEqual(
      self._state(_PIP).describe(installed=0, seconds=30.0),
      'fetched 1 of 4 packages, 100 MB, 30 s, about 1 min 30 s to go: '
      'tensorflow==2.15.1',
    )

  def test_while_it_installs(self):
    text = _PIP + 'Installing collected packages: absl-py, tensorflow\n'
    state = self._state(text)
    words = state.describe(installed=1, seconds=60.0)
    self.assertStartsWith(words, 'installed 1 of 4 packages')
    self.assertEndsWith(words, ', 1 min 0 s, about 1 min 40 s to go')
    words = state.describe(installed=4, seconds=90.0, has_ended=True)
    self.assertStartsWith(words, 'installed 4 of 4 packages')
    self.assertEndsWith(words, ', in 1 min 30 s')

  def test_a_few_lines_where_none_can_be_written_anew(self):
    stream, time = io.StringIO(), [0.0]
    screen = set_up.Screen(stream, now=lambda: time[0])
    for second in range(41):
      time[0] = float(second)
      screen.show(f'at {second}')
    screen.show('at the end', is_last=True)
    self.assertEqual(stream.getvalue(), 'at 0\nat 20\nat 40\nat the end\n')

  def test_one_line_on_a_terminal(self):
    stream = io.StringIO()
    stream.isatty = lambda: True
    size = os.terminal_size((40, 20))
    with (
      mock.patch.dict(os.environ, {'TERM': 'xterm'}),
      mock.patch('shutil.get_terminal_size', lambda: size),
    ):
      screen = set_up.Screen(stream)
      screen.show('fetched ' * 20)
      screen.show('done', is_last=True)
    first, second = stream.getvalue().split('\r')[1:]
    self.assertLen(first, 39)
    self.assertEqual(second.rstrip(' '), f'done{" " * 35}\n')


if __name__ == '__main__':
  absltest.main()
