"""Ctrl-C and SIGTERM: a tool ends at once, or where it can be left.

At once is with one line and 130 or 143. What has said that it asks, such as a
run that trains, is given the time to come to where it asks; a second signal
ends it at once all the same.

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

from official_coatnet.training import stop as stop_lib

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A person at the keyboard; and whoever takes the machine away.
_REASONS: dict[int, stop_lib.Reason] = {
  signal.SIGINT: stop_lib.Reason.END,
  signal.SIGTERM: stop_lib.Reason.AGAIN,
}
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


class Watch(stop_lib.Stop):
  """From its start on, a signal unwinds the main thread, or else ends it.

  Between `begin` and `end` it does neither: the first one is there for who asks
  for a `reason`, and the second one ends the process.

  Attributes:
    received: Number of the signal that has unwound the main thread, or None.
  """

  def __init__(self) -> None:
    """Makes a watch that is not started: there is never a reason to stop."""
    self.received: int | None = None
    self._asked: int | None = None
    self._is_asked_for = False
    self._is_started = False

  def start(self) -> None:
    """Watches, until the process ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=self._wait, args=(reader,), daemon=True).start()
    self._is_started = True
    self.listen()

  def listen(self) -> None:
    """Takes the signals; again, where TensorFlow may have taken SIGTERM.

    Its service for several machines does, and does nothing with it unless it is
    asked. Python does not know of that.
    """
    if not self._is_started:
      return
    for number in SIGNALS:
      if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, self._unwind)

  def begin(self) -> None:
    self.listen()
    self._is_asked_for = True

  def end(self) -> None:
    self._is_asked_for = False

  def reason(self) -> stop_lib.Reason | None:
    return _REASONS[self._asked] if self._asked else None

  def _unwind(self, number: int, frame) -> None:
    del frame
    if self._is_asked_for:
      return  # The thread has it.
    if self.received is None:
      self.received = number
    # Where it cannot be raised, as within a destructor, it would be printed.
    sys.unraisablehook = lambda unraisable: None
    raise Stopped

  def _wait(self, reader: int) -> None:
    """Reads the numbers of signals, which C writes; runs in a thread."""
    number = _read_signal(reader)
    if self._is_asked_for:
      self._asked = number
      _say(
        f'{name(number)}: it ends where it can. A second one ends it at once.'
      )
      number = _read_signal(reader)
    else:
      # Who asks twice does not want to wait.
      select.select([reader], [], [], _GRACE_SECONDS)
    end(number)


def _read_signal(reader: int) -> int:
  while (number := os.read(reader, 1)[0]) not in SIGNALS:
    pass
  return number


def name(number: int) -> str:
  """Returns what people call a signal."""
  if number == signal.SIGINT:
    return 'Ctrl-C'
  return signal.Signals(number).name


def _say(words: str) -> None:
  """Writes a line to standard error, whatever the main thread does."""
  line = f'{os.path.basename(sys.argv[0])}: {words}\n'
  with contextlib.suppress(OSError):  # Perhaps nobody listens.
    os.write(2, line.encode())


_ending = threading.Lock()


def end(number: int) -> NoReturn:
  """Ends this process and those that it has started, with one line.

  The exit code is what a shell makes of a process that died of the signal: 130
  for Ctrl-C, 143 for SIGTERM.
  """
  if not _ending.acquire(blocking=False):
    signal.pause()  # Another thread is at it.
  _say(f'stopped by {name(number)}.')
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
