"""What a run tells while it goes: its plan, its progress and its metrics.

TensorBoard events come from orbit.
"""

from collections.abc import Callable

import tensorflow as tf
from absl import logging

from official_coatnet.modeling import complexity
from official_coatnet.training import (
  clock as clock_lib,
  devices,
  experiment as experiment_lib,
  goodput as goodput_lib,
  listener as listener_lib,
  model_dir as model_dir_lib,
  plan as plan_lib,
)
from official_coatnet.training.clock import Clock as Clock
from official_coatnet.training.listener import (
  format_duration as format_duration,
)


class Reporter:
  """Writes metrics after each training loop and evaluation, and tells of them.

  Its two methods are orbit actions.

  Attributes:
    evaluates_otherwise: Whether evaluations are on other data, or with other
      settings, than those of the run; their lines say so.
  """

  def __init__(
    self,
    *,
    plan: plan_lib.Plan,
    clock: clock_lib.Clock,
    global_step: tf.Variable,
    metrics_file: model_dir_lib.MetricsFile,
    listener: listener_lib.Listener | None = None,
    trains: bool = True,
    tpu_type: str | None = None,
  ):
    """Takes what it reports of.

    Args:
      plan: Of the run.
      clock: That times its loops.
      global_step: Its step.
      metrics_file: Where metrics go.
      listener: Who hears of them.
      trains: Whether the clock's time is that of the run.
      tpu_type: Of the TPU that it runs on, such as 'v3-8', if that is known.
    """
    self._is_tpu_v3 = (tpu_type or '').startswith('v3-')
    self._plan = plan
    self._clock = clock
    self._global_step = global_step
    self._file = metrics_file
    self._listener = listener or listener_lib.Listener()
    self._trains = trains
    self._has_advised = False
    self.evaluates_otherwise = False

  def after_training_loop(self, output: dict[str, float]):
    """Tells of a training loop, and writes its metrics."""
    step = int(self._global_step.numpy())
    values = {k: float(v) for k, v in output.items()}
    self._write(step, {f'train/{k}': v for k, v in values.items()})
    clock = self._clock
    self._listener.after_loop(
      listener_lib.Loop(
        step=step,
        epoch=self._plan.epoch(step),
        plan=self._plan,
        values=values,
        images_per_second=clock.images_per_second(),
        images_per_second_per_core=clock.images_per_second_per_core(),
        input_wait=clock.input_wait(),
        seconds_left=clock.seconds_left(self._plan.total_steps - step),
      )
    )
    self._advise()

  def after_evaluation(self, output: dict[str, float]):
    """Tells of an evaluation, and writes its metrics."""
    step = int(self._global_step.numpy())
    values = {k: float(v) for k, v in output.items()}
    line = {f'eval/{k}': v for k, v in values.items()}
    if self.evaluates_otherwise:
      line[model_dir_lib.OTHER_EVALUATION] = 1.0
    self._write(step, line)
    self._listener.after_evaluation(step, values)

  def _write(self, step, values):
    epoch = round(self._plan.epoch(step), 4)
    goodput = {}
    if self._trains:
      cores = float(self._clock.num_cores)
      goodput = {**self._clock.ledger.line(), goodput_lib.CORES: cores}
      if self._is_tpu_v3:
        goodput[goodput_lib.TPU_V3] = 1.0
    self._file.write(step, {'epoch': epoch, **values, **goodput})

  def _advise(self) -> None:
    """Says once that the step waits for images, when that is certain."""
    if self._has_advised:
      return
    words = self._clock.advice()
    if words is not None:
      self._has_advised = True
      logging.warning('%s', words)


def once(function: Callable[[], None]) -> Callable[[dict], None]:
  """Makes an orbit action that calls `function` the first time only."""
  pending = [function]

  def action(output):
    del output
    while pending:
      pending.pop()()

  return action


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
