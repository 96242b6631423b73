"""Who writes into a folder: one process, whose end the next one notices.

writer.json in a model_dir says which process trains there. It is written anew
each minute, so that a process of another machine that has gone without a word
is known by its silence; one of this machine is looked for. It works on any file
system that TensorFlow knows, and none of them has to have locks.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from official_coatnet import files

FILE = 'writer.json'
HEARTBEAT = 60.0
# Silence after which a process of another machine counts as gone, in seconds.
STALE = 300.0
# As long as it may take others, who have found the folder free, to write.
_SETTLE = 2.0
_SECONDS_BETWEEN_LOOKS = 2.0


@dataclasses.dataclass(frozen=True)
class Writer:
  """A process that writes into a folder.

  Attributes:
    host: Its machine, for people.
    machine: Its machine and container, for comparisons: names are not unique.
    pid: Its number there.
    started: When it was started, in the machine's own time: numbers come again.
    token: Another one each time that a folder is taken.
  """

  host: str
  machine: str
  pid: int
  started: str
  token: str

  def __str__(self) -> str:
    return f'process {self.pid} on {self.host}'

  @property
  def is_here(self) -> bool:
    """Whether it is of this machine."""
    return self.machine == _machine()

  @property
  def is_gone(self) -> bool:
    """Whether it is of this machine and has ended."""
    return self.is_here and _started(self.pid) != self.started


def mark() -> str:
  """Returns what marks a name as of this process, for `has_ended`."""
  me = this_process()
  return f'{me.machine}-{me.pid}-{me.started}-{me.token}'


def has_ended(name: str) -> bool:
  """Whether a name ends with the mark of a process here that has ended."""
  found = re.search(r'(\w+)-(\d+)-(\d+)-\w+$', name)
  if found is None:
    return False
  machine, pid, started = found.groups()
  return Writer('', machine, int(pid), started, '').is_gone


def this_process() -> Writer:
  """Returns this process, with a new token."""
  pid = os.getpid()
  return Writer(
    socket.gethostname(), _machine(), pid, _started(pid), uuid.uuid4().hex[:12]
  )


@functools.cache
def _machine() -> str:
  """Returns what two processes share that see the same process numbers."""
  with open('/proc/sys/kernel/random/boot_id') as f:
    boot = f.read().strip()
  parts = (socket.gethostname(), boot, os.readlink('/proc/self/ns/pid'))
  return hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]


def _started(pid: int) -> str:
  """Returns when a process was started; '' if it is not there, or ended."""
  try:
    with open(f'/proc/{pid}/stat') as f:
      # The name, which comes second, may hold anything.
      fields = f.read().rpartition(')')[2].split()
  except OSError:
    return ''
  return '' if fields[0] in 'ZX' else fields[19]


class Lock:
  """Holds a folder for this process, from `take` to `release`.

  Where it is lost, as after a sleep of the machine in which another process has
  taken it, `check` says so.
  """

  def __init__(
    self,
    folder: str,
    *,
    heartbeat: float = HEARTBEAT,
    stale: float = STALE,
    settle: float = _SETTLE,
    sleep: Callable[[float], None] = time.sleep,
  ):
    """Creates it.

    Args:
      folder: What it holds; there.
      heartbeat: Seconds between two signs of life.
      stale: Seconds of silence after which another process counts as gone.
      settle: Seconds after which a file that was just written is not replaced
        by others who had found none.
      sleep: A test's own.
    """
    self._folder = folder
    self._path = os.path.join(folder, FILE)
    self._heartbeat, self._stale, self._settle = heartbeat, stale, settle
    self._sleep = sleep
    self.me = this_process()
    self._lost_to: Writer | None = None
    # When who had it before, and did not give it back, last was heard of.
    self.last_sign: float | None = None
    self._released = threading.Event()
    self._thread = threading.Thread(target=self._beat, daemon=True)

  def take(self) -> None:
    """Takes the folder, after a writer that is silent is known to be gone.

    Raises:
      ValueError: If another process writes there.
    """
    other = self._read()
    if other is not None:
      self._wait_for_end_of(other)
      self.last_sign = self._written()
    if other is not None or not self._make():
      self._write()
      self._sleep(self._settle)
    found = self._read()
    if found != self.me:
      raise _taken(self._folder, found)
    self._thread.start()

  def check(self) -> None:
    """Raises a ValueError if another process has taken the folder."""
    if self._lost_to is not None:
      raise _taken(self._folder, self._lost_to)

  def release(self) -> None:
    """Gives the folder back."""
    self._released.set()
    self._thread.join()  # It may be writing.
    if self._read() == self.me:
      with contextlib.suppress(tf.errors.OpError):
        tf.io.gfile.remove(self._path)

  def _read(self) -> Writer | None:
    """Returns who holds it; None if there is no file, or not a whole one."""
    try:
      return Writer(**json.loads(files.read_text(self._path)))
    except (tf.errors.OpError, ValueError, TypeError):
      return None

  def _text(self) -> str:
    return json.dumps(dataclasses.asdict(self.me)) + '\n'

  def _write(self) -> None:
    files.write_text(self._path, self._text())

  def _make(self) -> bool:
    """Writes it if nobody else does at the same moment.

    Returns:
      False where the file system cannot tell, or somebody else was faster.
    """
    if '://' in self._path:
      return False
    temporary = os.path.join(self._folder, f'.{FILE}.{self.me.token}')
    files.write_text(temporary, self._text())
    try:
      os.link(temporary, self._path)
    except FileExistsError:
      other = self._read()
      if other is not None:
        raise _taken(self._folder, other) from None
      return False  # Not a whole one, which nobody has.
    except OSError:
      return False
    finally:
      os.remove(temporary)
    return True

  def _written(self) -> float | None:
    """Returns when the file was written, by the clock of its server."""
    try:
      return tf.io.gfile.stat(self._path).mtime_nsec / 1e9
    except tf.errors.OpError:
      return None  # It was given back meanwhile.

  def _age(self) -> float:
    """Returns the age of the file in seconds, by the clock of its server."""
    probe = os.path.join(self._folder, f'.{FILE}.{self.me.token}')
    files.write_text(probe, '')
    try:
      written, now = (
        tf.io.gfile.stat(path).mtime_nsec for path in (self._path, probe)
      )
    finally:
      tf.io.gfile.remove(probe)
    return max(now - written, 0) / 1e9

  def _wait_for_end_of(self, other: Writer) -> None:
    """Returns when a writer is gone; a ValueError if it is not."""
    if other.is_gone:
      logging.warning('%s has gone; this one goes on.', other)
      return
    if other.is_here:
      raise _taken(self._folder, other)
    said, last_age = False, math.inf
    while (age := self._age_or_none()) is not None and self._read() == other:
      if age >= self._stale:
        logging.warning('%s has been silent for %.0f s; gone.', other, age)
        return
      if age < last_age < math.inf:
        raise _taken(self._folder, other)  # It has given a sign of life.
      if not said:
        logging.warning(
          'Training in %s is %s, last heard of %.0f s ago. If it gives no sign '
          'of life, this one begins in %.0f s.',
          self._folder,
          other,
          age,
          self._stale - age,
        )
        said = True
      last_age = age
      self._sleep(_SECONDS_BETWEEN_LOOKS)
    found = self._read()
    if found is not None:
      raise _taken(self._folder, found)

  def _age_or_none(self) -> float | None:
    try:
      return self._age()
    except tf.errors.NotFoundError:
      return None  # It was given back meanwhile.

  def _beat(self) -> None:
    """Gives a sign of life each minute; runs in a thread."""
    while not self._released.wait(self._heartbeat):
      found = self._read()
      if found is not None and found != self.me:
        self._lost_to = found
        return
      if found is None and not tf.io.gfile.isdir(self._folder):
        continue  # Whoever has removed the folder does not want it back.
      try:
        self._write()
      except OSError as error:  # Perhaps the next one can be written.
        logging.warning('%s', error)


def _taken(folder: str, other: Writer | None) -> ValueError:
  return ValueError(
    f'{folder!r} is being written by {other or "another process"}: two runs '
    'would spoil each other. Give another --model_dir, or end that one; its '
    f'evaluation (--mode=eval, continuous_eval) and exports may run beside it. '
    f'If it has gone, start again {STALE / 60:.0f} minutes after its end.'
  )
