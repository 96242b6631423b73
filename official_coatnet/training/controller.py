"""Runs an experiment: `run` puts the parts together and hands them to orbit."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import orbit
import tensorflow as tf
from absl import logging

from official_coatnet.data import sources as sources_lib
from official_coatnet.modeling import network
from official_coatnet.training import (
  checkpoints,
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
    tally: In mode 'eval', what to fill class by class.

  Returns:
    The metrics of the last evaluation; empty in mode 'train'.

  Raises:
    ValueError: If something stands in the way of the run, or stops its input: a
      damaged record, an image that does not decode, a label out of range.
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
    on_start=on_start,
  )
  this = dataclasses.replace(this, tally=tally)
  with orbit_overrides.speaks_once(), devices.lost_workers(strategy):
    if this.trains:
      return _train(this, on_first_loop=on_first_loop)
    return _evaluate(this)


@dataclasses.dataclass(frozen=True)
class _Run:
  """What all parts of a run share.

  Attributes:
    experiment: With the numbers of images filled in.
    sources: Where the images of 'train_data' and 'eval_data' come from, if
      they are not made up.
    plan: Its steps.
    mode: One of `MODES`.
    model_dir: Its folder.
    strategy: Where it runs.
    keeps_metrics: Whether metrics and events can be written there.
    tally: Of an evaluation class by class.
    model: The network, once it is built.
  """

  experiment: experiment_lib.Experiment
  sources: Mapping[str, sources_lib.Source]
  plan: plan_lib.Plan
  mode: str
  model_dir: str
  strategy: tf.distribute.Strategy
  keeps_metrics: bool = True
  tally: per_class.Tally | None = None
  model: tf.keras.Model | None = None

  @property
  def trains(self) -> bool:
    """Whether its mode trains."""
    return self.mode in ('train', 'train_and_eval')

  @property
  def is_chief(self) -> bool:
    """Whether this process writes the files."""
    return devices.is_chief(self.strategy)

  @property
  def metrics_file(self) -> model_dir_lib.MetricsFile:
    """Where metrics go."""
    writes = self.is_chief and self.keeps_metrics
    return model_dir_lib.MetricsFile(self.model_dir, writes=writes)

  def events_folder(self, kind: str) -> str | None:
    """Of several workers one writes events; None for the others."""
    if not self.is_chief or not self.keeps_metrics:
      return None
    return model_dir_lib.events_folder(self.model_dir, kind)


def _prepare(
  experiment, sources, *, mode, model_dir, strategy, on_start
) -> _Run:
  """Counts images and steps, writes what is set, builds the network."""
  evaluates_only = mode in ('eval', 'continuous_eval')
  experiment = inputs.with_counts(
    experiment, sources, model_dir=model_dir if evaluates_only else None
  )
  if not evaluates_only:
    experiment = inputs.with_class_weights(
      experiment, sources.get('train_data')
    )
  plan = plan_lib.make_plan(
    experiment,
    num_replicas=strategy.num_replicas_in_sync,
    num_train_examples=experiment.train_data.num_examples,
    num_eval_examples=experiment.eval_data.num_examples,
  )
  this = _Run(experiment, sources, plan, mode, model_dir, strategy)
  tf.io.gfile.makedirs(model_dir)
  if this.is_chief and this.trains:
    model_dir_lib.write_experiment(model_dir, experiment)
    source = sources.get('train_data')
    if source and source.class_names:  # For the export.
      model_dir_lib.write_labels(model_dir, source.class_names)
  if this.is_chief and evaluates_only:
    keeps = model_dir_lib.is_writable(model_dir)
    if not keeps:
      logging.warning('%s is read-only: no metrics are kept there.', model_dir)
    this = dataclasses.replace(this, keeps_metrics=keeps)
  if this.is_chief and this.keeps_metrics:
    on_start()
  tf.keras.utils.set_random_seed(experiment.run.seed)
  with strategy.scope():
    model = network.classifier(experiment.model, draw_keys=True)
  reporting.log_plan(experiment, plan, model=model, strategy=strategy)
  return dataclasses.replace(this, model=model)


def _train(this: _Run, *, on_first_loop) -> dict[str, float]:
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
    this.model, this.model_dir, has_averages=trainer.average is not None
  )
  # Restores the latest checkpoint.
  controller = _make_controller(
    this, trainer, evaluator=evaluator, on_first_loop=on_first_loop
  )
  step = int(trainer.optimizer.iterations.numpy())
  devices.check_same_step(strategy, step, model_dir=this.model_dir)
  this.metrics_file.rewind(step, evaluates=step >= plan.total_steps)
  if step:
    logging.info('Resumed at step %d of %d.', step, plan.total_steps)
  if step < plan.total_steps:
    trainer.set_dataset(
      inputs.distribute(
        experiment,
        strategy,
        is_training=True,
        start_step=step,
        source=this.sources.get('train_data'),
      )
    )
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


def _make_controller(
  this: _Run, trainer: trainer_lib.Trainer, *, evaluator, on_first_loop
) -> orbit_overrides.Controller:
  reporter = reporting.Reporter(
    plan=this.plan,
    clock=trainer.clock,
    global_step=trainer.optimizer.iterations,
    metrics_file=this.metrics_file,
  )
  actions: list[Callable] = [reporter.after_training_loop]
  if this.is_chief:
    actions.append(_once(on_first_loop))
  return orbit_overrides.Controller(
    global_step=trainer.optimizer.iterations,
    trainer=trainer,
    evaluator=evaluator,
    strategy=this.strategy,
    steps_per_loop=this.plan.steps_per_loop,
    checkpoint_manager=_checkpoint_manager(this, trainer),
    summary_dir=this.events_folder('train'),
    eval_summary_dir=this.events_folder('eval'),
    train_actions=actions,
    eval_actions=[reporter.after_evaluation],
  )


def _evaluate(this: _Run) -> dict[str, float]:
  """Evaluates the latest checkpoint, or each new one."""
  with this.strategy.scope():
    evaluator = _make_evaluator(this, average=None)
    global_step = orbit.utils.create_global_step()
  reporter = reporting.Reporter(
    plan=this.plan,
    clock=reporting.Clock(num_cores=1, batch_size=this.plan.batch_size),
    global_step=global_step,
    metrics_file=this.metrics_file,
  )
  controller = orbit_overrides.Controller(
    global_step=global_step,
    evaluator=evaluator,
    strategy=this.strategy,
    eval_summary_dir=this.events_folder('eval'),
    eval_actions=[reporter.after_evaluation],
  )
  paths = [this.model_dir]
  if this.mode == 'continuous_eval':
    paths = tf.train.checkpoints_iterator(
      this.model_dir, timeout=CONTINUOUS_EVAL_TIMEOUT
    )
  results = {}
  for path in paths:
    with this.strategy.scope():
      prefix = checkpoints.load_weights(
        this.model, path, weights=this.experiment.run.weights
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


def _make_evaluator(this: _Run, *, average: ema.WeightAverage | None):
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


def _checkpoint_manager(this: _Run, trainer: trainer_lib.Trainer):
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

  manager = tf.train.CheckpointManager
  if not this.is_chief:
    manager = checkpoints.FollowerCheckpointManager
  return manager(
    checkpoint,
    directory=this.model_dir,
    max_to_keep=settings.max_to_keep,
    checkpoint_interval=this.plan.checkpoint_interval,
    step_counter=trainer.optimizer.iterations,
    checkpoint_name=model_dir_lib.CHECKPOINT_NAME,
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
