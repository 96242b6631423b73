"""Where orbit 2.15 does not do what a run needs: one class, one function."""

import contextlib
from collections.abc import Callable, Iterator

import orbit
import tensorflow as tf
from absl import logging

from official_coatnet import files


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
  """orbit's controller, but for its events and two ends of a run.

  A run that is resumed at its last step: there orbit's `train_and_evaluate`
  saves a second time what it has restored, and does not evaluate, so that a run
  killed in its last evaluation would end without.

  And one that ends before: after an evaluation `should_stop` is asked, and if
  it says so, a checkpoint is saved and the evaluation is the last.
  """

  def __init__(
    self,
    *,
    global_step: tf.Variable,
    summary_dir: str | None = None,
    eval_summary_dir: str | None = None,
    should_stop: Callable[[], bool] | None = None,
    **kwargs,
  ):
    super().__init__(global_step=global_step, **kwargs)
    # orbit takes those that are given to it for others here and there.
    self.summary_manager = Summaries(summary_dir, global_step=global_step)
    self.eval_summary_manager = Summaries(
      eval_summary_dir, global_step=global_step
    )
    self._should_stop = should_stop

  def train_and_evaluate(self, train_steps, eval_steps=-1, eval_interval=None):
    if self.global_step.numpy() >= train_steps:
      return super().evaluate(eval_steps)
    try:
      return super().train_and_evaluate(train_steps, eval_steps, eval_interval)
    except _StopError as stopped:
      self.save_checkpoint()
      return stopped.output

  def evaluate(self, steps=-1):
    output = super().evaluate(steps)
    if self._should_stop is not None and self._should_stop():
      raise _StopError(output)
    return output


@contextlib.contextmanager
def speaks_once() -> Iterator[None]:
  """Within this context orbit's messages go to the log alone.

  orbit 2.15 logs each of its messages and prints it as well; what it says of
  loops and evaluations, `reporting.Reporter` says shorter.
  """

  def log(message: str):
    if 'output:' not in message:
      logging.info('%s', message.strip())

  original = orbit.controller._log
  orbit.controller._log = log
  try:
    yield
  finally:
    orbit.controller._log = original
