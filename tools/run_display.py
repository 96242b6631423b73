"""How a run shows itself: a block on a terminal, lines or JSON elsewhere."""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rich.console
import rich.progress
from rich.table import Table
from rich.text import Text

from official_coatnet.training import listener as listener_lib, plan as plan_lib
from tools import progress, terminal

# What an accuracy is called, the first that there is, and its name for people.
_ACCURACIES = {'top1': 'top-1', 'precision_at_1': 'precision at 1'}
# From here on two pairs of name and value stand side by side.
_WIDE = 76


@contextlib.contextmanager
def shown() -> Iterator[listener_lib.Listener]:
  """Yields who tells of a run, in the way that --log says."""
  style = terminal.style()
  if style == terminal.RICH:
    block = Block()
    try:
      yield block
    finally:
      block.close()
  elif style == terminal.JSON:
    yield Json()
  else:
    lines = Lines()
    try:
      yield lines
    finally:
      lines.close()


class Lines(listener_lib.Listener):
  """A line for each loop, evaluation and checkpoint."""

  def __init__(self) -> None:
    """Has nothing to tell yet."""
    self._progress: progress.Progress | None = None

  def evaluates(self, done: int, total: int | None) -> None:
    if self._progress is None:
      self._progress = progress.Progress('batches evaluated')
    if done != total:  # Its results come, in a line of their own.
      self._progress(done, total)

  def after_evaluation(self, step: int, values: Mapping[str, float]) -> None:
    self.close()
    super().after_evaluation(step, values)

  def close(self) -> None:
    """Ends what it has begun to tell."""
    if self._progress is not None:
      self._progress.close()
      self._progress = None


class Json(listener_lib.Listener):
  """An object of JSON for each of them."""

  def begin(self, plan: plan_lib.Plan, *, title, step, evaluations) -> None:
    terminal.write_json(
      'start', title=title, step=step, total_steps=plan.total_steps
    )

  def after_loop(self, loop: listener_lib.Loop) -> None:
    terminal.write_json(
      'train',
      step=loop.step,
      total_steps=loop.plan.total_steps,
      epoch=round(loop.epoch, 4),
      **_finite(loop.values),
      input_wait=loop.input_wait,
      seconds_left=loop.seconds_left,
    )

  def after_evaluation(self, step: int, values: Mapping[str, float]) -> None:
    terminal.write_json('evaluation', step=step, **_finite(values))

  def after_checkpoint(self, step: int, path: str) -> None:
    terminal.write_json('checkpoint', step=step, path=path)


class Block(listener_lib.Listener):
  """A block at the bottom of the terminal, drawn anew while the run goes on.

  It is there from `begin`, or the first batch of an evaluation, to `close`.
  """

  def __init__(self) -> None:
    """Draws nothing yet."""
    self._title = ''
    self._plan: plan_lib.Plan | None = None
    self._loop: listener_lib.Loop | None = None
    self._step = 0
    self._what = 'compiles the step'
    self._since = self._start = time.monotonic()
    self._batches: tuple[int, int | None] | None = None
    self._last: tuple[int, dict[str, float]] | None = None
    self._best: tuple[int, dict[str, float]] | None = None
    self._checkpoint: tuple[str, float] | None = None
    self._drawing = terminal.Drawing(self)
    self._stack = contextlib.ExitStack()
    self._is_drawn = False

  def begin(
    self,
    plan: plan_lib.Plan,
    *,
    title: str,
    step: int,
    evaluations: Sequence[Mapping[str, Any]],
  ) -> None:
    self._plan, self._title, self._step = plan, title, step
    for line in evaluations:
      values = {
        key.removeprefix('eval/'): math.nan if value is None else value
        for key, value in line.items()
        if key.startswith('eval/')
      }
      self._judge(line['step'], values)
    self._since = time.monotonic()
    self._draw()

  def does(self, what: str) -> None:
    self._what, self._batches = what, None
    self._since = time.monotonic()

  def after_loop(self, loop: listener_lib.Loop) -> None:
    self._loop, self._step = loop, loop.step
    self.does('')

  def evaluates(self, done: int, total: int | None) -> None:
    self._what, self._batches = 'evaluates', (done, total)
    self._draw()

  def after_evaluation(self, step: int, values: Mapping[str, float]) -> None:
    self._judge(step, dict(values))
    if self._plan is None:  # Of no run: its numbers are all that there is.
      super().after_evaluation(step, values)

  def after_checkpoint(self, step: int, path: str) -> None:
    self._checkpoint = (os.path.basename(path), time.monotonic())

  def close(self) -> None:
    """Leaves the last state on the terminal."""
    self._what = 'has ended'
    self._batches = None
    self._stack.close()

  def _draw(self) -> None:
    if not self._is_drawn:
      self._is_drawn = True
      self._stack.enter_context(terminal.drawn(self._drawing))

  def _judge(self, step: int, values: dict[str, float]) -> None:
    self._last = (step, values)
    if self._best is None or _is_better(values, self._best[1]):
      self._best = (step, values)

  def __rich_console__(
    self, console: rich.console.Console, options: rich.console.ConsoleOptions
  ) -> rich.console.RenderResult:
    if self._title:
      yield Text(self._title, style='bold', overflow='fold')
    if self._plan is not None:
      yield self._bar(self._plan, options.max_width)
    pairs = list(self._pairs())
    wide = options.max_width >= _WIDE
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2 if wide else 1):
      table.add_column(style='cyan', no_wrap=True)
      table.add_column(overflow='fold')
    half = (len(pairs) + 1) // 2
    if wide:
      right = [*pairs[half:], ('', '')]
      for left, other in zip(pairs[:half], right):
        table.add_row(*left, *other)
    else:
      for pair in pairs:
        table.add_row(*pair)
    yield table

  def _bar(self, plan: plan_lib.Plan, width: int) -> Table:
    total = plan.total_steps
    words = (
      f'step {self._step}/{total} ({100 * self._step / total:.1f} %)  '
      f'epoch {plan.epoch(self._step):.2f}'
    )
    bar = rich.progress.ProgressBar(total=total, completed=self._step)
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    if width < _WIDE:
      table.add_row(words)
      table.add_row(bar)
    else:
      table.add_column(no_wrap=True)
      table.add_column(ratio=1)
      table.add_row(words, bar)
    return table

  def _pairs(self) -> Iterator[tuple[str, str]]:
    """Yields names and values; the first half is of the training."""
    if self._plan is None:  # It evaluates what another process trains.
      yield 'now', self._now()
      yield 'last evaluation', _evaluation(self._last)
      return
    loop = self._loop
    values = loop.values if loop is not None else {}
    yield 'loss', _number(values.get('loss'))
    key, name = _accuracy(values)
    yield name, _percent(values.get(key))
    yield 'learning rate', _number(values.get('learning_rate'))
    yield 'images/s', _speed(loop)
    yield 'input wait', _percent(loop.input_wait if loop else None, digits=0)
    if values.get('bad_steps'):
      yield 'steps left out', f'{values["bad_steps"]:.0f}'
    yield 'ETA', self._left()
    yield 'now', self._now()
    yield 'elapsed', _duration(time.monotonic() - self._start)
    yield 'last evaluation', _evaluation(self._last)
    yield 'best evaluation', _evaluation(self._best)
    yield 'last checkpoint', self._saved()

  def _left(self) -> str:
    if self._loop is None or self._loop.seconds_left is None:
      return 'not known yet'
    # Of the loop in hand a part has gone by.
    gone = 0.0 if self._what else time.monotonic() - self._since
    return _duration(max(self._loop.seconds_left - gone, 0.0))

  def _now(self) -> str:
    idle = 'waits for a checkpoint' if self._plan is None else 'trains'
    words = self._what or idle
    if self._batches is not None:
      done, total = self._batches
      words += f' batch {done}' + (f' of {total}' if total else '')
    if self._what == 'has ended':
      return words
    return f'{words}, {_duration(time.monotonic() - self._since)}'

  def _saved(self) -> str:
    if self._checkpoint is None:
      return 'none yet'
    name, when = self._checkpoint
    return f'{name}, {_duration(time.monotonic() - when)} ago'


def _is_better(new: Mapping[str, float], old: Mapping[str, float]) -> bool:
  for key in _ACCURACIES:
    if key in new and key in old:
      return new[key] > old[key] or math.isnan(old[key])
  return new.get('loss', math.inf) < old.get('loss', math.inf)


def _accuracy(values: Mapping[str, float]) -> tuple[str, str]:
  """Returns key and name of the accuracy that there is."""
  found = (pair for pair in _ACCURACIES.items() if pair[0] in values)
  return next(found, ('top1', 'top-1'))


def _evaluation(evaluation: tuple[int, dict[str, float]] | None) -> str:
  if evaluation is None:
    return 'none yet'
  step, values = evaluation
  key, name = _accuracy(values)
  words = f'loss {_number(values.get("loss"))}'
  if key in values:
    words = f'{name} {_percent(values[key])}, {words}'
  return f'{words}, at step {step}'


def _speed(loop: listener_lib.Loop | None) -> str:
  if loop is None or loop.images_per_second is None:
    return 'not known yet'
  per_core = loop.images_per_second_per_core or 0.0
  return f'{loop.images_per_second:,.0f} ({per_core:,.0f} a core)'


def _number(value: float | None) -> str:
  return 'not known yet' if value is None else f'{value:.4g}'


def _percent(share: float | None, *, digits: int = 2) -> str:
  return 'not known yet' if share is None else f'{100 * share:.{digits}f} %'


def _duration(seconds: float | None) -> str:
  if seconds is None:
    return 'not known yet'
  return listener_lib.format_duration(seconds)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
  """Returns values that JSON can hold."""
  return {k: v if math.isfinite(v) else None for k, v in values.items()}
