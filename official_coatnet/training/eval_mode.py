"""The modes that evaluate what a run has saved."""

import functools
from collections.abc import Callable, Iterable

import orbit

from official_coatnet.training import (
  checkpoint_files,
  checkpoints,
  ema,
  evaluator as evaluator_lib,
  guard,
  inputs,
  model_dir as model_dir_lib,
  orbit_overrides,
  per_class,
  reporting,
  run as run_lib,
)

# How long continuous evaluation waits for the next checkpoint, in seconds.
CONTINUOUS_EVAL_TIMEOUT = 4 * 3600


def evaluate(this: run_lib.Run) -> dict[str, float]:
  """Evaluates the latest checkpoint (or the best), or each new one."""
  with this.strategy.scope():
    evaluator = make_evaluator(this, average=None)
    global_step = orbit.utils.create_global_step()
  clock = reporting.Clock(num_cores=1, batch_size=this.plan.batch_size)
  reporter = this.make_reporter(global_step, clock)
  controller = orbit_overrides.Controller(
    global_step=global_step,
    evaluator=evaluator,
    strategy=this.strategy,
    eval_summary_dir=this.events_folder('eval'),
    eval_actions=[reporter.after_evaluation, guard.check_evaluation],
    listener=this.listener,
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
    if this.mode == 'continuous_eval':
      this.stop.check()
      this.stop.end()  # Nobody asks while the next checkpoint is waited for.
  return results


def make_evaluator(
  this: run_lib.Run, *, average: ema.WeightAverage | None
) -> evaluator_lib.Evaluator:
  """Returns what evaluates a run; by its averaged weights, if it uses them."""
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
    stop=this.stop,
    progress=this.listener.evaluates,
    **weights,
  )
