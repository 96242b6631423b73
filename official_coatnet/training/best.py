"""The best checkpoint of a run by a metric, and the end of a run by patience.

Which is the best is said in `best.json` of the model_dir, after the checkpoint
itself is there: a run that is killed at any moment leaves a best one that is
whole.
"""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Mapping

import tensorflow as tf
from absl import logging

from official_coatnet.training import (
  best_file,
  checkpoint_writing,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  objective,
  run as run_lib,
)

_LOSS = 'loss'


def problems(experiment: experiment_lib.Experiment, *, mode: str) -> list[str]:
  """Says what is wrong with `best_metric` of a run that trains.

  Args:
    experiment: What is to run.
    mode: One of `controller.MODES` that trains.
  """
  metric = experiment.run.best_metric
  if metric is None:
    return []
  known = (_LOSS, *objective.metric_names(experiment.eval_data.schema))
  if metric not in known:
    return [
      f'`run.best_metric` is {metric!r}; an evaluation of this run has '
      f'{", ".join(known)} (or None to keep no best checkpoint).'
    ]
  if mode == 'train':
    return [
      f'`run.best_metric` is {metric!r}, but --mode=train evaluates nothing: '
      'take --mode=train_and_eval, or set best_metric (and '
      'early_stopping_patience) to None.'
    ]
  return []


def is_better(metric: str, new: float, *, old: float) -> bool:
  """Whether a value is better than another: lower of the loss, else higher."""
  return new < old if metric == _LOSS else new > old


def last_evaluation(model_dir: str) -> dict[str, float]:
  """Returns the metrics of the run's last own evaluation, by name."""
  lines = model_dir_lib.own_evaluations(model_dir_lib.read_metrics(model_dir))
  return {
    name.removeprefix('eval/'): value
    for name, value in (lines[-1] if lines else {}).items()
    if name.startswith('eval/')
  }


class Keeper:
  """Keeps the best checkpoint, and counts the evaluations since.

  All workers have one and decide alike, as all have the metrics of the whole:
  to save is a common act of them.
  """

  def __init__(
    self,
    this: run_lib.Run,
    checkpoint: tf.train.Checkpoint,
    *,
    global_step: tf.Variable,
    is_other: Callable[[], bool] = lambda: False,
  ):
    """Creates it. It begins with `resume`.

    Args:
      this: The run. Without `best_metric` nothing is kept.
      checkpoint: What a checkpoint of the run holds.
      global_step: Where the run is.
      is_other: Says of an evaluation whether it is on other data than the run's
        own, and does not count.
    """
    self._settings = this.experiment.run
    self._model_dir = this.model_dir
    self._total_steps = this.plan.total_steps
    self._is_chief = this.is_chief
    self._checkpoint = checkpoint
    self._global_step = global_step
    self._is_other = is_other
    self.best: best_file.Best | None = None

  def resume(self):
    """Takes up what an earlier process has found.

    Evaluations after the step of now will be made again. The best checkpoint
    may be of one of them: it stays, and is not counted against itself. That by
    another metric, or by none any more, is removed.
    """
    step = int(self._global_step.numpy())
    best = best_file.read(self._model_dir) if step else None
    if best is not None and best.metric != self._settings.best_metric:
      logging.warning(
        'The best checkpoint of %s is that by %r; from now on it is looked for '
        'by %r.',
        self._model_dir,
        best.metric,
        self._settings.best_metric,
      )
      best = None
    if best is not None:
      later = tuple(s for s in best.later if s <= step)
      best = dataclasses.replace(best, later=later)
    elif self._is_chief:
      best_file.remove(self._model_dir)
    self.best = best

  def should_stop(self) -> bool:
    """Whether enough evaluations were no better; logs it, too."""
    patience, best = self._settings.early_stopping_patience, self.best
    step = int(self._global_step.numpy())
    if patience is None or best is None or len(best.later) < patience:
      return False
    if step >= self._total_steps:
      return False
    logging.info(
      'Early stopping at step %d of %d: of %d evaluations in a row none was '
      'better than %s.',
      step,
      self._total_steps,
      len(best.later),
      self,
    )
    return True

  def after_evaluation(self, output: Mapping[str, float]):
    """Saves the checkpoint if it is the best; counts the evaluation if not.

    Args:
      output: Metrics of an evaluation at the step of now.
    """
    metric, best = self._settings.best_metric, self.best
    if metric is None or self._is_other():
      return
    step = int(self._global_step.numpy())
    value = float(output[metric])
    if best is None or is_better(metric, value, old=best.value):
      # Another metric may be a number where the loss is none.
      if math.isfinite(value) and math.isfinite(output.get(_LOSS, value)):
        self._save(best_file.Best(metric, value, step))
    elif step > best.step and step not in best.later:
      self.best = dataclasses.replace(best, later=(*best.later, step))
      if self._is_chief:
        best_file.write(self._model_dir, self.best)

  def _save(self, best: best_file.Best):
    self.best = best
    if not self._is_chief:
      # A part of the common act, which nobody reads.
      with tempfile.TemporaryDirectory(prefix='coatnet_worker_') as folder:
        self._checkpoint.write(os.path.join(folder, best_file.NAME))
      return
    prefix = best_file.prefix(self._model_dir, best.step)
    checkpoint_writing.write_whole(self._checkpoint, prefix)
    best_file.write(self._model_dir, best)
    best_file.remove(self._model_dir, but=best.step)
    logging.info('Best so far: %s.', self)

  def __str__(self) -> str:
    if self.best is None:
      return 'none'
    name = f'{best_file.NAME}-{self.best.step}'
    return f'{self.best.metric} {self.best.value:.4g} ({name})'
