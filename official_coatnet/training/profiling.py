"""A trace of some steps of a run, for TensorBoard's profiler and XProf."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from absl import logging


class Profile:
  """Traces the training loops that hold a window of steps.

  A trace begins and ends between two loops, and has what lies between them too,
  such as an evaluation.
  """

  def __init__(self, first: int, last: int, *, folder: str):
    """Takes the window; nothing is traced yet.

    Args:
      first: The first step to trace, from 1 on.
      last: The last one.
      folder: Of events; the trace goes to plugins/profile in it.
    """
    self._first, self._last = first, last
    self._folder = folder
    self._since: int | None = None
    self._is_done = False

  @contextlib.contextmanager
  def loop(self, step: int, num_steps: int) -> Iterator[None]:
    """Surrounds a loop of steps after `step`; traces it, if it is its turn."""
    end = step + num_steps
    if not self._is_done and self._since is None and end >= self._first:
      self._start(step)
    if self._since is None:
      yield
    else:
      # What is called train... and marked so is a step to the profiler, of
      # which it says what it waits for.
      with tf.profiler.experimental.Trace('train', step_num=end, _r=1):
        yield
    if self._since is not None and end >= self._last:
      self._stop(end)

  def close(self) -> None:
    """Writes a trace that is under way, of a run that ends."""
    if self._since is not None:
      tf.profiler.experimental.stop()
      self._since = None
      logging.warning(
        'The run has ended before step %d: the trace in %s ends earlier, too.',
        self._last,
        self._folder,
      )

  def _start(self, step: int) -> None:
    if step >= self._last:
      self._is_done = True
      logging.warning(
        '--profile=%d:%d: no trace, since the run is at step %d already.',
        self._first,
        self._last,
        step,
      )
      return
    tf.profiler.experimental.start(self._folder)
    self._since = step + 1

  def _stop(self, end: int) -> None:
    tf.profiler.experimental.stop()
    since, self._since, self._is_done = self._since, None, True
    asked = (self._first, self._last)
    note = ''
    if (since, end) != asked:
      note = (
        f' Asked for were {asked[0]} to {asked[1]}; it begins and ends between '
        'loops (RunConfig.steps_per_loop).'
      )
    logging.info(
      'Traced: steps %d to %d, in %s.%s', since, end, self._folder, note
    )
