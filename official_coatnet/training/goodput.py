"""Where the wall time of a run goes, over all its restarts.

Every second since the run was first started is in one of `NAMES`, and their sum
is `goodput/total`. They stand in the training lines of metrics.jsonl, so that a
process that resumes goes on from there; docs/training.md says what each is, and
what ML Goodput calls it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

PREFIX = 'goodput/'
# Training steps: all that the run is for.
STEP = 'step'
INPUT_WAIT = 'input_wait'
EVALUATION = 'evaluation'
CHECKPOINT = 'checkpoint'
COMPILATION = 'compilation'
STARTUP = 'startup'
RESTORE = 'restore'
# Between the end of a process and the start of the next one.
RESTART = 'restart'
# What a resumed run does again.
LOST = 'lost'
OTHER = 'other'
NAMES = (
  STEP,
  INPUT_WAIT,
  EVALUATION,
  CHECKPOINT,
  COMPILATION,
  STARTUP,
  RESTORE,
  RESTART,
  LOST,
  OTHER,
)
# What is lost where a run goes back behind it.
_PROGRESS = (STEP, INPUT_WAIT, EVALUATION)
_TIME = f'{PREFIX}time'
# How many train in all that time.
CORES = f'{PREFIX}cores'
# 1 if they are of a TPU v3, by whose core-days the paper counts.
TPU_V3 = f'{PREFIX}tpu_v3'
# Steps that wait so much of their time are worth a word, after some time.
_MUCH = 0.15
_ENOUGH_SECONDS = 30.0


class Ledger:
  """Charges each second to one name: to the innermost `within`, or `OTHER`."""

  def __init__(
    self,
    *,
    now: Callable[[], float] = time.monotonic,
    date: Callable[[], float] = time.time,
    started: float | None = None,
  ):
    """Begins to count.

    Args:
      now: Returns seconds; a test's own.
      date: Returns the seconds of the world's clock; a test's own.
      started: When the process began, by `date`; now, if None. The time since
        then is `STARTUP`.
    """
    self._now, self._date = now, date
    self._seconds = dict.fromkeys(NAMES, 0.0)
    self._started = date() if started is None else started
    self._charge_to = STARTUP
    self._mark = now() - max(date() - self._started, 0.0)

  def _charge(self) -> None:
    now = self._now()
    self._seconds[self._charge_to] += now - self._mark
    self._mark = now

  @contextlib.contextmanager
  def within(self, name: str) -> Iterator[None]:
    """Charges what happens within it to `name`."""
    self._charge()
    outer, self._charge_to = self._charge_to, name
    try:
      yield
    finally:
      self._charge()
      self._charge_to = outer

  def starts_up_no_longer(self) -> None:
    """From now on, what has no name is `OTHER`."""
    self._charge()
    if self._charge_to == STARTUP:
      self._charge_to = OTHER

  def move(self, seconds: float, *, source: str, target: str) -> None:
    """Charges to `target` what was charged to `source`, as far as there is."""
    self._charge()
    seconds = min(max(seconds, 0.0), self._seconds[source])
    self._seconds[source] -= seconds
    self._seconds[target] += seconds

  def resume(
    self,
    lines: Sequence[Mapping[str, Any]],
    *,
    step: int,
    last_sign: float | None = None,
  ) -> None:
    """Goes on from what earlier processes of the run have counted.

    Args:
      lines: Of metrics.jsonl, with those that the run will write again.
      step: Of the checkpoint where it goes on.
      last_sign: When an earlier process was last known to run, by `date`, if
        that is known: it may have gone on after its last line.
    """
    counted = [line for line in lines if line.get(_TIME) is not None]
    if not counted:
      return
    last = counted[-1]
    kept = [line for line in counted if line['step'] <= step]
    seconds = {name: float(last.get(PREFIX + name) or 0) for name in NAMES}
    for name in _PROGRESS:
      reached = float(kept[-1].get(PREFIX + name) or 0) if kept else 0.0
      seconds[LOST] += max(seconds[name] - reached, 0.0)
      seconds[name] = min(reached, seconds[name])
    ended = float(last[_TIME])
    sign = min(max(last_sign or 0.0, ended), max(self._started, ended))
    seconds[LOST] += sign - ended  # Of a loop of which there is no line.
    seconds[RESTART] += max(self._started - sign, 0.0)
    for name in NAMES:
      self._seconds[name] += seconds[name]

  def seconds(self) -> dict[str, float]:
    """Returns the seconds of each of `NAMES` up to now."""
    self._charge()
    return dict(self._seconds)

  def line(self) -> dict[str, float]:
    """Returns what goes into a line of metrics.jsonl."""
    seconds = self.seconds()
    values = {name: round(seconds[name], 3) for name in NAMES}
    values['total'] = round(sum(seconds.values()), 3)
    values = {f'{PREFIX}{name}': value for name, value in values.items()}
    return {**values, _TIME: round(self._date(), 3)}


def of_lines(lines: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
  """Returns the seconds of each of `NAMES` by the last line that has them.

  Args:
    lines: Of metrics.jsonl.

  Returns:
    None for a run of an earlier version, which has not counted.
  """
  counted = [line for line in lines if line.get(_TIME) is not None]
  if not counted:
    return None
  return {name: float(counted[-1].get(PREFIX + name) or 0) for name in NAMES}


def advice(seconds: Mapping[str, float]) -> str | None:
  """Says what to do where steps wait for images; None where they do not.

  Args:
    seconds: As of `of_lines`.
  """
  waited = seconds[INPUT_WAIT]
  trained = waited + seconds[STEP]
  if trained < _ENOUGH_SECONDS or waited < _MUCH * trained:
    return None
  return (
    f'Input-bound: the step waits {100 * waited / trained:.0f} % of its time '
    'for images. What helps: more workers (`DataConfig.data_service`), a '
    'smaller RandAugment (`DataConfig.randaugment`), or a faster disk.'
  )
