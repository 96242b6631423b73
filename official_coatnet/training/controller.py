"""Runs an experiment: `run` puts the parts together and hands them to orbit."""

import dataclasses
import os
from collections.abc import Callable

import orbit
import tensorflow as tf
from absl import logging

from official_coatnet.data import checks
from official_coatnet.modeling import network
from official_coatnet.training import (
  checkpoints,
  clock as clock_lib,
  cluster,
  distribution,
  evaluator as evaluator_lib,
  experiment as experiment_lib,
  inputs,
  orbit_overrides,
  plan as plan_lib,
  preflight,
  reporting,
  trainer as trainer_lib,
  transfer,
)

MODES = ('train', 'eval', 'train_and_eval', 'continuous_eval')
# How long continuous evaluation waits for the next checkpoint, in seconds.
CONTINUOUS_EVAL_TIMEOUT = 4 * 3600
LABELS_FILE = 'labels.txt'


def run(
  experiment: experiment_lib.Experiment,
  *,
  mode: str,
  model_dir: str,
  strategy: tf.distribute.Strategy,
  on_start: Callable[[], None] = lambda: None,
  on_first_loop: Callable[[], None] = lambda: None,
) -> dict[str, float]:
  """Trains, evaluates or both, resuming from the latest checkpoint.

  Where the weights start: from the latest checkpoint of `model_dir`; else from
  `init_checkpoint`; else at random.

  Args:
    experiment: What to run.
    mode: 'train', 'eval' (the latest checkpoint, once), 'train_and_eval', or
      'continuous_eval' (each new checkpoint, until the last step).
    model_dir: Folder of the run; created.
    strategy: Where it runs.
    on_start: Called when nothing stands in the way, before the first step.
    on_first_loop: Called after the first training loop.

  Returns:
    The metrics of the last evaluation; empty in mode 'train'.

  Raises:
    ValueError: If something stands in the way of the run, or stops its input: a
      damaged record, an image that does not decode, a label out of range.
    cluster.WorkerLostError: If another machine of the run has gone.
  """
  if mode not in MODES:
    raise ValueError(f'`mode` is {mode!r}; it must be one of {MODES}.')
  hosts = distribution.num_hosts(strategy)
  problems = preflight.find_problems(
    experiment,
    mode=mode,
    model_dir=model_dir,
    num_replicas=strategy.num_replicas_in_sync,
    num_hosts=hosts,
  )
  if problems:
    raise ValueError(join_problems(problems))
  experiment = _with_counts(experiment, mode=mode, model_dir=model_dir)
  plan = plan_lib.make_plan(
    experiment,
    num_replicas=strategy.num_replicas_in_sync,
    num_train_examples=experiment.train_data.num_examples,
    num_eval_examples=experiment.eval_data.num_examples,
  )
  is_chief = cluster.is_chief(strategy)
  tf.io.gfile.makedirs(model_dir)
  if is_chief and mode in ('train', 'train_and_eval'):
    preflight.write_experiment(experiment, model_dir)
    _write_labels(experiment, model_dir)
  if is_chief:
    on_start()
  else:
    on_first_loop = lambda: None
  tf.keras.utils.set_random_seed(experiment.run.seed)
  with strategy.scope():
    model = network.classifier(experiment.model, draw_keys=True)
  reporting.log_plan(experiment, plan, model=model, strategy=strategy)
  settings = {
    'plan': plan,
    'mode': mode,
    'model_dir': model_dir,
    'strategy': strategy,
  }
  with orbit_overrides.speaks_once(), cluster.lost_workers(strategy):
    if mode in ('train', 'train_and_eval'):
      return _train(experiment, model, on_first_loop=on_first_loop, **settings)
    return _evaluate(experiment, model, **settings)


def join_problems(problems: list[str]) -> str:
  """Makes one message of all that stands in the way of a run."""
  lines = '\n'.join(f'  - {problem}' for problem in problems)
  return f'The run cannot start:\n{lines}'


def _with_counts(experiment, *, mode, model_dir):
  """Fills in the numbers of images that the manifests know.

  A folder of evaluation data need not hold the training data. Then the number
  is what the run left in its model_dir.
  """
  counts = {}
  for split in ('train_data', 'eval_data'):
    data = getattr(experiment, split)
    count = checks.count_examples(data)
    if count is None and mode in ('eval', 'continuous_eval'):
      stored = preflight.read_experiment(model_dir)
      count = getattr(stored, split).num_examples
    counts[split] = dataclasses.replace(data, num_examples=count)
  return dataclasses.replace(experiment, **counts)


def _train(
  experiment, model, *, plan, mode, model_dir, strategy, on_first_loop
):
  """Trains, and evaluates in between if the mode says so."""
  with strategy.scope():
    clock = clock_lib.Clock(
      num_cores=strategy.num_replicas_in_sync, batch_size=plan.batch_size
    )
    trainer = trainer_lib.Trainer(
      experiment, model, plan=plan, strategy=strategy, clock=clock
    )
    evaluator = None
    if mode == 'train_and_eval':
      evaluator = _make_evaluator(
        experiment, model, plan=plan, strategy=strategy, average=trainer.average
      )
  checkpoints.check_resumable(
    model, model_dir, has_averages=trainer.average is not None
  )
  metrics_file = reporting.MetricsFile(
    model_dir, writes=cluster.is_chief(strategy)
  )
  controller = _make_controller(
    experiment,
    trainer,
    evaluator,
    plan=plan,
    model_dir=model_dir,
    strategy=strategy,
    metrics_file=metrics_file,
    on_first_loop=on_first_loop,
  )
  step = int(trainer.optimizer.iterations.numpy())
  cluster.check_same_step(strategy, step, model_dir=model_dir)
  metrics_file.rewind(step, evaluates=step >= plan.total_steps)
  if step:
    logging.info('Resumed at step %d of %d.', step, plan.total_steps)
  if step < plan.total_steps:
    trainer.set_dataset(
      inputs.distribute(experiment, strategy, is_training=True, start_step=step)
    )
  with inputs.readable_errors(
    experiment,
    strategy,
    step=lambda: int(trainer.optimizer.iterations.numpy()),
    num_steps=plan.steps_per_loop,
  ):
    if mode == 'train':
      controller.train(plan.total_steps)
      return {}
    return controller.train_and_evaluate(
      plan.total_steps, eval_interval=plan.eval_interval
    )


def _make_controller(
  experiment,
  trainer,
  evaluator,
  *,
  plan,
  model_dir,
  strategy,
  metrics_file,
  on_first_loop,
):
  """Returns orbit's controller, which restores the latest checkpoint."""
  reporter = reporting.Reporter(
    plan=plan,
    clock=trainer.clock,
    global_step=trainer.optimizer.iterations,
    metrics_file=metrics_file,
  )
  return orbit_overrides.Controller(
    global_step=trainer.optimizer.iterations,
    trainer=trainer,
    evaluator=evaluator,
    strategy=strategy,
    steps_per_loop=plan.steps_per_loop,
    checkpoint_manager=_checkpoint_manager(
      experiment, trainer, plan=plan, model_dir=model_dir, strategy=strategy
    ),
    summary_dir=_events_folder(model_dir, 'train', strategy),
    eval_summary_dir=_events_folder(model_dir, 'eval', strategy),
    train_actions=[reporter.after_training_loop, _once(on_first_loop)],
    eval_actions=[reporter.after_evaluation],
  )


def _events_folder(model_dir, name, strategy) -> str | None:
  """Of several workers one writes events; None for the others."""
  return os.path.join(model_dir, name) if cluster.is_chief(strategy) else None


def _evaluate(experiment, model, *, plan, mode, model_dir, strategy):
  """Evaluates the latest checkpoint, or each new one."""
  with strategy.scope():
    evaluator = _make_evaluator(
      experiment, model, plan=plan, strategy=strategy, average=None
    )
    global_step = orbit.utils.create_global_step()
  metrics_file = reporting.MetricsFile(
    model_dir, writes=cluster.is_chief(strategy)
  )
  reporter = reporting.Reporter(
    plan=plan,
    clock=clock_lib.Clock(num_cores=1, batch_size=plan.batch_size),
    global_step=global_step,
    metrics_file=metrics_file,
  )
  controller = orbit_overrides.Controller(
    global_step=global_step,
    evaluator=evaluator,
    strategy=strategy,
    eval_summary_dir=_events_folder(model_dir, 'eval', strategy),
    eval_actions=[reporter.after_evaluation],
  )
  paths = [model_dir]
  if mode == 'continuous_eval':
    paths = tf.train.checkpoints_iterator(
      model_dir, timeout=CONTINUOUS_EVAL_TIMEOUT
    )
  results = {}
  for path in paths:
    with strategy.scope():
      prefix = checkpoints.load_weights(
        model, path, weights=experiment.run.weights
      )
    global_step.assign(checkpoints.checkpoint_step(prefix))
    with inputs.readable_errors(experiment, strategy, step=None, num_steps=0):
      results = controller.evaluate()
    if checkpoints.checkpoint_step(prefix) >= plan.total_steps:
      break
  return results


def _make_evaluator(experiment, model, *, plan, strategy, average):
  weights = {}
  if average is not None and experiment.uses_ema:
    weights['weights'] = lambda: average.swapped(strategy)
  return evaluator_lib.Evaluator(
    experiment,
    model,
    strategy=strategy,
    dataset=inputs.distribute(experiment, strategy, is_training=False),
    expected_steps=plan.eval_steps,
    **weights,
  )


def _checkpoint_manager(experiment, trainer, *, plan, model_dir, strategy):
  averages = trainer.average.averages if trainer.average else {}
  checkpoint = checkpoints.make_checkpoint(
    trainer.model,
    averages=averages,
    optimizer=trainer.optimizer,
    clock=trainer.clock,
  )

  def initialize():
    """Called by the manager where there is no checkpoint to resume from."""
    if experiment.run.init_checkpoint:
      transfer.initialize(
        trainer.model,
        experiment.run.init_checkpoint,
        weights=experiment.run.init_weights,
        new_last_layer=not experiment.run.init_last_layer,
      )
    if trainer.average:
      trainer.average.reset()

  manager = tf.train.CheckpointManager
  if not cluster.is_chief(strategy):
    manager = cluster.FollowerCheckpointManager
  return manager(
    checkpoint,
    directory=model_dir,
    max_to_keep=experiment.run.max_to_keep,
    checkpoint_interval=plan.checkpoint_interval,
    step_counter=trainer.optimizer.iterations,
    checkpoint_name=checkpoints.CHECKPOINT_NAME,
    init_fn=initialize,
  )


def _once(function: Callable[[], None]) -> Callable[[dict], None]:
  """Makes an orbit action that calls `function` the first time only."""
  pending = [function]

  def action(output):
    del output
    while pending:
      pending.pop()()

  return action


def _write_labels(experiment, model_dir):
  """Writes the class names of the data, if known, for the export."""
  names = checks.class_names(experiment.train_data)
  if names:
    with tf.io.gfile.GFile(os.path.join(model_dir, LABELS_FILE), 'w') as f:
      f.write(''.join(f'{name}\n' for name in names))
