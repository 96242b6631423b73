"""Where orbit 2.15 does not do what a run needs: one class, one function."""

import contextlib
from collections.abc import Iterator

import orbit
from absl import logging


class Controller(orbit.Controller):
  """orbit's controller, but for a run that is resumed at its last step.

  There orbit's `train_and_evaluate` saves a second time what it has restored,
  and does not evaluate: a run killed in its last evaluation would end without.
  """

  def train_and_evaluate(self, train_steps, eval_steps=-1, eval_interval=None):
    if self.global_step.numpy() >= train_steps:
      return self.evaluate(eval_steps)
    return super().train_and_evaluate(train_steps, eval_steps, eval_interval)


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
