"""Installs a lock into the environment whose Python runs this: `make venv`.

    .venv/bin/python tools/set_up.py requirements.lock

Nothing is installed yet when it runs, so it imports what Python has. It shows
what pip does as one line that is written anew on a terminal, and as a few lines
elsewhere; all that pip says stands in set_up.log of the environment.
"""

import argparse
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable

# Seconds between two lines where none can be written anew.
_PERIOD = 20.0
_UNITS = {'B': 1, 'kB': 1e3, 'KB': 1e3, 'MB': 1e6, 'GB': 1e9}
_SIZE = re.compile(r'\(([\d.]+) ([kKMG]?B)\)')


def count_packages(lock: str) -> int:
  """Returns how many packages a lock names.

  Args:
    lock: Its text.
  """
  lines = (line.strip() for line in lock.splitlines())
  return sum(bool(line) and line[0] not in '#-' for line in lines)


class State:
  """How far pip is, by what it prints."""

  def __init__(self, total: int):
    """Begins with none of `total` packages."""
    self._total = total
    self._found = 0
    self._bytes = 0.0
    # Of the file that is being fetched: what is still to come.
    self._left = 0.0
    self._package = ''
    self.is_installing = False

  def read(self, line: str) -> None:
    """Takes a line of pip's."""
    words = line.split()
    if not words:
      return
    if words[0] in ('Collecting', 'Obtaining') or line.startswith(
      'Requirement already satisfied:'
    ):
      self._found += 1
      self._package = words[1] if words[0] == 'Collecting' else ''
    elif words[0] == 'Progress':  # By --progress-bar=raw: 'Progress 5 of 10'.
      self._left = float(words[3]) - float(words[1])
    elif words[0] in ('Downloading', 'Using') and (size := _SIZE.search(line)):
      self._bytes += float(size[1]) * _UNITS[size[2]]
    elif line.startswith('Installing collected packages'):
      self.is_installing = True

  def describe(
    self, *, installed: int, seconds: float, has_ended: bool = False
  ) -> str:
    """Returns a line for people.

    Args:
      installed: Packages that are installed.
      seconds: Since the start.
      has_ended: Whether there is no more to come.
    """
    done = self._found
    if self.is_installing:
      words = f'installed {installed} of {self._total} packages'
      done += installed
    else:
      # The last one that was named is on its way.
      whole = done if has_ended else max(done - 1, 0)
      words = f'fetched {whole} of {self._total} packages'
    size = self._bytes - self._left
    if size >= 1e6:
      words += f', {size / 1e6:,.0f} MB'
    if has_ended:
      return f'{words}, in {format_duration(seconds)}'
    share = min(done / max(2 * self._total, 1), 1.0)
    words += f', {format_duration(seconds)}'
    if 0.02 < share < 1 and seconds > 5:
      left = seconds * (1 - share) / share
      words += f', about {format_duration(left)} to go'
    if self._package and not self.is_installing:
      words += f': {self._package}'
    return words


def format_duration(seconds: float) -> str:
  """Writes a duration as people do: '42 s', '3 min 20 s'."""
  minutes, seconds = divmod(round(seconds), 60)
  return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


class Screen:
  """One line that is written anew on a terminal; lines now and then elsewhere.

  It has nothing that a terminal needs to know more of than a carriage return.
  """

  def __init__(self, stream, *, now=time.monotonic):
    """Takes where to write."""
    self._stream = stream
    self._now = now
    self._last = -_PERIOD
    dumb = os.environ.get('TERM', '') in ('', 'dumb', 'unknown')
    self.can_redraw = stream.isatty() and not dumb

  def show(self, words: str, *, is_last: bool = False) -> None:
    """Shows how far it is; on the last call in any case."""
    if self.can_redraw:
      width = shutil.get_terminal_size().columns - 1
      end = '\n' if is_last else ''
      self._stream.write(f'\r{words[:width]:<{width}}{end}')
    elif is_last or self._now() - self._last >= _PERIOD:
      self._last = self._now()
      self._stream.write(f'{words}\n')
    self._stream.flush()


def count_installed() -> int:
  """Returns how many packages the environment of this Python has."""
  folder = pathlib.Path(sysconfig.get_path('purelib'))
  return sum(1 for _ in folder.glob('*.dist-info'))


def follow(lines: Iterable[str], *, state: State, screen: Screen, log) -> None:
  """Shows what pip does until it ends.

  Args:
    lines: That it prints.
    state: Reads them.
    screen: Shows it.
    log: File for all of them.
  """
  start, before = time.monotonic(), count_installed()
  ended = threading.Event()

  def words(*, has_ended: bool = False) -> str:
    return state.describe(
      installed=max(count_installed() - before, 0),
      seconds=time.monotonic() - start,
      has_ended=has_ended,
    )

  def draw() -> None:
    while not ended.wait(0.5):
      screen.show(words())

  drawer = threading.Thread(target=draw, daemon=True)
  drawer.start()
  try:
    for line in lines:
      log.write(line)
      state.read(line)
  finally:
    ended.set()
    drawer.join()
    screen.show(words(has_ended=True), is_last=True)


def command(lock: str) -> list[str]:
  """Returns what pip is called with."""
  installed = importlib.metadata.version('pip')
  version = tuple(int(n) for n in re.findall(r'\d+', installed)[:2])
  return [
    *(sys.executable, '-m', 'pip', 'install', '--no-deps'),
    '--disable-pip-version-check',
    f'--progress-bar={"raw" if version >= (24, 1) else "off"}',
    *('-r', lock),
  ]


def main(argv: list[str]) -> int:
  """Installs; returns the exit code of pip."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('lock', help='file with a package and its version a line')
  parser.add_argument(
    '--verbose', action='store_true', help="show all of pip's lines"
  )
  arguments = parser.parse_args(argv)
  environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
  if arguments.verbose:
    return subprocess.call(command(arguments.lock), env=environment)
  lock = pathlib.Path(arguments.lock).read_text()
  path = os.path.join(sys.prefix, 'set_up.log')
  with (
    open(path, 'w') as log,
    subprocess.Popen(
      command(arguments.lock),
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      errors='replace',
    ) as process,
  ):
    assert process.stdout is not None
    try:
      follow(
        process.stdout,
        state=State(count_packages(lock)),
        screen=Screen(sys.stdout),
        log=log,
      )
    except KeyboardInterrupt:
      process.wait()  # The terminal has sent it the signal, too.
      return 130
  if process.returncode:
    said = pathlib.Path(path).read_text().splitlines()
    errors = [line for line in said if line.startswith('ERROR')] or said[-5:]
    print('\n'.join(line[:300] for line in errors), file=sys.stderr)
    print(f'All that pip has said: {path}', file=sys.stderr)
  return process.returncode


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
