"""Where orbit does not do what a run needs: one class, one function."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import orbit
import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.training import (
  goodput,
  listener as listener_lib,
  stop as stop_lib,
)


class _StopError(Exception):
  """Leaves orbit's loop, which has no other end than the last step."""

  def __init__(self, output):
    super().__init__()
    self.output = output


class Summaries(orbit.utils.SummaryManager):
  """orbit's events for TensorBoard, without which a run goes on.

  Where they cannot be written, that is a warning.
  """

  def __init__(self, summary_dir: str | None, *, global_step: tf.Variable):
    super().__init__(summary_dir, tf.summary.scalar, global_step=global_step)
    self._best_effort = files.BestEffort(summary_dir or '')

  def summary_writer(self, relative_path=''):
    with self._best_effort():
      return super().summary_writer(relative_path)
    return tf.summary.create_noop_writer()

  def flush(self):
    with self._best_effort():
      super().flush()

  def write_summaries(self, summary_dict):
    with self._best_effort():
      super().write_summaries(summary_dict)


class Controller(orbit.Controller):
  """orbit's controller, but for where a run evaluates and how it ends.

  It evaluates at the multiples of the interval and at the last step, wherever
  it has resumed; orbit counts the interval from there. Resumed at its last
  step it evaluates, and saves nothing; orbit's `train_and_evaluate` saves a
  second time what it has restored, and does not evaluate.

  And it may end before the last step. After an evaluation `should_stop` is
  asked, and if it says so, a checkpoint is saved and the evaluation is the
  last. After each loop `stop` is asked, from the first one on, and by the
  evaluator: then a checkpoint is saved, if there is none of this step, and a
  StoppedError raised.
  """

  def __init__(
    self,
    *,
    global_step: tf.Variable,
    summary_dir: str | None = None,
    eval_summary_dir: str | None = None,
    should_stop: Callable[[], bool] | None = None,
    stop: stop_lib.Stop | None = None,
    after_stop: Callable[[], None] = lambda: None,
    ledger: goodput.Ledger | None = None,
    listener: listener_lib.Listener | None = None,
    around_loop: Callable[[int, int], AbstractContextManager] | None = None,
    **kwargs,
  ):
    """Creates it, and restores the latest checkpoint.

    Args:
      global_step: Where the run is.
      summary_dir: Folder of the events of its training; None for no events.
      eval_summary_dir: Of its evaluations.
      should_stop: Whether the last evaluation was the last of all.
      stop: Says when somebody wants the run to end.
      after_stop: Called when all is saved that is to be, and the run ends.
      ledger: Counts what evaluations and checkpoints take.
      listener: Hears of them.
      around_loop: Makes what surrounds a loop, of its first step's predecessor
        and its number of steps.
      **kwargs: Of orbit's.
    """
    super().__init__(global_step=global_step, **kwargs)
    # orbit takes those that are given to it for others here and there.
    self.summary_manager = Summaries(summary_dir, global_step=global_step)
    self.eval_summary_manager = Summaries(
      eval_summary_dir, global_step=global_step
    )
    self._ledger = ledger or goodput.Ledger()
    self._listener = listener or listener_lib.Listener()
    self._around_loop = around_loop or (lambda step, steps: nullcontext())
    self._should_stop = should_stop
    self._stop = stop or stop_lib.Stop()
    self._after_stop = after_stop
    # What was restored is saved.
    self._saved_step = self._step()

  def restore_checkpoint(self, checkpoint_path=None):
    # orbit of Model Garden 2.20 takes TensorFlow's manager alone.
    with self.strategy.scope():
      if checkpoint_path is not None:
        self.checkpoint_manager.checkpoint.restore(checkpoint_path)
        return checkpoint_path
      return self.checkpoint_manager.restore_or_initialize()

  def _step(self) -> int:
    return int(self.global_step.numpy())

  def train(self, steps, checkpoint_at_completion=True):
    with self._saves_when_stopped():
      super().train(steps, checkpoint_at_completion)
      self._finish_saves()

  def train_and_evaluate(
    self, train_steps, eval_steps=-1, eval_interval=None, *, evaluates_now=False
  ):
    """Trains and evaluates in turn.

    Args:
      train_steps: The last step.
      eval_steps: As of orbit's.
      eval_interval: Steps between evaluations; None for one at the end.
      evaluates_now: Whether to begin with an evaluation.

    Returns:
      The metrics of the last evaluation.
    """
    interval = eval_interval or train_steps
    with self._saves_when_stopped():
      if self._step() >= train_steps:
        with self._ledger.within(goodput.EVALUATION):
          return super().evaluate(eval_steps)
      try:
        if evaluates_now:
          self.evaluate(eval_steps)
        while (step := self._step()) < train_steps:
          following = (step // interval + 1) * interval
          super().train(min(following, train_steps), False)
          output = self.evaluate(eval_steps)
        self._maybe_save_checkpoint(check_interval=False)
      except _StopError as stopped:
        self.save_checkpoint()
        output = stopped.output
      self._finish_saves()
    return output

  def evaluate(self, steps=-1):
    self._listener.does('evaluates')
    with self._ledger.within(goodput.EVALUATION):
      output = super().evaluate(steps)
    self._listener.does('')
    if self._should_stop is not None and self._should_stop():
      raise _StopError(output)
    return output

  def _train_n_steps(self, num_steps):
    with self._around_loop(self._step(), num_steps):
      super()._train_n_steps(num_steps)
    self._tell_saves()
    # The first loop compiles; before it has ended, nothing can be lost.
    self._stop.begin()
    self._stop.check()

  def _maybe_save_checkpoint(self, check_interval=True):
    with self._ledger.within(goodput.CHECKPOINT):
      is_saved = super()._maybe_save_checkpoint(check_interval)
    if is_saved:
      self._saved_step = self._step()
    self._tell_saves()
    return is_saved

  def _tell_saves(self):
    """Hears of saves that have ended beside the run, and of their errors."""
    for step, path in self.checkpoint_manager.take_finished():
      self._listener.after_checkpoint(step, path)

  def _sync_on_async_checkpointing(self):
    # orbit calls it before evaluations, too, which can go on beside a save.
    self._tell_saves()

  def _finish_saves(self):
    with self._ledger.within(goodput.CHECKPOINT):
      self.checkpoint_manager.sync()
    self._tell_saves()

  @contextlib.contextmanager
  def _saves_when_stopped(self) -> Iterator[None]:
    """Saves what a StoppedError finds; the error has the step then."""
    try:
      yield
    except stop_lib.StoppedError as stopped:
      step = self._step()
      if self._saved_step != step:
        self.save_checkpoint()
      self._finish_saves()
      self._after_stop()
      raise stop_lib.StoppedError(stopped.reason, step) from None


@contextlib.contextmanager
def speaks_once() -> Iterator[None]:
  """Within this context orbit's messages are for who looks for faults.

  orbit 2.15 logs each of its messages and prints it as well; a
  `listener.Listener` hears all of it, and says it shorter.
  """

  def log(message: str):
    if 'output:' not in message:
      logging.debug('%s', message.strip())

  original = orbit.controller._log
  orbit.controller._log = log
  try:
    yield
  finally:
    orbit.controller._log = original
