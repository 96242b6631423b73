"""The clock of a run: its speed, its core-hours, and where its time goes."""

import contextlib
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from official_coatnet.training import goodput


class Clock(tf.Module):
  """Measures training loops and keeps core-hours across restarts.

  The first loop of a process compiles the step; it counts towards core-hours
  but not towards the speed. Evaluations and checkpoints do not count towards
  either; the ledger has them.

  Attributes:
    ledger: Where all of the time goes.
  """

  def __init__(
    self,
    *,
    num_cores: int,
    batch_size: int,
    now: Callable[[], float] = time.monotonic,
    started: float | None = None,
  ):
    """Creates a clock at zero.

    Args:
      num_cores: Cores that train.
      batch_size: Images of a step, over all cores.
      now: Returns seconds; a test's own.
      started: As of `goodput.Ledger`.
    """
    super().__init__(name='clock')
    self._num_cores = num_cores
    self._batch_size = batch_size
    self._now = now
    self._compiled = False
    self._timed_steps = 0
    self._timed_seconds = 0.0
    self._timed_wait = 0.0
    # Steps and seconds of the last loop.
    self._last: tuple[int, float] | None = None
    # Steps of the loop with compilation, until it is known what they took.
    self._first_steps = 0
    # Seconds in which the host waited for images, in the last loop.
    self._waited: float | None = None
    self.ledger = goodput.Ledger(now=now, started=started)
    # Part of the checkpoint, so that a resumed run goes on counting.
    self._core_seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

  @contextlib.contextmanager
  def training(self, num_steps: int) -> Iterator[None]:
    """Times a loop of `num_steps` steps, which ends when they have ended."""
    self._waited = None
    name = goodput.STEP if self._compiled else goodput.COMPILATION
    start = self._now()
    with self.ledger.within(name):
      yield
    seconds = self._now() - start
    self.ledger.starts_up_no_longer()
    self._core_seconds.assign_add(seconds * self._num_cores)
    self.ledger.move(
      self._waited or 0.0, source=name, target=goodput.INPUT_WAIT
    )
    if self._compiled:
      self._timed_steps += num_steps
      self._timed_seconds += seconds
      self._timed_wait += self._waited or 0.0
      self._last = (num_steps, seconds)
      self._take_out_of_compilation()
    else:
      self._first_steps = num_steps
    self._compiled = True

  def _take_out_of_compilation(self) -> None:
    """Counts the steps of the first loop as such, once their time is known."""
    if self._last is None:
      return
    steps, seconds = self._last
    each = (seconds - (self._waited or 0.0)) / max(steps, 1)
    first_steps, self._first_steps = self._first_steps, 0
    self.ledger.move(
      first_steps * each,
      source=goodput.COMPILATION,
      target=goodput.STEP,
    )

  def waited(self, seconds: float) -> None:
    """Takes note of how long the loop in hand has waited for images."""
    self._waited = seconds

  def input_wait(self) -> float | None:
    """Share of the last loop that went by in waiting; None if not known."""
    if self._last is None or self._waited is None:
      return None
    return min(self._waited / max(self._last[1], 1e-9), 1.0)

  @property
  def num_cores(self) -> int:
    """Cores that train."""
    return self._num_cores

  def advice(self) -> str | None:
    """As `goodput.advice`, of what this process has trained.

    Without its first loop: to fill a shuffle buffer takes time, once.
    """
    wait = min(self._timed_wait, self._timed_seconds)
    return goodput.advice(
      {goodput.STEP: self._timed_seconds - wait, goodput.INPUT_WAIT: wait}
    )

  @contextlib.contextmanager
  def kept(self) -> Iterator[None]:
    """Within it a checkpoint may be restored: core-hours stay as they are."""
    seconds = self._core_seconds.numpy()
    yield
    self._core_seconds.assign(seconds)

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
