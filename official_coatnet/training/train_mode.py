"""The modes that train: from the latest checkpoint to the last step."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from official_coatnet.training import (
  best,
  checkpoint_files,
  checkpoints,
  consistency,
  details as details_lib,
  devices,
  eval_mode,
  goodput,
  guard as guard_lib,
  inputs,
  model_dir as model_dir_lib,
  orbit_overrides,
  reporting,
  run as run_lib,
  saving,
  stages,
  trainer as trainer_lib,
  transfer,
)


def train(this: run_lib.Run, *, on_start, on_first_loop) -> dict[str, float]:
  """Trains, and evaluates in between if the mode says so."""
  experiment, plan, strategy = this.experiment, this.plan, this.strategy
  with strategy.scope():
    clock = reporting.Clock(
      num_cores=strategy.num_replicas_in_sync,
      batch_size=plan.batch_size,
      started=this.started,
    )
    trainer = trainer_lib.Trainer(
      experiment, this.model, plan=plan, strategy=strategy, clock=clock
    )
    evaluator = None
    if this.mode == 'train_and_eval':
      evaluator = eval_mode.make_evaluator(this, average=trainer.average)
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
  with (
    checkpoints.readable(this.latest),
    clock.ledger.within(goodput.RESTORE),
  ):
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
  evaluates_now = _misses_evaluation(this, controller.global_step)
  if not evaluates_now and keeper.should_stop():
    return best.last_evaluation(this.model_dir)
  _begin(this, trainer, reporter=reporter, on_start=on_start)
  manager.on_lost = lambda: _write_start(
    dataclasses.replace(this, latest=None), on_start
  )
  with (
    manager.finishing(),
    inputs.readable_errors(
      experiment,
      strategy,
      step=lambda: int(trainer.optimizer.iterations.numpy()),
      num_steps=plan.steps_per_loop,
    ),
  ):
    if this.mode == 'train':
      controller.train(plan.total_steps)
      return {}
    return controller.train_and_evaluate(
      plan.total_steps,
      eval_interval=plan.eval_interval,
      evaluates_now=evaluates_now,
    )


def _misses_evaluation(this: run_lib.Run, global_step: tf.Variable) -> bool:
  """Whether a run was stopped between a checkpoint and its evaluation."""
  step = int(global_step.numpy())
  if this.mode != 'train_and_eval' or not step:
    return False
  if step % this.plan.eval_interval or step >= this.plan.total_steps:
    return False  # It does not evaluate here, or does so anyway.
  misses = False
  if this.is_chief:
    lines = model_dir_lib.read_metrics(this.model_dir)
    own = model_dir_lib.own_evaluations(lines)
    misses = all(line['step'] != step for line in own)
  return this.agreement.any(misses)


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
    logging.info(
      'Resumed at step %d of %d, from %s.',
      step,
      this.plan.total_steps,
      this.latest,
    )
  _tell_start(this, trainer, step=step)
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
    _write_start(this, on_start)
  trainer.set_dataset(
    inputs.distribute(
      this.experiment,
      this.strategy,
      is_training=True,
      start_step=step,
      source=this.sources.get('train_data'),
    )
  )


def _tell_start(this: run_lib.Run, trainer: trainer_lib.Trainer, *, step: int):
  """Takes up what earlier processes have counted, and says what the run is."""
  lines = model_dir_lib.read_metrics(this.model_dir) if this.is_chief else []
  trainer.clock.ledger.resume(
    lines, step=step, last_sign=this.lock.last_sign if this.lock else None
  )
  own = model_dir_lib.own_evaluations(lines)
  this.listener.begin(
    this.plan,
    title=f'{trainer.model.name}, {devices.describe(this.strategy)}, '
    f'{this.model_dir}',
    step=step,
    evaluations=[line for line in own if line['step'] <= step],
  )


def _write_start(this: run_lib.Run, on_start: Callable[[], None]):
  """Writes what a run begins with, or goes on with."""
  consistency.write_start(
    this.experiment,
    this.sources,
    model_dir=this.model_dir,
    is_new=this.is_new,
  )
  on_start()


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
  guard = _make_guard(this, trainer, manager=manager)
  actions: list[Callable] = [
    reporter.after_training_loop,
    guard.after_training_loop,
  ]
  ledger = trainer.clock.ledger

  def keeps_best(output):
    with ledger.within(goodput.CHECKPOINT):
      # Of one folder, one at a time.
      manager.sync()
      keeper.after_evaluation(output)

  lock = this.lock
  if lock is not None:
    # Before a line of metrics or a checkpoint is written.
    actions.insert(0, lambda output: lock.check())
  eval_actions: list[Callable] = []
  if this.is_chief:
    actions.append(reporting.once(on_first_loop))
    details = details_lib.Details(
      this,
      model=trainer.model,
      step=trainer.optimizer.iterations,
      norms=trainer.stage_norms,
    )
    actions.append(details.after_training_loop)
    eval_actions.append(details.after_evaluation)
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
    # The line of metrics.jsonl says that all of the evaluation is done.
    eval_actions=[
      keeps_best,
      reporter.after_evaluation,
      guard_lib.check_evaluation,
      *eval_actions,
    ],
    should_stop=keeper.should_stop,
    stop=this.stop,
    # Who leaves earlier would be missed by those who still save.
    after_stop=this.agreement.wait,
    ledger=ledger,
    around_loop=this.profile.loop if this.profile else None,
    listener=this.listener,
  )


def _make_guard(
  this: run_lib.Run,
  trainer: trainer_lib.Trainer,
  *,
  manager: saving.CheckpointManager,
) -> guard_lib.Guard:
  def restore() -> str | None:
    manager.sync()
    found = checkpoint_files.examine(this.model_dir, finite=True)
    checkpoint_files.warn(found)
    path = found.prefix
    if path is not None:
      with this.strategy.scope(), checkpoints.readable(path):
        trainer.go_back(lambda: manager.restore(path))
    return path

  def last_good() -> str:
    manager.sync()
    return checkpoints.describe_good(this.model_dir)

  return guard_lib.Guard(
    trainer.watch,
    settings=this.experiment.run,
    plan=this.plan,
    ruined=trainer.not_finite,
    restore=restore,
    last_good=last_good,
  )


def _checkpoint_manager(this: run_lib.Run, trainer: trainer_lib.Trainer):
  settings = this.experiment.run
  checkpoint = checkpoints.make_checkpoint(
    trainer.model,
    averages=trainer.average.averages if trainer.average else {},
    optimizer=trainer.optimizer,
    clock=trainer.clock,
    check=lambda: guard_lib.check_weights(
      trainer.not_finite(), what='No checkpoint is written of the run'
    ),
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
    asynchronous=settings.async_checkpoint,
  )
