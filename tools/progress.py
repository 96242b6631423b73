"""How far a long job is, for people who wait for it."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import rich.console
import rich.progress
from rich.text import Text

from tools import terminal

_Item = TypeVar('_Item')


class Progress:
  """Tells how far a job is, how fast it goes and when it will be done.

  On a terminal it is a bar; it ends with the last image, or with `close`.
  """

  def __init__(self, what: str = 'images'):
    """Takes what there are many of."""
    self._what = what
    self._first = 0
    self._last: int | None = None  # Until the first call.
    self._total: int | None = None
    self._start = self._last_print = time.monotonic()
    self._style = terminal.style()
    self._drawn: contextlib.ExitStack | None = None

  def __call__(self, done: int, total: int | None) -> None:
    """Takes note of `done` of `total` images; tells of it now and then."""
    now = time.monotonic()
    if self._last is None or done < self._last:  # A new split.
      self._first, self._start = done, now
    self._last, self._total = done, total
    if self._style == terminal.RICH:
      self._draw()
      if done == total:
        self.close()
      return
    if now - self._last_print < 10 and done != total:
      return
    self._last_print = now
    if self._style == terminal.JSON:
      terminal.write_json(
        'progress',
        what=self._what,
        done=done,
        total=total,
        per_second=self._rate(),
        seconds_left=self._seconds_left(),
      )
    else:
      print(self._line(), file=sys.stderr, flush=True)

  def close(self) -> None:
    """Ends what is drawn; the last state stays there."""
    if self._drawn is not None:
      self._drawn.close()
      self._drawn = None

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def _draw(self) -> None:
    if self._drawn is None:
      self._drawn = contextlib.ExitStack()
      self._drawn.enter_context(terminal.drawn(terminal.Drawing(self)))

  def __rich__(self):
    line = Text(self._line())
    if not self._total:
      return line
    bar = rich.progress.ProgressBar(
      total=self._total, completed=self._last or 0
    )
    return rich.console.Group(line, bar)

  def _rate(self) -> float:
    # What an earlier run has done is no measure of this one's speed.
    seconds = max(time.monotonic() - self._start, 1e-6)
    return ((self._last or 0) - self._first) / seconds

  def _seconds_left(self) -> float | None:
    rate, done = self._rate(), self._last or 0
    if not rate or not self._total or done >= self._total:
      return None
    return (self._total - done) / rate

  def _line(self) -> str:
    done, total, rate = self._last or 0, self._total, self._rate()
    line = f'{done:,} {self._what}'
    if total:
      line = f'{done:,} of {total:,} {self._what}'
    if rate:
      slow = f', {1 / rate:,.0f} s each'
      line += f', {rate:,.0f}/s' if rate >= 1 else slow
      left = self._seconds_left()
      if left is not None:
        line += f', {_duration(left)} to go'
    return line


def counted(
  items: Iterable[_Item], *, total: int, what: str
) -> Iterator[_Item]:
  """Yields the items, and tells how many of them are done.

  Args:
    items: What takes long, each.
    total: How many there are.
    what: What they are called.
  """
  with Progress(what) as progress:
    progress(0, total)
    for done, item in enumerate(items, 1):
      yield item
      progress(done, total)


@contextlib.contextmanager
def during(what: str) -> Iterator[None]:
  """Shows on a terminal that something takes its time, and how long.

  Args:
    what: What goes on, such as 'Exporting'.
  """
  if terminal.style() != terminal.RICH:
    yield
    return
  with terminal.drawn(terminal.Drawing(_Waiting(what))):
    yield


class _Waiting:
  def __init__(self, what: str):
    self._what, self._start = what, time.monotonic()

  def __rich__(self) -> Text:
    return Text(f'{self._what}, {_duration(time.monotonic() - self._start)}')


def _duration(seconds: float) -> str:
  """Returns a duration for people, such as 1:02:03."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}'
