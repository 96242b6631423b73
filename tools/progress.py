"""How far a long job is, for people who wait for it."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import rich.console
import rich.progress
from rich.text import Text

from tools import terminal

if TYPE_CHECKING:
  from official_coatnet.modeling import config as model_config

_Item = TypeVar('_Item')
# Between two lines, where there are lines; and how long a job has to be for one
# at its start.
_PERIOD = 10.0
_LONG_SECONDS = 30.0
# How much of a job what was thought of its length weighs as.
_PRIOR = 0.1


class Progress:
  """Tells how far a job is, how fast it goes and when it will be done.

  On a terminal it is a bar; it ends with the last image, or with `close`.
  """

  def __init__(self, what: str = 'images', *, is_still: bool = False):
    """Takes what there are many of.

    Args:
      what: What they are called.
      is_still: Whether nothing is drawn between two calls, since what goes on
        there is being timed.
    """
    self._what, self._is_still = what, is_still
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
    if now - self._last_print < _PERIOD and done != total:
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
      drawing = terminal.Drawing(self, is_still=self._is_still)
      self._drawn.enter_context(terminal.drawn(drawing))
      self._drawing = drawing
    if self._is_still:
      self._drawing.refresh()

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
  items: Iterable[_Item], *, total: int, what: str, is_still: bool = False
) -> Iterator[_Item]:
  """Yields the items, and tells how many of them are done.

  Args:
    items: What takes long, each.
    total: How many there are.
    what: What they are called.
    is_still: As of `Progress`.
  """
  with Progress(what, is_still=is_still) as progress:
    progress(0, total)
    for done, item in enumerate(items, 1):
      yield item
      progress(done, total)


class Steps:
  """Tells at which of its steps a job is, and about when it will be done.

  The steps differ in length: how much one takes of another is known from a
  measurement, how fast this machine and this job are is not, and is learnt from
  the steps that are done. A step that takes longer than it should counts for as
  much as it has taken.
  """

  def __init__(
    self, what: str, seconds: Mapping[str, float], *, scale: float = 1.0
  ):
    """Takes what the job consists of, and begins with none of it.

    Args:
      what: What goes on, such as 'Exporting runs/demo/model'.
      seconds: What each step took where it was measured, in their order.
      scale: How many times as long they are thought to take here. It is all
        that is known in the first step, and soon counts for little.
    """
    self._what, self._scale = what, scale
    self._names, self._seconds = list(seconds), list(seconds.values())
    self._index = 0
    self._start = self._step_start = self._last_print = time.monotonic()
    self._has_ended = False
    self._style = terminal.style()
    self._drawn = contextlib.ExitStack()

  def __enter__(self) -> 'Steps':
    self._start = self._step_start = self._last_print = time.monotonic()
    if self._style == terminal.RICH:
      self._drawn.enter_context(terminal.drawn(terminal.Drawing(self)))
    return self

  def __exit__(self, *error: object) -> None:
    self._has_ended = True
    self._drawn.close()

  def __call__(self, step: str) -> None:
    """Begins a step; the one before has ended.

    Raises:
      ValueError: If it is none of them.
    """
    self._index = self._names.index(step)
    self._step_start = time.monotonic()
    passed, left = self._step_start - self._start, self.seconds_left()
    if self._style == terminal.JSON:
      terminal.write_json(
        'progress',
        what=self._what,
        step=step,
        done=self._index,
        total=len(self._names),
        seconds=round(passed, 1),
        seconds_left=round(left, 1),
      )
    elif self._style == terminal.PLAIN and (
      self._step_start - self._last_print >= _PERIOD
      or (not self._index and left >= _LONG_SECONDS)
    ):
      self._last_print = self._step_start
      print(self._line(), file=sys.stderr, flush=True)

  def seconds_left(self) -> float:
    """Returns how long the rest is going to take, about."""
    now = time.monotonic()
    elapsed, total = now - self._start, sum(self._seconds)
    done = sum(self._seconds[: self._index])
    # What was thought weighs as much as a tenth of the job.
    thought = _PRIOR * total
    pace = self._step_start - self._start + thought * self._scale
    pace /= done + thought
    # If the step ended now, this would be the pace.
    pace = max(pace, elapsed / (done + self._seconds[self._index]))
    return max(pace * total - elapsed, 0.0)

  def __rich__(self) -> rich.console.RenderableType:
    line = Text(self._line())
    elapsed = time.monotonic() - self._start
    if self._has_ended:
      return line
    total = max(elapsed + self.seconds_left(), 1e-6)
    bar = rich.progress.ProgressBar(total=total, completed=elapsed)
    return rich.console.Group(line, bar)

  def _line(self) -> str:
    elapsed = time.monotonic() - self._start
    if self._has_ended:
      return f'{self._what}: {_duration(elapsed)}'
    number = ''
    if len(self._names) > 1:
      number = f' ({self._index + 1} of {len(self._names)})'
    return (
      f'{self._what}: {self._names[self._index]}{number}, '
      f'{_duration(elapsed)}, {_about(self.seconds_left())} to go'
    )


def depth(config: 'model_config.ModelConfig') -> float:
  """Returns how many times as many blocks as CoAtNet-0 a network has.

  What is done block by block, as building it and writing its graph, takes as
  many times as long.
  """
  # Here, since not all that shows progress takes TensorFlow.
  from official_coatnet.modeling import sizes

  return sum(config.blocks) / sum(sizes.SIZES['coatnet_0'].blocks)


def _about(seconds: float) -> str:
  """Returns a duration that is an estimate, to no more than it is known."""
  if seconds < 10:
    return 'some seconds'
  if seconds < 55:
    return f'about {round(seconds, -1):.0f} s'
  if seconds < 55 * 60:
    return f'about {max(round(seconds / 60), 1)} min'
  return f'about {max(round(seconds / 3600), 1)} h'


def _duration(seconds: float) -> str:
  """Returns a duration for people, such as 1:02:03."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}'
