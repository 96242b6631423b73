"""How checkpoints are saved, kept and restored.

A save is the latest once it is whole: TensorFlow has written it, it has been
read back, its digest is there, and then the file `checkpoint` names it. A
process that is killed in between leaves the one before as the latest. All but
TensorFlow's writing, into memory then, may go on beside the run.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.training import (
  background,
  checkpoint_files,
  checkpoint_writing,
  digest,
  retention,
)


class CheckpointManager:
  """Saves, keeps and restores the checkpoints of a run, as orbit asks for it.

  Attributes:
    checkpoint: What is saved.
    directory: Folder of the run.
    checkpoint_interval: Steps between two saves; None for at each call.
    latest_checkpoint: Path of what was saved or restored last, without ending;
      None before. It may be on its way still.
    on_lost: Called by a save that finds the folder of the run removed, after a
      warning, to write again what else belongs there; None for nothing.
  """

  def __init__(
    self,
    checkpoint: tf.train.Checkpoint,
    directory: str,
    *,
    max_to_keep: int,
    checkpoint_interval: int | None = None,
    step_counter: tf.Variable | None = None,
    init_fn: Callable[[], None] | None = None,
    keep_every_steps: int | None = None,
    keep_every_hours: float | None = None,
    start: str | None = None,
    asynchronous: bool = False,
  ):
    """Makes a manager; it reads and writes nothing yet.

    Args:
      checkpoint: What to save.
      directory: Folder of the run.
      max_to_keep: As of `retention.choose`.
      checkpoint_interval: Steps between two saves, with `step_counter`.
      step_counter: Says where the run is.
      init_fn: Called where there is nothing to restore.
      keep_every_steps: As of `retention.choose`.
      keep_every_hours: As of `retention.choose`.
      start: The newest whole checkpoint, if that has been looked for.
      asynchronous: Whether `save` may return when the checkpoint is in memory,
        if there is enough of that. It is there after `sync`.
    """
    self.checkpoint = checkpoint
    self.directory = directory
    self.checkpoint_interval = checkpoint_interval
    self.latest_checkpoint: str | None = None
    self.on_lost: Callable[[], None] | None = None
    self._step_counter = step_counter
    self._init_fn = init_fn
    self._start = start
    self._last_step: int | None = None
    self._max_to_keep = max_to_keep
    self._every_steps, self._every_hours = keep_every_steps, keep_every_hours
    self._worker = background.Worker() if asynchronous else None
    self._finished: list[tuple[int, str]] = []

  @property
  def checkpoints(self) -> list[str]:
    """The checkpoints of the folder, by step."""
    steps = sorted(checkpoint_files.list_steps(self.directory))
    return [checkpoint_files.prefix_of(self.directory, step) for step in steps]

  def restore_or_initialize(self) -> str | None:
    """Restores the newest whole checkpoint, or calls `init_fn`.

    Returns:
      The path of the checkpoint; None if there was none.

    Raises:
      ValueError: If there are checkpoints, but none is whole.
    """
    prefix = self._start or checkpoint_files.newest_whole(self.directory)
    if prefix is not None:
      return self.restore(prefix)
    if self._init_fn is not None:
      self._init_fn()
    return None

  def restore(self, prefix: str) -> str:
    """Restores a checkpoint that is known to be whole, and returns its path."""
    self.checkpoint.restore(prefix)
    self.latest_checkpoint = prefix
    self._last_step = self._step()
    return prefix

  def _step(self) -> int | None:
    counter = self._step_counter
    return None if counter is None else int(counter.numpy())

  def save(
    self,
    checkpoint_number: int,
    check_interval: bool = True,
    options: tf.train.CheckpointOptions | None = None,
  ) -> str | None:
    """Saves a checkpoint, makes it the latest and removes old ones.

    Waits for the one before.

    Args:
      checkpoint_number: The number in its name: the step.
      check_interval: Whether to save only if `checkpoint_interval` steps have
        gone by; else it saves unless it has at this very step.
      options: What orbit hands on; there is nothing in it to heed.

    Returns:
      Its path without ending; None if nothing was saved.

    Raises:
      OSError: As of `checkpoint_writing.write_whole`, of this save or of the
        one before. The checkpoint that was whole before them stays the latest.
    """
    del options
    step, last = self._step(), self._last_step
    if step is not None and last is not None:
      if step == last:
        return None
      if check_interval and step < last + (self.checkpoint_interval or 0):
        return None
    self.sync()
    # As tf.train.CheckpointManager does; it is a part of the checkpoint.
    self.checkpoint.save_counter.assign_add(1)
    prefix = self._save(int(checkpoint_number))
    self.latest_checkpoint, self._last_step = prefix, step
    return prefix

  def _save(self, number: int) -> str:
    prefix = self._prefix(number)
    if self.on_lost is not None and not tf.io.gfile.exists(self.directory):
      logging.warning(
        '%s has been removed while the run was writing to it: what was there '
        'is lost. It is made again, with the state of now.',
        self.directory,
      )
      files.make_folder(self.directory)
      self.on_lost()
    if self._worker is None or self._must_wait():
      self._finish(number, self.checkpoint.write)
    else:
      copy = background.InMemory(self.checkpoint)
      self._worker.start(lambda: self._finish(number, copy.bring))
    return prefix

  def _must_wait(self) -> bool:
    why = background.obstacle(
      checkpoint_writing.variables_of(self.checkpoint),
      size=checkpoint_writing.size_of(self.checkpoint),
    )
    if why is not None:
      logging.log_first_n(
        logging.WARNING,
        'The run waits until its checkpoints are written, because %s.',
        1,
        why,
      )
    return why is not None

  def _finish(self, number: int, write: Callable[[str], object]) -> None:
    prefix = self._prefix(number)
    checkpoint_writing.write_whole(self.checkpoint, prefix, write=write)
    self._publish(number)
    self._finished.append((number, prefix))

  def _publish(self, number: int) -> None:
    """Names the checkpoint as the latest, and removes what is to go."""
    there = checkpoint_files.list_files(self.directory)
    usable = {
      step
      for step, found in there.items()
      if checkpoint_writing.is_usable(found)
    }
    listed = checkpoint_files.listed_steps(self.directory)
    # Of saves that were killed before the digest, too. Others somebody has put
    # here.
    ours = {
      step
      for step in usable
      if step in listed
      or digest.ENDING in there[step]
      or listed
      and max(listed) < step <= number
    }
    # One that has been cut must not take the place of a whole one.
    complete = {s for s in ours if not digest.lengths_differ(self._prefix(s))}
    times = dict.fromkeys(complete, 0.0)
    if self._every_hours is not None:
      times = {step: digest.time_of(self._prefix(step)) for step in complete}
    kept = retention.choose(
      times,
      number,
      max_to_keep=self._max_to_keep,
      every_steps=self._every_steps,
      every_hours=self._every_hours,
    )
    # First with those that are to go: who is killed meanwhile leaves a list of
    # what is the run's own.
    gone = sorted(ours - {*kept})
    if gone:
      checkpoint_files.write_state(self.directory, [*gone, *kept])
    for step, found in there.items():
      if step in gone or not checkpoint_writing.is_usable(found):
        checkpoint_writing.remove(self._prefix(step))
    checkpoint_files.write_state(self.directory, kept)
    checkpoint_writing.remove_leftovers(self.directory)

  def _prefix(self, step: int) -> str:
    return checkpoint_files.prefix_of(self.directory, step)

  def sync(self) -> None:
    """Waits until what is saved is there.

    Raises:
      OSError: As of `save`, if it could not be written.
    """
    if self._worker is not None:
      self._worker.wait()

  def take_finished(self) -> list[tuple[int, str]]:
    """Returns number and path of those that are there, once each.

    Raises:
      OSError: As of `save`, if one could not be written.
    """
    if self._worker is not None:
      self._worker.poll()
    finished, self._finished = self._finished, []
    return finished

  @contextlib.contextmanager
  def finishing(self) -> Iterator[None]:
    """At the end of this context all that was saved is there.

    An error of the context is the one that is raised; what else went wrong is
    logged.
    """
    try:
      yield
    except BaseException:
      try:
        self.sync()
      except (OSError, tf.errors.OpError) as error:
        logging.error('%s', error)
      raise
    self.sync()


class FollowerCheckpointManager(CheckpointManager):
  """Of a worker that is not the chief: reads the run's folder, leaves it alone.

  To save is a common act of all workers, since some values are averages over
  them. What a follower has to write goes into a temporary folder.
  """

  def __init__(self, *args, **kwargs):
    """As of CheckpointManager; `directory` is that of the chief."""
    super().__init__(*args, **kwargs)
    self._temporary = tempfile.mkdtemp(prefix='coatnet_worker_')
    atexit.register(shutil.rmtree, self._temporary, ignore_errors=True)

  def _save(self, number: int) -> str:
    for name in os.listdir(self._temporary):
      os.remove(os.path.join(self._temporary, name))
    prefix = checkpoint_files.prefix_of(self._temporary, number)
    self.checkpoint.write(prefix)
    return prefix
