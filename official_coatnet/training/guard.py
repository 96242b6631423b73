"""What becomes of a run whose steps or results are not finite.

`watch` leaves such steps out, on the device. Here, on the host, it is decided
after each loop whether the run goes on, goes back to a checkpoint, or stops.
"""

import math
from collections.abc import Callable, Mapping

from absl import logging

from official_coatnet.training import (
  experiment as experiment_lib,
  plan as plan_lib,
  watch as watch_lib,
)

_SHOWN = 5


class BadStepsError(FloatingPointError):
  """Steps of a run are not finite, and it does not go on."""


class NonFiniteWeightsError(FloatingPointError):
  """Weights are not finite, and are not to be kept or given away."""


class NonFiniteEvaluationError(FloatingPointError):
  """The loss of an evaluation is not finite."""


class Guard:
  """Decides after each loop of a run. Its method is an orbit action.

  It comes before orbit saves a checkpoint: none is of a run that stops here.
  """

  def __init__(
    self,
    watch: watch_lib.Watch,
    *,
    settings: experiment_lib.RunConfig,
    plan: plan_lib.Plan,
    ruined: Callable[[], list[str]],
    restore: Callable[[], str | None],
    last_good: Callable[[], str],
  ):
    """Takes what it decides by.

    Args:
      watch: Of the trainer.
      settings: Of the run.
      plan: Of the run.
      ruined: Returns the names of the weights that are not finite.
      restore: Restores the last good checkpoint at the step where the run is,
        and returns its path; None if there is none.
      last_good: Says how a run that has stopped goes on.
    """
    self._watch = watch
    self._settings = settings
    self._plan = plan
    self._ruined = ruined
    self._restore = restore
    self._last_good = last_good
    self._has_restored = False

  def after_training_loop(self, output: Mapping[str, float]):
    """Says what was left out, and goes back or stops if it was too much.

    Raises:
      BadStepsError: If the run is not to go on.
    """
    del output
    found = self._watch.found()
    if not found.count:
      return
    words = self._describe(found)
    allowed = self._settings.max_bad_steps
    if found.in_a_row <= allowed:
      logging.warning(
        '%s Such steps in this loop: %d; in a row: %d, which '
        'RunConfig.max_bad_steps = %d allows.',
        words,
        found.count,
        found.in_a_row,
        allowed,
      )
      return
    if allowed and not self._has_restored:
      path = self._restore()
      if path is not None:
        self._has_restored = True
        self._watch.end_row()
        logging.warning(
          '%s %s The weights of %s are restored, once; the run goes on with '
          'the data that follow.',
          words,
          self._excess(found),
          path,
        )
        return
    raise BadStepsError(f'{words} {self._stop_words(found)}'.rstrip())

  def _describe(self, found: watch_lib.Found) -> str:
    """Says which step is not sound, and by what."""
    limit = self._settings.max_loss
    is_finite = math.isfinite(found.loss) and math.isfinite(found.gradient_norm)
    words = f'Step {found.step} of {self._plan.total_steps} '
    if is_finite and limit is not None and found.loss > limit:
      return (
        f'{words}changed nothing: the loss of its batch, {found.loss:.6g}, is '
        f'above RunConfig.max_loss = {limit}.'
      )
    words += (
      'is not finite and changed nothing: the loss of its batch is '
      f'{found.loss:.6g}, the norm of its gradient {found.gradient_norm:.6g}'
    )
    if found.variable is not None:
      return f'{words}; the first variable to show it is {found.variable}.'
    if is_finite:
      return (
        f'{words}, but with such a learning rate (or so low an '
        'OptimizerConfig.epsilon) its update may not be.'
      )
    return f'{words}.'

  def _excess(self, found: watch_lib.Found) -> str:
    return (
      f'That makes {found.in_a_row} such steps in a row, more than '
      f'RunConfig.max_bad_steps = {self._settings.max_bad_steps}.'
    )

  def _stop_words(self, found: watch_lib.Found) -> str:
    allowed = self._settings.max_bad_steps
    parts = []
    if allowed:
      parts.append(self._excess(found))
    if self._has_restored:
      parts.append('A checkpoint was restored before, which has not helped.')
    parts.append('The run stops.')
    if ruined := self._ruined():
      parts.append(
        'The weights that it has are not finite themselves: '
        f'{shorten(ruined)}. It began with them, or they were changed from '
        'outside; start from other ones.'
      )
    parts.append(
      'The usual remedies are a lower OptimizerConfig.peak_learning_rate, a '
      f'longer warm-up (now {self._plan.warmup_steps} steps) and gradients '
      'that are clipped (OptimizerConfig.clip_norm = 1.0).'
    )
    if not allowed:
      parts.append(
        'RunConfig.max_bad_steps = 3 would leave out up to three such steps '
        'in a row.'
      )
    parts.append(self._last_good())
    return ' '.join(parts)


def check_evaluation(output: Mapping[str, float]):
  """Refuses the result of an evaluation that is not finite. An orbit action.

  Args:
    output: Its metrics.

  Raises:
    NonFiniteEvaluationError: If the loss is not finite.
  """
  loss = float(output['loss'])
  if not math.isfinite(loss):
    raise NonFiniteEvaluationError(
      f'The loss of the evaluation is {loss}, over {output["examples"]:.0f} '
      'images: the weights, or what the network computes with them, are not '
      'finite. Evaluate an earlier checkpoint, or with ModelConfig.dtype = '
      "'float32' if it is bfloat16 that overflows."
    )


def check_weights(ruined: list[str], *, what: str):
  """Refuses weights that are not finite.

  Args:
    ruined: Names of those that are not.
    what: What is not done with them, the beginning of a sentence.

  Raises:
    NonFiniteWeightsError: If there are any.
  """
  if ruined:
    raise NonFiniteWeightsError(
      f'{what}: numbers in it are not finite, in {shorten(ruined)}. Take an '
      'earlier checkpoint.'
    )


def shorten(names: list[str]) -> str:
  """Returns the first names, and how many more there are."""
  rest = len(names) - _SHOWN
  shown = ', '.join(names[:_SHOWN])
  return f'{shown} and {rest} more' if rest > 0 else shown
