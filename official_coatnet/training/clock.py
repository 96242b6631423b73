"""The clock of a run: training time without compilation, evaluation, saving."""

import contextlib
import time
from collections.abc import Callable, Iterator

import tensorflow as tf


class Clock(tf.Module):
  """Measures training loops and keeps core-hours across restarts.

  The first loop of a process compiles the step; it counts towards core-hours
  but not towards the speed. Evaluations and checkpoints are not timed at all.
  """

  def __init__(
    self,
    *,
    num_cores: int,
    batch_size: int,
    now: Callable[[], float] = time.monotonic,
  ):
    """Creates a clock at zero.

    Args:
      num_cores: Cores that train.
      batch_size: Images of a step, over all cores.
      now: Returns seconds; a test's own.
    """
    super().__init__(name='clock')
    self._num_cores = num_cores
    self._batch_size = batch_size
    self._now = now
    self._compiled = False
    self._timed_steps = 0
    self._timed_seconds = 0.0
    self._last = None
    # Part of the checkpoint, so that a resumed run goes on counting.
    self._core_seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

  @contextlib.contextmanager
  def training(self, num_steps: int) -> Iterator[None]:
    """Times a loop of `num_steps` steps, which ends when they have ended."""
    start = self._now()
    yield
    seconds = self._now() - start
    self._core_seconds.assign_add(seconds * self._num_cores)
    if self._compiled:
      self._timed_steps += num_steps
      self._timed_seconds += seconds
      self._last = (num_steps, seconds)
    self._compiled = True

  @property
  def core_hours(self) -> float:
    """Core-hours of training since the run's first step."""
    return float(self._core_seconds.numpy()) / 3600

  def images_per_second(self) -> float | None:
    """Speed of the last loop over all cores; None in the first loop."""
    if self._last is None:
      return None
    steps, seconds = self._last
    return steps * self._batch_size / max(seconds, 1e-9)

  def images_per_second_per_core(self) -> float | None:
    """Speed of the last loop on one core; None in the first loop."""
    speed = self.images_per_second()
    return None if speed is None else speed / self._num_cores

  def seconds_left(self, remaining_steps: int) -> float | None:
    """Training time of so many steps at the mean speed; None if unknown."""
    if not self._timed_steps:
      return None
    return remaining_steps * self._timed_seconds / self._timed_steps


def format_duration(seconds: float) -> str:
  """Writes a duration as people do: '42 s', '3 min 20 s', '2 h 5 min'."""
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds} s'
  minutes, seconds = divmod(seconds, 60)
  if minutes < 60:
    return f'{minutes} min {seconds} s'
  hours, minutes = divmod(minutes, 60)
  return f'{hours} h {minutes} min'
