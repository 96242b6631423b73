"""Ctrl-C and SIGTERM: a tool ends at once, or where it can be left.

At once is with one line and 130 or 143. `watch` has the rest: what has said
that it asks, such as a run that trains, is given time to come to where it does.
Here is what a tool needs before it can import anything.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_while_starting() -> None:
  """From now on a signal ends the process, which has nothing to clean up.

  A signal that whoever started us has chosen to ignore, as `nohup` and a
  shell's `&` do, stays ignored.
  """
  for number in SIGNALS:
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, lambda number, frame: end(number))


def name(number: int) -> str:
  """Returns what people call a signal."""
  if number == signal.SIGINT:
    return 'Ctrl-C'
  return signal.Signals(number).name


def line(words: str) -> str:
  """Returns a line of the tool's own."""
  return f'{os.path.basename(sys.argv[0])}: {words}\n'


def say(words: str) -> None:
  """Writes a line to standard error, whatever the main thread does."""
  with contextlib.suppress(OSError):  # Perhaps nobody listens.
    os.write(2, line(words).encode())


class Screen:
  """Where a tool writes. Nothing is drawn on this one."""

  def say(self, words: str) -> None:
    """Writes a line; called by any thread."""
    say(words)

  def leave(self) -> None:
    """Makes it as it was, since the process ends."""


_ending = threading.Lock()


def end(number: int) -> NoReturn:
  """Ends this process and those that it has started, with one line.

  The exit code is what a shell makes of a process that died of the signal: 130
  for Ctrl-C, 143 for SIGTERM.
  """
  if not _ending.acquire(blocking=False):
    signal.pause()  # Another thread is at it.
  say(f'stopped by {name(number)}.')
  for process in descendants(os.getpid()):
    with contextlib.suppress(ProcessLookupError):
      os.kill(process, signal.SIGKILL)
  # Not sys.exit: what it waits for may wait for the same as the main thread.
  os._exit(128 + number)


def descendants(process: int) -> list[int]:
  """Returns the processes that a process and its children have started."""
  found = []
  try:
    threads = os.listdir(f'/proc/{process}/task')
  except OSError:
    return []
  for thread in threads:
    try:
      with open(f'/proc/{process}/task/{thread}/children') as f:
        children = [int(child) for child in f.read().split()]
    except OSError:
      continue  # It has ended meanwhile, or Linux was built without this file.
    for child in children:
      found += [child, *descendants(child)]
  return found
