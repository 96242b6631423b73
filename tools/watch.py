"""From a tool's start to its end: who hears of a signal, and what ends it.

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
from collections.abc import Iterator
from typing import NoReturn

from official_coatnet.training import stop as stop_lib
from tools import stopping

# A person at the keyboard; and whoever takes the machine away.
_REASONS: dict[int, stop_lib.Reason] = {
  signal.SIGINT: stop_lib.Reason.END,
  signal.SIGTERM: stop_lib.Reason.AGAIN,
}
# For the main thread to remove what is half done.
_GRACE_SECONDS = 1.0


class Stopped(KeyboardInterrupt):
  """Raised in the main thread when the tool is told to end."""


class Watch(stop_lib.Stop):
  """From its start on, a signal unwinds the main thread, or else ends it.

  Between `begin` and `end` it does neither: the first one is there for who asks
  for a `reason`, and the second one ends the process. Within `patient` it does
  unwind, and does not end what takes its time.

  Attributes:
    received: Number of the signal that has unwound the main thread, or None.
  """

  def __init__(self) -> None:
    """Makes a watch that is not started: there is never a reason to stop."""
    self.received: int | None = None
    self._screen = stopping.Screen()
    self._asked: int | None = None
    self._is_asked_for = False
    self._is_patient = False
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
    for number in stopping.SIGNALS:
      if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, self._unwind)

  def begin(self) -> None:
    self.listen()
    self._is_asked_for = True

  def end(self) -> None:
    self._is_asked_for = False

  @contextlib.contextmanager
  def patient(self) -> Iterator[None]:
    """Within it, what is half written is removed, however long that takes."""
    self._is_patient = True
    try:
      yield
    finally:
      self._is_patient = False

  @contextlib.contextmanager
  def shown_on(self, screen: stopping.Screen) -> Iterator[None]:
    """Within it, what is said is said there."""
    before, self._screen = self._screen, screen
    try:
      yield
    finally:
      self._screen = before

  def finish(self, number: int) -> NoReturn:
    """Ends the process by a signal, with one line."""
    self._screen.leave()
    stopping.end(number)

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
    if self._is_asked_for or self._is_patient:
      self._asked = number
      name = stopping.name(number)
      self._screen.say(
        f'{name}: it ends where it can. A second one ends it at once.'
      )
      number = _read_signal(reader)
    else:
      # Who asks twice does not want to wait.
      select.select([reader], [], [], _GRACE_SECONDS)
    self.finish(number)


def _read_signal(reader: int) -> int:
  while (number := os.read(reader, 1)[0]) not in stopping.SIGNALS:
    pass
  return number
