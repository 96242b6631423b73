"""Runs an experiment: `run` puts the parts together and hands them to orbit."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.modeling import network
from official_coatnet.training import (
  agreement as agreement_lib,
  checkpoint_files,
  devices,
  eval_mode,
  experiment as experiment_lib,
  inputs,
  listener as listener_lib,
  model_dir as model_dir_lib,
  orbit_overrides,
  per_class,
  plan as plan_lib,
  preflight,
  profiling,
  reporting,
  restart as restart_lib,
  run as run_lib,
  stop as stop_lib,
  trackers,
  train_mode,
  writer,
)

MODES = ('train', 'eval', 'train_and_eval', 'continuous_eval')


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
  restart: bool = False,
  stop: stop_lib.Stop | None = None,
  listener: listener_lib.Listener | None = None,
  started: float | None = None,
  tpu_type: str | None = None,
  profile: tuple[int, int] | None = None,
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
    restart: Whether to begin at step 0, and to move what an earlier run has
      left in `model_dir` into a folder in it.
    stop: Says when to end before the last step; asked from the end of the first
      training loop on, or of the first batch of an evaluation. On several
      machines all end if one is to. Never, if None.
    listener: Hears what the run does; by default it goes to the log.
    started: When this process began, in seconds of the world's clock: what it
      has done since then is part of the run's time. Now, if None.
    tpu_type: Of the TPU of `strategy`, such as 'v3-8', if that is known.
    profile: First and last step to take a trace of, for TensorBoard.

  Returns:
    The metrics of the last evaluation; empty in mode 'train'.

  Raises:
    ValueError: If something stands in the way of the run, such as another one
      in its folder, or stops its input: a damaged record, an image that does
      not decode, a label out of range.
    guard.BadStepsError: If steps are not finite, more of them in a row than
      `max_bad_steps`; with the checkpoint to go on from.
    guard.NonFiniteEvaluationError: If the loss of an evaluation is not.
    guard.NonFiniteWeightsError: If weights to be saved are not.
    devices.WorkerLostError: If another machine of the run has gone.
    stop_lib.StoppedError: If `stop` said so. A run that trains has a checkpoint
      then of the step where it was, from which the same call goes on.
  """
  if mode not in MODES:
    raise ValueError(f'`mode` is {mode!r}; it must be one of {MODES}.')
  if tally is not None:
    per_class.check(mode=mode, num_hosts=devices.num_hosts(strategy))
  aside = restart_lib.new_folder(model_dir) if model_dir and restart else None
  problems, sources = preflight.examine(
    experiment,
    mode=mode,
    model_dir=aside or model_dir,
    num_replicas=strategy.num_replicas_in_sync,
    num_hosts=devices.num_hosts(strategy),
  )
  if problems:
    raise ValueError(preflight.join_problems(problems))
  if checkpoint_step is not None:
    checkpoint_files.prefix_at(model_dir, checkpoint_step)  # At once if not.
  agreement = agreement_lib.Agreement(strategy)
  asked = agreement_lib.AgreedStop(stop or stop_lib.Stop(), agreement)
  with contextlib.ExitStack() as stack:
    stack.callback(asked.end)
    stack.enter_context(orbit_overrides.speaks_once())
    stack.enter_context(devices.lost_workers(strategy))
    lock = None
    if mode in ('train', 'train_and_eval'):
      lock = stack.enter_context(
        _only_writer(model_dir, strategy, agreement=agreement)
      )
    if aside is not None:
      if devices.is_chief(strategy):
        restart_lib.set_aside(model_dir, aside)
      agreement.any(False)  # The others look when that is done.
    this = dataclasses.replace(
      _prepare(
        experiment, sources, mode=mode, model_dir=model_dir, strategy=strategy
      ),
      tally=tally,
      checkpoint_step=checkpoint_step,
      stop=asked,
      lock=lock,
      listener=listener or listener_lib.Listener(),
      started=time.time() if started is None else started,
      tpu_type=tpu_type,
    )
    if profile is not None and this.trains and this.is_chief:
      folder = model_dir_lib.events_folder(model_dir, 'train')
      tracer = profiling.Profile(*profile, folder=folder)
      stack.callback(tracer.close)
      this = dataclasses.replace(this, profile=tracer)
    if this.trains:
      if this.is_chief:
        sinks = stack.enter_context(
          trackers.started(this.experiment, this.model_dir)
        )
        this = dataclasses.replace(this, sinks=sinks)
      return train_mode.train(
        this, on_start=on_start, on_first_loop=on_first_loop
      )
    return eval_mode.evaluate(this)


@contextlib.contextmanager
def _only_writer(
  model_dir: str,
  strategy: tf.distribute.Strategy,
  *,
  agreement: agreement_lib.Agreement,
) -> Iterator[writer.Lock | None]:
  """Within it, no other run trains in the folder, or a ValueError says which.

  Yields:
    The lock; None on machines that write nothing there.
  """
  lock: writer.Lock | None = None
  problem: Exception | None = None
  if devices.is_chief(strategy):
    files.make_folder(model_dir)
    lock = writer.Lock(model_dir)
    try:
      lock.take()
    except (ValueError, OSError) as e:
      problem = e
  try:
    if agreement.any(problem is not None):
      raise problem or ValueError(
        f'{model_dir!r} is being written by another run, as the first machine '
        'of this one has found. End that one, or give another --model_dir.'
      )
    yield lock
  finally:
    if lock is not None and problem is None:
      lock.release()


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
  latest = None if evaluates_only else checkpoint_files.newest_whole(model_dir)
  this = run_lib.Run(
    experiment, sources, plan, mode, model_dir, strategy, latest
  )
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
