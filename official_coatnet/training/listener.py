"""How a run tells what it does while it goes.

The library does not print. Who calls it hands a `Listener` down, which draws
what it hears, or sends it elsewhere; the one here writes lines into the log.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from official_coatnet.training import plan as plan_lib


@dataclasses.dataclass(frozen=True)
class Loop:
  """A training loop that has ended.

  Attributes:
    step: Steps of the run so far.
    epoch: Likewise.
    plan: Of the run.
    values: Mean loss, metrics and whatever else goes to metrics.jsonl.
    images_per_second: Over all cores; None in the first loop, which compiles.
    images_per_second_per_core: Likewise on one.
    input_wait: Share of the loop in which the host waited for images; None if
      it was not measured.
    seconds_left: Of training, to the last step; None if not known yet.
  """

  step: int
  epoch: float
  plan: plan_lib.Plan
  values: Mapping[str, float]
  images_per_second: float | None = None
  images_per_second_per_core: float | None = None
  input_wait: float | None = None
  seconds_left: float | None = None

  def __str__(self) -> str:
    total = self.plan.total_steps
    parts = [
      f'step {self.step}/{total} ({100 * self.step / total:.1f} %)',
      f'epoch {self.epoch:.2f}',
      format_metrics(self.values),
    ]
    if self.images_per_second is None:
      parts.append('first loop, with compilation')
    else:
      parts.append(
        f'{self.images_per_second:.0f} images/s '
        f'({self.images_per_second_per_core:.0f}/s/core)'
      )
    if self.input_wait is not None:
      parts.append(f'input wait {100 * self.input_wait:.0f} %')
    if self.seconds_left is not None:
      parts.append(f'ETA {format_duration(self.seconds_left)}')
    return ' | '.join(parts)


class Listener:
  """Hears what a run does. This one tells the log, where others may show it."""

  def begin(
    self,
    plan: plan_lib.Plan,
    *,
    title: str,
    step: int,
    evaluations: Sequence[Mapping[str, Any]],
  ) -> None:
    """Hears what the run is, before its first step.

    Args:
      plan: Of the run.
      title: Network, devices and folder.
      step: At which it begins.
      evaluations: Its own up to now, lines of metrics.jsonl.
    """

  def does(self, what: str) -> None:
    """Hears what it does now, such as 'evaluates'; '' for: it trains."""

  def after_loop(self, loop: Loop) -> None:
    """Hears of a loop of training steps."""
    logging.info('%s', loop)

  def evaluates(self, done: int, total: int | None) -> None:
    """Hears how many batches of an evaluation are done, of how many."""

  def after_evaluation(self, step: int, values: Mapping[str, float]) -> None:
    """Hears the results of an evaluation."""
    logging.info('evaluated at step %d: %s', step, format_metrics(values))

  def after_checkpoint(self, step: int, path: str) -> None:
    """Hears of a checkpoint that is whole."""
    del step
    logging.info('saved checkpoint to %s.', path)


def format_metrics(values: Mapping[str, float]) -> str:
  """Writes metrics as 'loss 0.71, top1 0.83'."""
  # That no step was left out is in metrics.jsonl alone.
  shown = (
    k
    for k in values
    if not k.startswith(('images_per_second', 'goodput/'))
    and (k != 'bad_steps' or values[k])
  )
  return ', '.join(f'{k} {values[k]:.4g}' for k in shown)


def format_duration(seconds: float) -> str:
  """Writes a duration as people do: '42 s', '3 min 20 s', '2 h 5 min'."""
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds} s'
  minutes, seconds = divmod(seconds, 60)
  if minutes < 60:
    return f'{minutes} min {seconds} s'
  hours, minutes = divmod(minutes, 60)
  if hours < 48:
    return f'{hours} h {minutes} min'
  days, hours = divmod(hours, 24)
  return f'{days} d {hours} h'
