"""Checkpoints that are brought to their folder while the run goes on.

TensorFlow writes a checkpoint into the memory of this process, for which the
run waits. A thread writes that to the disk or bucket, which may take many times
as long, reads it back, and makes it the latest.
"""

import itertools
import os
import posixpath
import re
from collections.abc import Callable
from concurrent import futures

import tensorflow as tf

from official_coatnet import files

# TensorFlow's file system in memory. A file there doubles its room as it grows,
# and for a moment both are there.
_ROOT = 'ram://official_coatnet'
_COPIES = 3
_NUMBERS = itertools.count()
# Of the container that the process runs in: what it may have and what it has,
# by the second and the first version of control groups.
_GROUPS = (
  ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'),
  (
    '/sys/fs/cgroup/memory/memory.limit_in_bytes',
    '/sys/fs/cgroup/memory/memory.usage_in_bytes',
  ),
)


class Worker:
  """Does one thing at a time beside the run; what goes wrong is raised later.

  What has begun is finished even where the program ends, unless it is killed.
  """

  def __init__(self) -> None:
    """Starts no thread yet."""
    self._pool = futures.ThreadPoolExecutor(
      1, thread_name_prefix='official_coatnet_checkpoint'
    )
    self._pending: futures.Future[None] | None = None

  def start(self, task: Callable[[], None]) -> None:
    """Begins a task. There must be none that has not been waited for."""
    assert self._pending is None
    self._pending = self._pool.submit(task)

  def wait(self) -> None:
    """Waits for the task, if there is one, and raises its error."""
    pending, self._pending = self._pending, None
    if pending is not None:
      pending.result()

  def poll(self) -> None:
    """As `wait`, but leaves a task that goes on alone."""
    if self._pending is not None and self._pending.done():
      self.wait()


class InMemory:
  """A checkpoint in the memory of this process, under no name of its own."""

  def __init__(self, checkpoint: tf.train.Checkpoint):
    """Writes it there. On several machines, a common act of all of them."""
    self._prefix = posixpath.join(_ROOT, str(next(_NUMBERS)))
    checkpoint.write(self._prefix)

  def bring(self, prefix: str) -> None:
    """Writes it where it belongs, and gives the memory free, whatever happens.

    Its files get their names when all of them are there, the index last: who
    is killed before that leaves what is no checkpoint.

    Args:
      prefix: Path without ending.

    Raises:
      OpError: If it cannot be written.
    """
    names = tf.io.gfile.glob(f'{self._prefix}.*')
    # data-00000-of-00001 comes before index.
    endings = sorted(name.removeprefix(self._prefix) for name in names)
    try:
      # As TensorFlow does.
      tf.io.gfile.makedirs(os.path.dirname(prefix))
      for ending in endings:
        tf.io.gfile.copy(
          f'{self._prefix}{ending}', f'{prefix}_temp{ending}', overwrite=True
        )
      for ending in endings:
        tf.io.gfile.rename(
          f'{prefix}_temp{ending}', f'{prefix}{ending}', overwrite=True
        )
    finally:
      for name in names:
        tf.io.gfile.remove(name)


def obstacle(
  variables: list[tf.Variable],
  *,
  size: int,
  available: Callable[[], int | None] | None = None,
) -> str | None:
  """Says why checkpoints cannot be written in the background.

  Args:
    variables: What a checkpoint holds.
    size: Bytes that it has.
    available: As `available_memory`, which it is by default.

  Returns:
    A part of a sentence, after 'because'; None if they can.
  """
  # Else TensorFlow writes on the machine that has the variables, into its
  # memory, out of which nobody here can read.
  here = _task(tf.zeros([]).device)
  elsewhere = {_task(v.device) for v in variables} - {here, _task('')}
  if elsewhere:
    return f'the weights are on another machine ({sorted(elsewhere)[0]})'
  free = (available or available_memory)()
  if free is not None and free < _COPIES * size:
    return (
      f'that takes up to {files.megabytes(_COPIES * size)} of memory, and '
      f'{files.megabytes(free)} are free'
    )
  return None


def _task(device: str) -> str:
  found = re.search(r'/job:\w+/replica:\d+/task:\d+', device)
  return found[0] if found else ''


def available_memory(*, root: str = '/') -> int | None:
  """Returns the bytes of memory that this process may still take.

  Args:
    root: Of the file system; a test's own.

  Returns:
    Of the machine or of the container, whichever has less; None if neither
    says.
  """
  found = []
  machine = _read(root, '/proc/meminfo')
  if match := re.search(r'^MemAvailable: *(\d+) kB$', machine, re.MULTILINE):
    found.append(int(match[1]) * 1024)
  for limit, usage in _GROUPS:
    # 'max' for no limit.
    most, used = (_read(root, path).strip() for path in (limit, usage))
    if most.isdecimal() and used.isdecimal():
      # What it has read of files is counted, and given back where it is needed.
      stat = _read(root, os.path.join(os.path.dirname(limit), 'memory.stat'))
      cached = re.search(
        r'^(?:total_)?inactive_file (\d+)$', stat, re.MULTILINE
      )
      kept = int(used) - (int(cached[1]) if cached else 0)
      found.append(max(0, int(most) - kept))
  return min(found, default=None)


def _read(root: str, path: str) -> str:
  try:
    with open(os.path.join(root, path.lstrip('/'))) as file:
      return file.read()
  except OSError:  # Of another system, or not of ours to read.
    return ''
