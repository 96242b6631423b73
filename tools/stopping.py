"""Ctrl-C and SIGTERM: a tool ends at once, with one line and 130 or 143.

Python runs its handlers between two steps of the main thread, which may wait in
TensorFlow for minutes. So a thread waits for the signals as well: what the main
thread does not heed in time, it ends.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# For the main thread to remove what is half done.
_GRACE_SECONDS = 1.0


class Stopped(KeyboardInterrupt):
  """Raised in the main thread when the tool is told to end."""


def end_while_starting() -> None:
  """From now on a signal ends the process, which has nothing to clean up.

  A signal that whoever started us has chosen to ignore, as `nohup` and a
  shell's `&` do, stays ignored.
  """
  for number in SIGNALS:
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, lambda number, frame: end(number))


class Watch:
  """From its start on, a signal unwinds the main thread, or else ends it.

  Attributes:
    received: Number of the signal that came first, or None.
  """

  def __init__(self) -> None:
    """Makes a watch that is not started."""
    self.received: int | None = None

  def start(self) -> None:
    """Watches, until the process ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=self._wait, args=(reader,), daemon=True).start()
    for number in SIGNALS:
      if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, self._unwind)

  def _unwind(self, number: int, frame) -> NoReturn:
    del frame
    if self.received is None:
      self.received = number
    # Where it cannot be raised, as within a destructor, it would be printed.
    sys.unraisablehook = lambda unraisable: None
    raise Stopped

  def _wait(self, reader: int) -> None:
    """Reads the numbers of signals, which C writes; runs in a thread."""
    while (number := os.read(reader, 1)[0]) not in SIGNALS:
      pass
    # Who asks twice does not want to wait.
    select.select([reader], [], [], _GRACE_SECONDS)
    end(number)


_ending = threading.Lock()


def end(number: int) -> NoReturn:
  """Ends this process and those that it has started, with one line.

  The exit code is what a shell makes of a process that died of the signal: 130
  for Ctrl-C, 143 for SIGTERM.
  """
  if not _ending.acquire(blocking=False):
    signal.pause()  # Another thread is at it.
  name = 'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name
  line = f'{os.path.basename(sys.argv[0])}: stopped by {name}.\n'
  with contextlib.suppress(OSError):  # Perhaps nobody listens.
    os.write(2, line.encode())
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
