"""Runs an experiment: `run` puts the parts together and hands them to orbit."""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import orbit
import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.modeling import network
from official_coatnet.training import (
  best,
  checkpoint_files,
  checkpoints,
  consistency,
  devices,
  ema,
  evaluator as evaluator_lib,
  experiment as experiment_lib,
  inputs,
  model_dir as model_dir_lib,
  orbit_overrides,
  per_class,
  plan as plan_lib,
  preflight,
  reporting,
  run as run_lib,
  saving,
  stages,
  trainer as trainer_lib,
  transfer,
)

MODES = ('train', 'eval', 'train_and_eval', 'continuous_eval')
# How long continuous evaluation waits for the next checkpoint, in seconds.
CONTINUOUS_EVAL_TIMEOUT = 4 * 3600


def run(
  experiment: experiment_lib.Experiment,
  *,
  mode: str,
  model_dir: str,
  strategy: tf.distribute.Strategy,
  on_start: Callable[[], None] = lambda: None,
  on_first_loop: Callable[[], None] = lambda: None,
  tally: per_class.Tally | None = None,
  checkpoint_step: int | None = None,
) -> dict[str, float]:
  """Trains, evaluates or both, resuming from the latest checkpoint.

  Where the weights start: from the newest whole checkpoint of `model_dir`; else
  from `init_checkpoint`; else at random. Where there are checkpoints and none
  is whole, it does not start.

  Args:
    experiment: What to run.
    mode: 'train', 'eval' (the latest checkpoint, once), 'train_and_eval', or
      'continuous_eval' (each new checkpoint, until the last step).
    model_dir: Folder of the run; created.
    strategy: Where it runs.
    on_start: Called when nothing stands in the way of training, before the
      first step; not where the run has taken its last one.
    on_first_loop: Called after the first training loop.
    tally: In mode 'eval', what to fill class by class.
    checkpoint_step: In mode 'eval', which checkpoint to evaluate; None for the
      best one where the run keeps it, else the newest.

  Returns:
    The metrics of the last evaluation; empty in mode 'train'.

  Raises:
    ValueError: If something stands in the way of the run, or stops its input: a
      damaged record, an image that does not decode, a label out of range.
    FloatingPointError: If the loss is no longer a number; with the checkpoint
      to go on from.
    devices.WorkerLostError: If another machine of the run has gone.
  """
  if mode not in MODES:
    raise ValueError(f'`mode` is {mode!r}; it must be one of {MODES}.')
  if tally is not None:
    per_class.check(mode=mode, num_hosts=devices.num_hosts(strategy))
  problems, sources = preflight.examine(
    experiment,
    mode=mode,
    model_dir=model_dir,
    num_replicas=strategy.num_replicas_in_sync,
    num_hosts=devices.num_hosts(strategy),
  )
  if problems:
    raise ValueError(preflight.join_problems(problems))
  this = _prepare(
    experiment,
    sources,
    mode=mode,
    model_dir=model_dir,
    strategy=strategy,
  )
  this = dataclasses.replace(this, tally=tally, checkpoint_step=checkpoint_step)
  with orbit_overrides.speaks_once(), devices.lost_workers(strategy):
    if this.trains:
      return _train(this, on_start=on_start, on_first_loop=on_first_loop)
    return _evaluate(this)


def _prepare(experiment, sources, *, mode, model_dir, strategy) -> run_lib.Run:
  """Counts images and steps, builds the network."""
  evaluates_only = mode in ('eval', 'continuous_eval')
  experiment = inputs.with_counts(
    experiment, sources, model_dir=model_dir if evaluates_only else None
  )
  plan = plan_lib.make_plan(
    experiment,
    num_replicas=strategy.num_replicas_in_sync,
    num_train_examples=experiment.train_data.num_examples,
    num_eval_examples=experiment.eval_data.num_examples,
  )
  latest = None if evaluates_only else checkpoints.newest_whole(model_dir)
  this = run_lib.Run(
    experiment, sources, plan, mode, model_dir, strategy, latest
  )
  files.make_folder(model_dir)
  if this.is_chief and evaluates_only:
    keeps = model_dir_lib.is_writable(model_dir)
    if not keeps:
      logging.warning('%s is read-only: no metrics are kept there.', model_dir)
    this = dataclasses.replace(this, keeps_metrics=keeps)
  tf.keras.utils.set_random_seed(experiment.run.seed)
  with strategy.scope():
    model = network.classifier(experiment.model, draw_keys=True)
  reporting.log_plan(experiment, plan, model=model, strategy=strategy)
  return dataclasses.replace(this, model=model)


def _train(this: run_lib.Run, *, on_start, on_first_loop) -> dict[str, float]:
  """Trains, and evaluates in between if the mode says so."""
  experiment, plan, strategy = this.experiment, this.plan, this.strategy
  with strategy.scope():
    clock = reporting.Clock(
      num_cores=strategy.num_replicas_in_sync, batch_size=plan.batch_size
    )
    trainer = trainer_lib.Trainer(
      experiment, this.model, plan=plan, strategy=strategy, clock=clock
    )
    evaluator = None
    if this.mode == 'train_and_eval':
      evaluator = _make_evaluator(this, average=trainer.average)
  checkpoints.check_resumable(
    this.model, this.latest, has_averages=trainer.average is not None
  )
  reporter = this.make_reporter(trainer.optimizer.iterations, clock)
  manager = _checkpoint_manager(this, trainer)
  keeper = best.Keeper(
    this,
    manager.checkpoint,
    global_step=trainer.optimizer.iterations,
    is_other=lambda: reporter.evaluates_otherwise,
  )
  # Restores the latest checkpoint.
  with checkpoints.readable(this.latest):
    controller = _make_controller(
      this,
      trainer,
      evaluator=evaluator,
      manager=manager,
      keeper=keeper,
      reporter=reporter,
      on_first_loop=on_first_loop,
    )
  keeper.resume()
  if keeper.should_stop():
    return best.last_evaluation(this.model_dir)
  _begin(this, trainer, reporter=reporter, on_start=on_start)
  with inputs.readable_errors(
    experiment,
    strategy,
    step=lambda: int(trainer.optimizer.iterations.numpy()),
    num_steps=plan.steps_per_loop,
  ):
    if this.mode == 'train':
      controller.train(plan.total_steps)
      return {}
    return controller.train_and_evaluate(
      plan.total_steps, eval_interval=plan.eval_interval
    )


def _begin(
  this: run_lib.Run,
  trainer: trainer_lib.Trainer,
  *,
  reporter: reporting.Reporter,
  on_start: Callable[[], None],
):
  """Opens the data at the step where the run is, and writes its files."""
  found = this.compare()
  step = int(trainer.optimizer.iterations.numpy())
  devices.check_same_step(this.strategy, step, model_dir=this.model_dir)
  has_ended = step >= this.plan.total_steps
  # Of a run that goes on, the settings of now are its own.
  reporter.evaluates_otherwise = found.other_evaluation_data or (
    has_ended and found.other_evaluation_settings
  )
  if step:
    logging.info('Resumed at step %d of %d.', step, this.plan.total_steps)
  this.metrics_file.rewind(
    step, evaluates=has_ended and not reporter.evaluates_otherwise
  )
  if has_ended:
    if reporter.evaluates_otherwise:
      logging.warning(
        'The run has taken its last step; its folder keeps what it began with.'
      )
    return
  if this.is_chief:
    consistency.write_start(
      this.experiment,
      this.sources,
      model_dir=this.model_dir,
      is_new=this.is_new,
    )
    on_start()
  trainer.set_dataset(
    inputs.distribute(
      this.experiment,
      this.strategy,
      is_training=True,
      start_step=step,
      source=this.sources.get('train_data'),
    )
  )


def _make_controller(
  this: run_lib.Run,
  trainer: trainer_lib.Trainer,
  *,
  evaluator,
  manager: saving.CheckpointManager,
  keeper: best.Keeper,
  reporter: reporting.Reporter,
  on_first_loop,
) -> orbit_overrides.Controller:
  actions: list[Callable] = [reporter.after_training_loop]
  if this.is_chief:
    actions.append(reporting.once(on_first_loop))
  return orbit_overrides.Controller(
    global_step=trainer.optimizer.iterations,
    trainer=trainer,
    evaluator=evaluator,
    strategy=this.strategy,
    steps_per_loop=this.plan.steps_per_loop,
    checkpoint_manager=manager,
    summary_dir=this.events_folder('train'),
    eval_summary_dir=this.events_folder('eval'),
    train_actions=actions,
    eval_actions=[reporter.after_evaluation, keeper.after_evaluation],
    should_stop=keeper.should_stop,
  )


def _evaluate(this: run_lib.Run) -> dict[str, float]:
  """Evaluates the latest checkpoint (or the best), or each new one."""
  with this.strategy.scope():
    evaluator = _make_evaluator(this, average=None)
    global_step = orbit.utils.create_global_step()
  clock = reporting.Clock(num_cores=1, batch_size=this.plan.batch_size)
  reporter = this.make_reporter(global_step, clock)
  controller = orbit_overrides.Controller(
    global_step=global_step,
    evaluator=evaluator,
    strategy=this.strategy,
    eval_summary_dir=this.events_folder('eval'),
    eval_actions=[reporter.after_evaluation],
  )
  paths: Iterable[str] = [this.model_dir]
  if this.mode == 'continuous_eval':
    paths = checkpoint_files.each_new(
      this.model_dir, timeout=CONTINUOUS_EVAL_TIMEOUT
    )
  results = {}
  for number, path in enumerate(paths):
    if not number:  # Continuous evaluation may have begun before the run did.
      found = this.compare()
      reporter.evaluates_otherwise = (
        found.other_evaluation_data or found.other_evaluation_settings
      )
    with this.strategy.scope():
      prefix = checkpoints.load_weights(
        this.model,
        path,
        weights=this.experiment.run.weights,
        step=this.checkpoint_step,
      )
    step = model_dir_lib.checkpoint_step(prefix)
    global_step.assign(step)
    if this.tally is not None:
      this.tally.step, this.tally.source = step, this.sources.get('eval_data')
    with inputs.readable_errors(
      this.experiment, this.strategy, step=None, num_steps=0
    ):
      results = controller.evaluate()
    if step >= this.plan.total_steps:
      break
  return results


def _make_evaluator(this: run_lib.Run, *, average: ema.WeightAverage | None):
  weights = {}
  if average is not None and this.experiment.uses_ema:
    weights['weights'] = lambda: average.swapped(this.strategy)
  make: Callable = evaluator_lib.Evaluator
  if this.tally is not None:
    make = functools.partial(per_class.PerClassEvaluator, tally=this.tally)
  return make(
    this.experiment,
    this.model,
    strategy=this.strategy,
    dataset=inputs.distribute(
      this.experiment,
      this.strategy,
      is_training=False,
      source=this.sources.get('eval_data'),
    ),
    expected_steps=this.plan.eval_steps,
    **weights,
  )


def _checkpoint_manager(this: run_lib.Run, trainer: trainer_lib.Trainer):
  settings = this.experiment.run
  checkpoint = checkpoints.make_checkpoint(
    trainer.model,
    averages=trainer.average.averages if trainer.average else {},
    optimizer=trainer.optimizer,
    clock=trainer.clock,
  )

  def initialize():
    """Called by the manager where there is no checkpoint to resume from."""
    if settings.init_checkpoint:
      outcome = transfer.initialize(
        trainer.model,
        settings.init_checkpoint,
        weights=settings.init_weights,
        new_last_layer=not settings.init_last_layer,
      )
      stages.check_new(outcome.new, this.experiment.optimizer.trainable)
    if trainer.average:
      trainer.average.reset()

  manager = saving.CheckpointManager
  if not this.is_chief:
    manager = saving.FollowerCheckpointManager
  return manager(
    checkpoint,
    this.model_dir,
    max_to_keep=settings.max_to_keep,
    keep_every_steps=settings.keep_every_steps,
    keep_every_hours=settings.keep_every_hours,
    checkpoint_interval=this.plan.checkpoint_interval,
    step_counter=trainer.optimizer.iterations,
    init_fn=initialize,
    start=this.latest,
  )
