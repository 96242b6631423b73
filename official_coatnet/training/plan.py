"""The plan of a run: all its numbers of steps, computed in one place."""

import dataclasses
import functools
import math
from collections.abc import Callable

from official_coatnet.training import experiment as experiment_lib


@dataclasses.dataclass(frozen=True)
class Plan:
  """How many steps of what.

  Attributes:
    total_steps: Steps of the run.
    warmup_steps: Steps of the learning rate's warm-up.
    eval_interval: Steps between evaluations.
    checkpoint_interval: Steps between checkpoints.
    steps_per_loop: Steps between two looks of the host.
    eval_steps: Steps of an evaluation, or None if the number of images is not
      known beforehand.
    num_train_examples: Images of an epoch.
    num_eval_examples: Images of an evaluation, or None.
    batch_size: Images of a step, over all replicas.
    per_replica_batch_size: Images of a step on one core.
  """

  total_steps: int
  warmup_steps: int
  eval_interval: int
  checkpoint_interval: int
  steps_per_loop: int
  eval_steps: int | None
  num_train_examples: int
  num_eval_examples: int | None
  batch_size: int
  per_replica_batch_size: int

  def epoch(self, step: int) -> float:
    """Passes over the training data after `step` steps."""
    return step * self.batch_size / self.num_train_examples


def to_steps(
  *,
  name: str,
  steps: int | None,
  epochs: float | None,
  num_examples: int,
  batch_size: int,
) -> int | None:
  """Returns a duration in steps.

  Args:
    name: What lasts so long; for the message.
    steps: In steps; wins where both are given.
    epochs: In passes over `num_examples`, rounded down to whole batches.
    num_examples: Examples of an epoch.
    batch_size: Examples of a step, over all replicas.

  Returns:
    The number of steps, or None if neither is given.

  Raises:
    ValueError: If the duration is negative, or epochs come to no whole step.
  """
  if steps is not None:
    if steps < 0:
      raise ValueError(f'`{name}` is {steps} steps; it must not be negative.')
    return int(steps)
  if epochs is None:
    return None
  result = int(epochs * num_examples) // batch_size
  if epochs < 0 or (epochs > 0 and result == 0):
    raise ValueError(
      f'`{name}` is {epochs} epochs of {num_examples} examples, which is '
      f'{result} steps of {batch_size}; give more epochs, a smaller batch '
      '(BATCH_SIZE) or the number of steps.'
    )
  return result


def batch_problems(
  experiment: experiment_lib.Experiment, *, num_replicas: int
) -> list[str]:
  """Says what is wrong with the batch sizes on so many cores."""
  problems = []
  for split in ('train_data', 'eval_data'):
    data = getattr(experiment, split)
    if data.batch_size % num_replicas:
      problems.append(
        f'`{split}.batch_size` is {data.batch_size}, which {num_replicas} '
        'cores do not divide; choose a multiple of '
        f'{num_replicas} (BATCH_SIZE in a gin file).'
      )
  per_replica = experiment.train_data.batch_size // num_replicas
  microbatches = experiment.optimizer.microbatches
  if per_replica % microbatches:
    problems.append(
      f'`microbatches` is {microbatches}, which does not divide the '
      f'{per_replica} images of a core (`train_data.batch_size` over '
      f'{num_replicas} cores); choose a divisor of {per_replica} '
      '(OptimizerConfig.microbatches), or another BATCH_SIZE.'
    )
  if experiment.train_data.mixup_alpha and per_replica % 2:
    problems.append(
      f'mixup pairs the images of a core, of which there are {per_replica}: '
      'an odd number. Choose a batch size (BATCH_SIZE) that gives each core '
      'an even one, or set `mixup_alpha` to None.'
    )
  return problems


def make_plan(
  experiment: experiment_lib.Experiment,
  *,
  num_replicas: int,
  num_train_examples: int,
  num_eval_examples: int | None,
) -> Plan:
  """Turns the durations of an experiment into steps.

  Args:
    experiment: What to run.
    num_replicas: Cores that share a batch.
    num_train_examples: Images of an epoch, over all hosts.
    num_eval_examples: Images of the evaluation set, or None if not known.

  Returns:
    The plan.

  Raises:
    ValueError: If the durations contradict each other or the cores do not
      divide the batch.
  """
  run, batch_size = experiment.run, experiment.train_data.batch_size
  problems = batch_problems(experiment, num_replicas=num_replicas)
  if problems:
    raise ValueError(' '.join(problems))

  steps = functools.partial(
    to_steps, num_examples=num_train_examples, batch_size=batch_size
  )
  total, warmup = _total_and_warmup(experiment, steps)
  eval_interval = steps(
    name='eval_interval',
    steps=run.eval_interval_steps,
    epochs=run.eval_interval_epochs,
  )
  eval_interval = min(eval_interval or total, total)
  checkpoint_interval = min(
    run.checkpoint_interval_steps or eval_interval, total
  )
  eval_steps = None
  if num_eval_examples is not None:
    eval_steps = math.ceil(num_eval_examples / experiment.eval_data.batch_size)
  return Plan(
    total_steps=total,
    warmup_steps=warmup,
    eval_interval=eval_interval,
    checkpoint_interval=checkpoint_interval,
    # A loop never runs over the next checkpoint: orbit looks only between
    # loops whether one is due.
    steps_per_loop=min(run.steps_per_loop, checkpoint_interval, eval_interval),
    eval_steps=eval_steps,
    num_train_examples=num_train_examples,
    num_eval_examples=num_eval_examples,
    batch_size=batch_size,
    per_replica_batch_size=batch_size // num_replicas,
  )


def _total_and_warmup(
  experiment: experiment_lib.Experiment, steps: Callable[..., int | None]
) -> tuple[int, int]:
  """Returns the steps of the run and of its warm-up.

  Raises:
    ValueError: If the run has no step, or the warm-up is longer than the run.
  """
  run, optimizer = experiment.run, experiment.optimizer
  total = steps(name='train_steps', steps=run.train_steps, epochs=run.epochs)
  warmup = steps(
    name='warmup_steps',
    steps=optimizer.warmup_steps,
    epochs=optimizer.warmup_epochs,
  )
  if total is None or total < 1:  # `RunConfig` refuses to have neither.
    raise ValueError(
      f'The run has {total} steps; it must have at least one (TRAIN_STEPS or '
      'EPOCHS in a gin file).'
    )
  if (warmup or 0) > total:
    raise ValueError(
      f'The warm-up has {warmup} steps, the run only {total}: lower '
      'WARMUP_STEPS (`OptimizerConfig.warmup_steps`) or lengthen the run '
      '(TRAIN_STEPS, EPOCHS).'
    )
  return total, warmup or 0
