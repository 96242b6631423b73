"""How a tool ends: tools/prologue.py, tools/stopping.py, tools/watch.py.

Tools without TensorFlow stand for all, since to import it takes seconds.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from unittest import mock

from absl import app
from absl.testing import absltest, parameterized

from tools import prologue

# An upper bound, so that a tool that hangs fails; no measure of its speed.
_TIMEOUT = 60
# Says that it is there, with the number of a process that it has started.
_TOOL = """
import tools.prologue
import ctypes, subprocess, sys, time
from absl import flags
flags.DEFINE_integer('number', None, 'A number.')
flags.DEFINE_string('model_dir', None, 'The folder.')
def ready():
  child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL)
  print(child.pid, flush=True)
def main(argv):
{body}
if __name__ == '__main__':
  flags.mark_flag_as_required('model_dir')
  tools.prologue.run(main)
"""
# However slow the machine is, what the tool cleans up is waited for.
_SLEEP = """
  tools.watch._GRACE_SECONDS = 600
  try:
    ready()
    time.sleep(600)
  finally:
    print('cleaned up')
"""
# Waits in C, and never comes back to Python: no signal ends this wait.
_WAIT_IN_C = """
  ready()
  mutex = ctypes.create_string_buffer(64)
  lock = ctypes.CDLL(None).pthread_mutex_lock
  lock(mutex), lock(mutex)
"""
# Asks now and then, as a run that trains does; `{asks}` says how it goes on.
_ASKING = """
  from official_coatnet.training import stop
  ready()
  tools.prologue.STOP.begin()
  print('asking', flush=True)
  try:
    while True:
      {asks}
      time.sleep(0.01)
  except stop.StoppedError as error:
    raise stop.StoppedError(error.reason, {step})
"""
# As _WAIT_IN_C, though it has said that it asks.
_ASKING_IN_C = """
  ready()
  tools.prologue.STOP.begin()
  print('asking', flush=True)
  mutex = ctypes.create_string_buffer(64)
  lock = ctypes.CDLL(None).pthread_mutex_lock
  lock(mutex), lock(mutex)
"""
# Takes longer to clean up than any grace.
_PATIENT = """
  tools.watch._GRACE_SECONDS = 0
  ready()
  with tools.prologue.STOP.patient():
    try:
      print('asking', flush=True)
      time.sleep(600)
    finally:
      time.sleep(1)
      print('cleaned up')
"""
_STARTING = """
import tools.stopping
import time
tools.stopping.end_while_starting()
print(0, flush=True)
time.sleep(600)
"""


class LauncherTest(parameterized.TestCase):
  def _start(self, body, *args, script=_TOOL, **kwargs):
    script = script.format(body=textwrap.indent(textwrap.dedent(body), '  '))
    file = self.create_tempfile('tool.py', content=script).full_path
    path = os.pathsep.join([prologue.ROOT, *filter(None, sys.path)])
    return subprocess.Popen(
      [sys.executable, file, *args],
      env={**os.environ, 'PYTHONPATH': path},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      **kwargs,
    )

  def _run(self, body, *args):
    """Returns exit code, standard output and standard error."""
    process = self._start(body, '--model_dir=x', *args)
    output, errors = process.communicate(timeout=_TIMEOUT)
    return process.returncode, output, errors

  def _wait_for_end(self, process):
    end = time.monotonic() + _TIMEOUT
    while _is_running(process):
      self.assertLess(time.monotonic(), end)
      time.sleep(0.01)

  @parameterized.named_parameters(
    ('python', _SLEEP, signal.SIGTERM, 143, 'cleaned up\n'),
    ('ctrl_c', _SLEEP, signal.SIGINT, 130, 'cleaned up\n'),
    ('c', _WAIT_IN_C, signal.SIGTERM, 143, ''),
  )
  def test_signals_end_it_and_what_it_has_started(
    self, body, number, code, output
  ):
    process = self._start(body, '--model_dir=x')
    child = int(process.stdout.readline())
    process.send_signal(number)
    self.assertEqual(process.wait(_TIMEOUT), code)
    name = 'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'
    self.assertEqual(
      process.communicate(), (output, f'tool.py: stopped by {name}.\n')
    )
    self._wait_for_end(child)

  @parameterized.parameters(
    (signal.SIGTERM, 8, 75, ': start the same command again.'),
    (signal.SIGINT, 8, 130, ': the same command goes on from there.'),
    (signal.SIGTERM, None, 143, ''),
    (signal.SIGINT, None, 130, ''),
  )
  def test_who_asks_ends_where_it_can(self, number, step, code, rest):
    process = self._start(
      _ASKING.format(asks='tools.prologue.STOP.check()', step=step).replace(
        'ready()', ''
      ),
      '--model_dir=x',
    )
    process.stdout.readline()
    process.send_signal(number)
    output, errors = process.communicate(timeout=_TIMEOUT)
    self.assertEqual((process.returncode, output), (code, ''))
    name = 'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'
    where = f' at step {step}, which is saved{rest}' if step else '.'
    self.assertEqual(
      errors,
      f'tool.py: {name}: it ends where it can. A second one ends it at once.\n'
      f'tool.py: stopped by {name}{where}\n',
    )

  @parameterized.parameters(
    (_ASKING_IN_C, signal.SIGTERM, signal.SIGTERM, 143),
    (_ASKING_IN_C, signal.SIGTERM, signal.SIGINT, 130),
    (_ASKING.format(asks='pass', step=8), signal.SIGINT, signal.SIGINT, 130),
  )
  def test_a_second_signal_ends_it_at_once(self, body, first, second, code):
    process = self._start(body, '--model_dir=x')
    child = int(process.stdout.readline())
    process.stdout.readline()
    process.send_signal(first)
    self.assertIn('it ends where it can', process.stderr.readline())
    process.send_signal(second)
    _, errors = process.communicate(timeout=_TIMEOUT)
    self.assertEqual(process.returncode, code)
    name = 'Ctrl-C' if second == signal.SIGINT else 'SIGTERM'
    self.assertEqual(errors, f'tool.py: stopped by {name}.\n')
    self._wait_for_end(child)

  def test_what_it_has_half_written_is_removed_however_long_that_takes(self):
    process = self._start(_PATIENT, '--model_dir=x')
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=_TIMEOUT)
    self.assertEqual((process.returncode, output), (143, 'cleaned up\n'))
    self.assertEndsWith(errors, 'tool.py: stopped by SIGTERM.\n')

  def test_done_before_anybody_has_asked(self):
    process = self._start(
      'import os\ntools.prologue.STOP.begin()\nos.kill(os.getpid(), 15)\n'
      'time.sleep(0.5)\ntools.prologue.STOP.end()\nprint("done")',
      '--model_dir=x',
    )
    output, _ = process.communicate(timeout=_TIMEOUT)
    self.assertEqual((process.returncode, output), (0, 'done\n'))

  def test_a_signal_while_it_starts(self):
    process = self._start('', script=_STARTING)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    self.assertEqual(
      process.communicate(timeout=_TIMEOUT),
      ('', 'tool.py: stopped by Ctrl-C.\n'),
    )
    self.assertEqual(process.returncode, 130)

  def test_a_signal_that_nohup_ignores(self):
    process = self._start(
      'import os\nos.kill(os.getpid(), 2)\nprint("goes on")',
      '--model_dir=x',
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    self.assertEqual(process.communicate(timeout=_TIMEOUT), ('goes on\n', ''))
    self.assertEqual(process.returncode, 0)

  def test_nobody_reads(self):
    process = self._start(
      'print(1, flush=True)\nfor _ in range(10**6): print("more")',
      '--model_dir=x',
    )
    process.stdout.readline()
    process.stdout.close()
    self.assertEqual(process.stderr.read(), '')
    self.assertEqual(process.wait(_TIMEOUT), 141)
    process.stderr.close()

  @parameterized.parameters(
    (
      ['--model_dri=x'],
      'there is no flag --model_dri. Did you mean --model_dir?',
    ),
    ([], '--model_dir is missing: The folder.'),
    (['--model_dir=x', '--number=two'], '--number=two: it is no whole number.'),
    (['--model_dir'], '--model_dir needs a value, as in --model_dir=VALUE.'),
  )
  def test_wrong_flags(self, args, words):
    process = self._start('pass', *args)
    output, errors = process.communicate(timeout=_TIMEOUT)
    self.assertEqual((process.returncode, output), (1, ''))
    self.assertEqual(
      errors, f'tool.py: {words}\ntool.py --help says what it takes.\n'
    )

  def test_what_the_user_can_mend_and_what_not(self):
    body = "raise {}('`top_k` is 0')"
    code, _, errors = self._run(body.format('ValueError'))
    self.assertEqual((code, errors), (1, 'tool.py: `top_k` is 0\n'))
    code, _, errors = self._run(body.format('ValueError'), '--traceback')
    self.assertEqual(code, 1)
    self.assertIn('Traceback', errors)
    code, _, errors = self._run(body.format('TypeError'))
    self.assertEqual(code, 1)
    self.assertIn('Traceback', errors)

  def test_exit_codes_of_main(self):
    self.assertEqual(self._run('return 3')[0], 3)
    self.assertEqual(self._run('sys.exit("words")')[::2], (1, 'words\n'))


def _is_running(process: int) -> bool:
  try:
    with open(f'/proc/{process}/stat') as f:
      return f.read().rpartition(')')[2].split()[0] != 'Z'
  except FileNotFoundError:
    return False


class GuardTest(absltest.TestCase):
  def _words(self, error, **kwargs):
    # As one of ours raises it: this module is none, whoever runs it.
    names = {'__name__': 'tools.something', 'error': error}
    exec('def main(argv):\n  raise error', names)
    main = names['main']

    with self.assertRaises(SystemExit) as caught:
      prologue.guard(main, **kwargs)(['tool.py'])
    return caught.exception.code.removeprefix(f'{prologue.program()}: ')

  def test_files(self):
    self.assertEqual(
      self._words(FileNotFoundError(2, 'No such file or directory', '/x')),
      '/x: No such file or directory',
    )
    self.assertEqual(self._words(OSError('words')), 'words')
    self.assertEqual(self._words(MemoryError()), 'MemoryError')

  def test_errors_that_a_tool_adds(self):
    self.assertEqual(self._words(KeyError('a'), mendable=(KeyError,)), "'a'")
    with self.assertRaises(KeyError):
      self._words(KeyError('a'))

  def test_errors_of_libraries_come_with_their_kind(self):
    def main(argv):
      textwrap.shorten('a long text', width=1)

    with self.assertRaisesRegex(
      SystemExit, r'placeholder too large.* \(ValueError; --traceback says'
    ):
      prologue.guard(main)(['tool.py'])

  def test_errors_with_a_code_of_their_own(self):
    for name, code in prologue._EXITS.items():
      module, _, kind = name.rpartition('.')
      # The modules themselves take seconds to import.
      known = type(kind, (ConnectionError,), {'__module__': module})
      # Its own words, and a kind of it, are the same.
      error = type('Special', (known,), {})('what has happened')
      with (
        contextlib.redirect_stderr(io.StringIO()) as words,
        self.assertRaises(SystemExit) as caught,
      ):
        prologue.guard(mock.Mock(side_effect=error, __name__='main'))(['x'])
      self.assertEqual(caught.exception.code, code)
      self.assertStartsWith(
        words.getvalue(), f'{prologue.program()}: what has happened'
      )

  def test_wrong_usage_goes_through(self):
    with self.assertRaises(app.UsageError):
      self._words(app.UsageError('words'))


if __name__ == '__main__':
  absltest.main()
