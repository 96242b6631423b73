"""What a run tells while it goes: progress lines and metrics.jsonl.

TensorBoard events come from orbit. `metrics.jsonl` has one object a line:

    {"step": 400, "epoch": 4.0, "train/loss": 0.71, "train/top1": 0.83, ...}
    {"step": 400, "epoch": 4.0, "eval/loss": 0.65, "eval/top1": 0.86, ...}
"""

import json
import math
import os

import tensorflow as tf
from absl import logging

from official_coatnet.modeling import complexity
from official_coatnet.training import (
  clock as clock_lib,
  distribution,
  experiment as experiment_lib,
  plan as plan_lib,
)

METRICS_FILE = 'metrics.jsonl'


class MetricsFile:
  """Appends metrics to `metrics.jsonl` in a model_dir, local or not."""

  def __init__(self, model_dir: str, *, writes: bool = True):
    """Makes the file's name; the first line makes the file.

    Args:
      model_dir: Folder of the run.
      writes: Whether to write at all: of several workers, one does.
    """
    self._writes = writes
    self._path = os.path.join(model_dir, METRICS_FILE)

  def rewind(self, step: int, *, evaluates: bool = False):
    """Drops what the run will write again when it resumes at `step`.

    Args:
      step: Step of the checkpoint; later lines go.
      evaluates: Whether the run evaluates at this step again: then its
        evaluation goes, too.
    """
    if not self._writes or not tf.io.gfile.exists(self._path):
      return
    kept = [
      line
      for line in read_metrics(self._path)
      if line['step'] <= step
      and not (evaluates and line['step'] == step and 'eval/loss' in line)
    ]
    temporary = f'{self._path}.tmp'
    with tf.io.gfile.GFile(temporary, 'w') as f:
      f.write(''.join(json.dumps(line) + '\n' for line in kept))
    tf.io.gfile.rename(temporary, self._path, overwrite=True)

  def write(self, step: int, values: dict[str, float]):
    """Appends one line. A value that JSON cannot hold is written as null."""
    if not self._writes:
      return
    line = {'step': step}
    for name, value in values.items():
      line[name] = value if math.isfinite(value) else None
    with tf.io.gfile.GFile(self._path, 'a') as f:
      f.write(json.dumps(line) + '\n')


def read_metrics(path: str) -> list[dict[str, float]]:
  """Returns the lines of a metrics.jsonl.

  A last line that was cut short by the end of its process is left out.
  """
  lines = []
  with tf.io.gfile.GFile(path) as f:
    for text in f.read().splitlines():
      try:
        lines.append(json.loads(text))
      except json.JSONDecodeError:
        break
  return lines


class Reporter:
  """Writes progress and metrics after each training loop and evaluation.

  Its two methods are orbit actions.
  """

  def __init__(
    self,
    *,
    plan: plan_lib.Plan,
    clock: clock_lib.Clock,
    global_step: tf.Variable,
    metrics_file: MetricsFile,
  ):
    self._plan = plan
    self._clock = clock
    self._global_step = global_step
    self._file = metrics_file

  def after_training_loop(self, output: dict[str, float]):
    """Reports a training loop.

    Raises:
      FloatingPointError: If the loss is not finite. It comes before orbit saves
        a checkpoint, so that none with such weights is ever the latest.
    """
    step = int(self._global_step.numpy())
    values = {k: float(v) for k, v in output.items()}
    self._write(step, {f'train/{k}': v for k, v in values.items()})
    logging.info('%s', self._progress(step, values))
    if not math.isfinite(values['loss']):
      raise FloatingPointError(
        f'The training loss is {values["loss"]} at a step up to {step}; the '
        'last checkpoint is from before. Lower `peak_learning_rate`, lengthen '
        'the warm-up or look at the images of these steps, and start the same '
        'command again: it resumes from that checkpoint.'
      )

  def after_evaluation(self, output: dict[str, float]):
    """Reports an evaluation."""
    step = int(self._global_step.numpy())
    values = {k: float(v) for k, v in output.items()}
    self._write(step, {f'eval/{k}': v for k, v in values.items()})
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
      parts.append(f'ETA {clock_lib.format_duration(left)}')
    return ' | '.join(parts)


def _format_metrics(values: dict[str, float]) -> str:
  shown = (k for k in values if not k.startswith('images_per_second'))
  return ', '.join(f'{k} {values[k]:.4g}' for k in shown)


def log_plan(
  experiment: experiment_lib.Experiment,
  plan: plan_lib.Plan,
  *,
  model: tf.keras.Model,
  strategy: tf.distribute.Strategy,
):
  """Logs what a run is before it starts: devices, network, steps."""
  distribution.log_devices(strategy)
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
