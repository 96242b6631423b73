"""What tools/benchmark/trainer.py compares: a run, and a bare loop in it."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Iterator
from unittest import mock

import tensorflow as tf

from official_coatnet.data import pipeline, schema
from official_coatnet.records import writing
from official_coatnet.training import (
  experiment as experiment_lib,
  plan as plan_lib,
  train_mode,
  trainer,
)
from tools import progress
from tools.benchmark import input_variants, timing

_NUM_CLASSES = 1000
# The first loop compiles; the second still fills caches.
_LOOPS_LEFT_OUT = 2


@dataclasses.dataclass(frozen=True)
class Loop:
  """What one loop took, by the whole trainer and bare.

  Attributes:
    steps: Steps of each of the two.
    whole: CPU seconds and seconds of the trainer, from its call to the next.
    bare: The same of the compiled loop on batches in memory.
  """

  steps: int
  whole: tuple[float, float]
  bare: tuple[float, float]


class Stopwatch:
  """CPU seconds and seconds between two idle moments of the process."""

  def start(self):
    """Starts to count."""
    self._cpu, self._seconds = timing.idle_cpu_seconds(), time.perf_counter()

  def stop(self) -> tuple[float, float]:
    """Returns what has passed; CPU time until the threads are idle."""
    seconds = time.perf_counter() - self._seconds
    return timing.idle_cpu_seconds() - self._cpu, seconds


class Pairs:
  """Collects the loops of a run.

  Attributes:
    loops: Those that count, in order.
    period: Loops from one checkpoint to the next; known when the run starts.
  """

  def __init__(self) -> None:
    self.loops: list[Loop] = []
    self.period = 1
    self._stopwatch = Stopwatch()
    self._open: tuple[int, tuple[float, float]] | None = None
    self._left_out = 0
    self._total: int | None = None
    self._progress = progress.Progress('loops', is_still=True)

  def plan(self, plan: plan_lib.Plan):
    """The run knows how long it is."""
    self.period = plan.checkpoint_interval // plan.steps_per_loop
    self._total = -(-plan.total_steps // plan.steps_per_loop)

  def close(self):
    """There are no more loops."""
    self.end()
    self._progress.close()

  def begin(self, steps: int, bare: tuple[float, float]):
    """The trainer starts a loop, after a bare one of as many steps."""
    self._open = (steps, bare)
    self._stopwatch.start()

  def end(self):
    """The trainer is done with a loop and all that follows it."""
    if self._open is None:
      return
    whole = self._stopwatch.stop()
    steps, bare = self._open
    self._open = None
    self._left_out += 1
    if self._left_out > _LOOPS_LEFT_OUT:
      self.loops.append(Loop(steps, whole, bare))
    self._progress(self._left_out, self._total)

  def seconds(self, kind: str) -> tuple[float, float]:
    """Mean CPU seconds and seconds a step, of `kind` 'whole' or 'bare'."""
    steps = sum(each.steps for each in self.loops)
    return tuple(
      sum(getattr(each, kind)[clock] for each in self.loops) / steps
      for clock in (0, 1)
    )

  def ratio(self, *, clock: int) -> float:
    """Speed of the trainer over that of the bare loop.

    The median over periods, each of which has one checkpoint, and so its share
    of everything that a run does.

    Args:
      clock: 0 for CPU seconds, 1 for seconds.

    Raises:
      ValueError: If the run was too short for a period.
    """
    if len(self.loops) < self.period:
      raise ValueError(
        f'The run has {len(self.loops)} loops after the first '
        f'{_LOOPS_LEFT_OUT}, but {self.period} from one checkpoint to the '
        'next. Raise TRAIN_STEPS (or EPOCHS).'
      )
    starts = range(0, len(self.loops) - self.period + 1, self.period)
    parts = [self.loops[start : start + self.period] for start in starts]
    return statistics.median(
      sum(each.bare[clock] for each in part)
      / sum(each.whole[clock] for each in part)
      for part in parts
    )


@contextlib.contextmanager
def paired_trainer(pairs: Pairs) -> Iterator[None]:
  """Within this context `controller.run` trains in turns with a bare loop.

  The bare loop is the same compiled `Trainer.train_loop`, on a batch of the run
  that stays in memory. It moves the weights too, but not the step. The run is a
  run in everything else: orbit, input, progress, events, checkpoints.
  """

  class PairedTrainer(trainer.Trainer):
    """A trainer that runs a bare loop before each of its own."""

    def set_dataset(self, dataset):
      super().set_dataset(dataset)
      pairs.plan(self._plan)
      batch = next(iter(dataset))
      self._memory = iter(
        self._strategy.distribute_datasets_from_function(
          lambda context: tf.data.Dataset.from_tensors(batch).repeat()
        )
      )

    def train(self, num_steps):
      pairs.end()
      step = int(self.optimizer.iterations.numpy())
      stopwatch = Stopwatch()
      stopwatch.start()
      self.train_loop(self._memory, num_steps)
      self._metrics.results()  # Waits for the loop.
      bare = stopwatch.stop()
      self.optimizer.iterations.assign(step)
      pairs.begin(int(num_steps), bare)
      return super().train(num_steps)

  with mock.patch.object(train_mode.trainer_lib, 'Trainer', PairedTrainer):
    try:
      yield
    finally:
      pairs.close()


def input_seconds(
  experiment: experiment_lib.Experiment, *, num_batches: int
) -> tuple[float, float]:
  """Returns CPU seconds and seconds that the input takes for a batch, alone."""
  batches = iter(
    pipeline.make_dataset(
      experiment.train_data, seed=experiment.run.seed, is_training=True
    )
  )
  for _ in range(num_batches):  # Fills the shuffle buffer and other caches.
    next(batches)
  stopwatch = Stopwatch()
  stopwatch.start()
  for _ in range(num_batches):
    next(batches)
  cpu, seconds = stopwatch.stop()
  return cpu / num_batches, seconds / num_batches


def write_photographs(folder: str, *, num_images: int):
  """Writes records of JPEG files like those of ImageNet, both splits."""
  encoded = [input_variants.photograph(number) for number in range(num_images)]
  for split in ('train', 'validation'):
    writing.write_split(
      lambda shard: _records(encoded),
      folder,
      split=split,
      num_shards=1,
      schema='imagenet',
      num_classes=_NUM_CLASSES,
      label_offset=schema.get_schema('imagenet').label_offset,
    )


def _records(encoded: list[bytes]) -> Iterator[writing.Record]:
  for number, image in enumerate(encoded):
    shape = tf.io.extract_jpeg_shape(image).numpy()
    serialized = schema.serialize_imagenet(
      image, label=number + 1, height=int(shape[0]), width=int(shape[1])
    )
    yield writing.Record(serialized, [number + 1])
