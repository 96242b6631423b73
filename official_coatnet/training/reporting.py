"""What a run tells while it goes: its clock, progress lines and metrics.

TensorBoard events come from orbit.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging

from official_coatnet.modeling import complexity
from official_coatnet.training import (
  devices,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  plan as plan_lib,
)


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
    # Steps and seconds of the last loop.
    self._last: tuple[int, float] | None = None
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


class Reporter:
  """Writes progress and metrics after each training loop and evaluation.

  Its two methods are orbit actions.

  Attributes:
    evaluates_otherwise: Whether evaluations are on other data, or with other
      settings, than those of the run; their lines say so.
  """

  def __init__(
    self,
    *,
    plan: plan_lib.Plan,
    clock: Clock,
    global_step: tf.Variable,
    metrics_file: model_dir_lib.MetricsFile,
  ):
    """Takes what it reports of.

    Args:
      plan: Of the run.
      clock: That times its loops.
      global_step: Its step.
      metrics_file: Where metrics go.
    """
    self._plan = plan
    self._clock = clock
    self._global_step = global_step
    self._file = metrics_file
    self.evaluates_otherwise = False

  def after_training_loop(self, output: dict[str, float]):
    """Logs a training loop, and writes its metrics."""
    step = int(self._global_step.numpy())
    values = {k: float(v) for k, v in output.items()}
    self._write(step, {f'train/{k}': v for k, v in values.items()})
    logging.info('%s', self._progress(step, values))

  def after_evaluation(self, output: dict[str, float]):
    """Logs an evaluation, and writes its metrics."""
    step = int(self._global_step.numpy())
    values = {k: float(v) for k, v in output.items()}
    line = {f'eval/{k}': v for k, v in values.items()}
    if self.evaluates_otherwise:
      line[model_dir_lib.OTHER_EVALUATION] = 1.0
    self._write(step, line)
    logging.info('evaluated at step %d: %s', step, _format_metrics(values))

  def _write(self, step, values):
    epoch = round(self._plan.epoch(step), 4)
    self._file.write(step, {'epoch': epoch, **values})

  def _progress(self, step: int, values: dict[str, float]) -> str:
    plan = self._plan
    parts = [
      f'step {step}/{plan.total_steps} ({100 * step / plan.total_steps:.1f} %)',
      f'epoch {plan.epoch(step):.2f}',
      _format_metrics(values),
    ]
    speed = self._clock.images_per_second()
    if speed is None:
      parts.append('first loop, with compilation')
    else:
      per_core = self._clock.images_per_second_per_core()
      parts.append(f'{speed:.0f} images/s ({per_core:.0f}/s/core)')
    left = self._clock.seconds_left(plan.total_steps - step)
    if left is not None:
      parts.append(f'ETA {format_duration(left)}')
    return ' | '.join(parts)


def once(function: Callable[[], None]) -> Callable[[dict], None]:
  """Makes an orbit action that calls `function` the first time only."""
  pending = [function]

  def action(output):
    del output
    while pending:
      pending.pop()()

  return action


def _format_metrics(values: dict[str, float]) -> str:
  # That no step was left out is in metrics.jsonl alone.
  shown = (
    k
    for k in values
    if not k.startswith('images_per_second') and (k != 'bad_steps' or values[k])
  )
  return ', '.join(f'{k} {values[k]:.4g}' for k in shown)


def log_plan(
  experiment: experiment_lib.Experiment,
  plan: plan_lib.Plan,
  *,
  model: tf.keras.Model,
  strategy: tf.distribute.Strategy,
):
  """Logs what a run is before it starts: devices, network, steps."""
  devices.log_devices(strategy)
  count = complexity.count_stages(model)[-1]
  logging.info(
    'Model: %s at %s, %.2f M parameters, %.2f G multiply-adds an image.',
    model.name,
    'x'.join(map(str, experiment.model.height_width)),
    count.params / 1e6,
    count.multiply_adds / 1e9,
  )
  logging.info(
    'Training: %d steps (%.2f epochs, %d images), batch %d, %d a core; '
    'warm-up %d steps; evaluation every %d steps, checkpoint every %d.',
    plan.total_steps,
    plan.epoch(plan.total_steps),
    plan.total_steps * plan.batch_size,
    plan.batch_size,
    plan.per_replica_batch_size,
    plan.warmup_steps,
    plan.eval_interval,
    plan.checkpoint_interval,
  )
