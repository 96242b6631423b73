"""Tasks in this process, or in several of one machine.

Processes are spawned, never forked: a fork of a process in which TensorFlow has
started its threads hangs sooner or later.
"""

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# Progress of one task: called with how many examples more are done.
TaskProgress = Callable[[int], None]
# Carries out `function(task, progress)` for each task, here or elsewhere, and
# yields what it returns, in any order: map_here, map_tasks, beam.map_tasks.
MapTasks = Callable[..., Iterator[Any]]

# A process takes about four seconds to import TensorFlow; images that take as
# long to write.
_IMAGES_WORTH_A_PROCESS = 2000
_SECONDS_BETWEEN_MESSAGES = 0.2


def choose_number(num_images: int) -> int:
  """Returns how many processes are worth their start for so many images."""
  worth = 1 + num_images // _IMAGES_WORTH_A_PROCESS
  return max(1, min(len(os.sched_getaffinity(0)), worth))


def map_here(
  function: Callable[[Any, TaskProgress], Any],
  tasks: Iterable[Any],
  *,
  progress: TaskProgress,
) -> Iterator[Any]:
  """Carries out tasks one after the other, in this process."""
  for task in tasks:
    yield function(task, progress)


def map_tasks(
  function: Callable[[Any, TaskProgress], Any],
  tasks: Iterable[Any],
  *,
  progress: TaskProgress,
  num_processes: int,
) -> Iterator[Any]:
  """Carries out tasks in several processes.

  Args:
    function: carries out a task; called with the task and with what it calls to
      say that so many examples more are done. It is pickled, and must lie in a
      module.
    tasks: the tasks; pickled one by one, when there is a process for it.
    progress: called with the number of examples done since the last call.
    num_processes: how many processes to start at most.

  Yields:
    What `function` returns, as tasks get ready, in any order.

  Raises:
    RuntimeError: if a process dies. What `function` raises is raised here.
  """
  tasks = iter(tasks)
  context = multiprocessing.get_context('spawn')
  # By connection: process and task.
  workers: dict[Any, tuple[Any, Any]] = {}
  try:
    for task in _take(tasks, num_processes):
      connection, worker = _start(context, function)
      workers[connection] = (worker, task)
    for connection, (worker, task) in workers.items():
      _send(connection, worker, ('task', task))
    while workers:
      for connection in multiprocessing.connection.wait(list(workers)):
        worker, _ = workers[connection]
        kind, value = _receive(connection, worker)
        if kind == 'progress':
          progress(value)
          continue
        if kind == 'error':
          raise value
        following = _take(tasks, 1)
        if following:
          _send(connection, worker, ('task', following[0]))
        else:
          _send(connection, worker, ('end', None))
          del workers[connection]
          worker.join()
        yield value
  finally:
    for worker, _ in workers.values():
      worker.terminate()
      worker.join()


def _start(context: Any, function: Callable) -> tuple[Any, Any]:
  """Starts a process for tasks; returns the connection to it, and the process.

  A daemon ends with this process, and one whose parent was killed ends at its
  next message.
  """
  ours, theirs = context.Pipe()
  worker = context.Process(target=_work, args=(function, theirs), daemon=True)
  # Ctrl-C reaches all processes of a terminal; the parent deals with it. A new
  # process has its parent's mask from the start, and `_work` comes seconds
  # later.
  mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
  try:
    worker.start()
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
  theirs.close()
  return ours, worker


def _take(tasks: Iterator[Any], number: int) -> list[Any]:
  return [task for _, task in zip(range(number), tasks)]


def _send(connection, worker, message: tuple[str, Any]) -> None:
  try:
    connection.send(message)
  except ConnectionError as error:
    raise _death(worker) from error


def _receive(connection, worker) -> tuple[str, Any]:
  try:
    return connection.recv()
  except (EOFError, ConnectionError) as error:
    raise _death(worker) from error


def _death(worker) -> RuntimeError:
  worker.join(timeout=10)
  return RuntimeError(
    f'a worker process ended with exit code {worker.exitcode} in the middle of '
    'its work (-9: killed, perhaps for want of memory); start again with a '
    'smaller num_processes.'
  )


def _work(
  function: Callable[[Any, TaskProgress], Any],
  connection: multiprocessing.connection.Connection,
) -> None:
  """What a worker process does until there are no more tasks."""
  # TensorFlow would take the memory of every GPU for itself.
  os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
  progress = _Progress(connection)
  try:
    while True:
      kind, task = connection.recv()
      if kind == 'end':
        return
      try:
        result = ('done', function(task, progress.add))
      except ConnectionError:
        raise
      except Exception as error:
        result = ('error', _portable(error))
      progress.flush()
      connection.send(result)
  except (EOFError, ConnectionError):
    return  # The parent is gone.


class _Progress:
  """Sends progress now and then, not for every image."""

  def __init__(self, connection: multiprocessing.connection.Connection):
    self._connection = connection
    self._pending = 0
    self._last = time.monotonic()

  def add(self, number: int) -> None:
    """Counts so many more examples."""
    self._pending += number
    if time.monotonic() - self._last >= _SECONDS_BETWEEN_MESSAGES:
      self.flush()

  def flush(self) -> None:
    """Sends what has not been sent."""
    if self._pending:
      self._connection.send(('progress', self._pending))
    self._pending = 0
    self._last = time.monotonic()


def _portable(error: Exception) -> Exception:
  """Returns an error, or what it says if it cannot travel."""
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:
    return RuntimeError(f'{type(error).__name__}: {error}')
  return error
