"""A run under way: what the parts of `controller` share."""

import dataclasses
import functools
from collections.abc import Mapping

import tensorflow as tf

from official_coatnet.data import sources as sources_lib
from official_coatnet.training import (
  agreement as agreement_lib,
  consistency,
  devices,
  experiment as experiment_lib,
  listener as listener_lib,
  model_dir as model_dir_lib,
  per_class,
  plan as plan_lib,
  profiling,
  reporting,
  stop as stop_lib,
  stored_data,
  trackers,
  writer,
)


@dataclasses.dataclass(frozen=True)
class Run:
  """What all parts of a run share.

  Attributes:
    experiment: With the numbers of images filled in.
    sources: Where the images of 'train_data' and 'eval_data' come from, if
      they are not made up.
    plan: Its steps.
    mode: One of `controller.MODES`.
    model_dir: Its folder.
    strategy: Where it runs.
    latest: The newest whole checkpoint, from which it goes on; None of a run
      that begins, or only evaluates.
    keeps_metrics: Whether metrics and events can be written there.
    tally: Of an evaluation class by class.
    checkpoint_step: Which checkpoint to evaluate, if it was said.
    model: The network, once it is built.
    stop: Says, on all of them alike, whether it is to end here.
    sinks: Trackers that are told its numbers, by name.
    lock: Keeps others from writing to its folder, where this process does.
    listener: Hears what it does.
    started: When the process began, in seconds of the world's clock.
    tpu_type: As of `controller.run`.
    profile: Traces some of its steps.
  """

  experiment: experiment_lib.Experiment
  sources: Mapping[str, sources_lib.Source]
  plan: plan_lib.Plan
  mode: str
  model_dir: str
  strategy: tf.distribute.Strategy
  latest: str | None = None
  keeps_metrics: bool = True
  tally: per_class.Tally | None = None
  checkpoint_step: int | None = None
  model: tf.keras.Model | None = None
  stop: stop_lib.Stop = stop_lib.Stop()
  sinks: Mapping[str, trackers.Sink] = dataclasses.field(default_factory=dict)
  lock: writer.Lock | None = None
  listener: listener_lib.Listener = listener_lib.Listener()
  started: float | None = None
  tpu_type: str | None = None
  profile: profiling.Profile | None = None

  @property
  def is_new(self) -> bool:
    """Whether it has no checkpoint yet."""
    return self.latest is None

  @property
  def trains(self) -> bool:
    """Whether its mode trains."""
    return self.mode in ('train', 'train_and_eval')

  @property
  def is_chief(self) -> bool:
    """Whether this process writes the files."""
    return devices.is_chief(self.strategy)

  @functools.cached_property
  def agreement(self) -> agreement_lib.Agreement:
    """Of its machines."""
    return agreement_lib.Agreement(self.strategy)

  def make_reporter(
    self, global_step: tf.Variable, clock: reporting.Clock
  ) -> reporting.Reporter:
    """Returns what writes its metrics."""
    return reporting.Reporter(
      plan=self.plan,
      clock=clock,
      global_step=global_step,
      metrics_file=self.metrics_file,
      listener=self.listener,
      trains=self.trains,
      tpu_type=self.tpu_type,
    )

  @property
  def metrics_file(self) -> model_dir_lib.MetricsFile:
    """Where metrics go."""
    writes = self.is_chief and self.keeps_metrics
    return trackers.ToldFile(self.model_dir, sinks=self.sinks, writes=writes)

  def compare(self) -> stored_data.Findings:
    """Compares it with what it began with, and logs what differs."""
    return consistency.check(
      self.experiment, self.sources, mode=self.mode, model_dir=self.model_dir
    )

  def events_folder(self, kind: str) -> str | None:
    """Returns where events go; None if none are written.

    Of several workers one writes them. An evaluation that is asked for once is
    no part of the run, and leaves its line of metrics alone.
    """
    if not self.is_chief or not self.keeps_metrics or self.mode == 'eval':
      return None
    return model_dir_lib.events_folder(self.model_dir, kind)
