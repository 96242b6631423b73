"""Several machines without TPUs: TF_CONFIG, and who of the workers does what.

Every worker runs the same program on the same configuration. All take part in
each step, evaluation and checkpoint, because values are summed over all; one,
the chief, writes the files.
"""

import atexit
import contextlib
import dataclasses
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping

import tensorflow as tf

ENVIRONMENT_VARIABLE = 'TF_CONFIG'
_EXAMPLE = (
  '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
  '"task": {"type": "worker", "index": 0}}'
)
_JOBS = ('chief', 'worker')


class WorkerLostError(ConnectionError):
  """A worker or a TPU has gone. The same command, started again, resumes."""


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Which machines train together, and which of them this is.

  Attributes:
    workers: Addresses, 'host:port', the chief first.
    index: Which of them this is.
  """

  workers: tuple[str, ...]
  index: int


def read_cluster(
  environment: Mapping[str, str] = os.environ,
) -> Cluster | None:
  """Reads TF_CONFIG.

  Args:
    environment: Environment variables.

  Returns:
    The cluster, or None where this machine trains alone: TF_CONFIG is not set,
    or names one machine only, as some services do for every job.

  Raises:
    ValueError: If it does not say which machines there are and which is this.
  """
  text = environment.get(ENVIRONMENT_VARIABLE, '').strip()
  if not text:
    return None
  try:
    config = json.loads(text)
  except json.JSONDecodeError as e:
    raise _error(text, f'it is not JSON ({e})') from e
  if not isinstance(config, dict):
    raise _error(text, 'it must be an object of `cluster` and `task`')
  jobs = config.get('cluster')
  if not jobs and not config.get('task'):
    return None
  if not isinstance(jobs, dict) or not jobs:
    raise _error(text, '`cluster` must be an object of lists of addresses')
  unknown = sorted(set(jobs) - {*_JOBS, 'evaluator'})
  if unknown:
    raise _error(
      text,
      f'`cluster` has the job {unknown[0]!r}; it may have "chief" and "worker" '
      '(parameter servers are not used here)',
    )
  addresses = _addresses(text, jobs)
  return _place(text, config.get('task'), addresses=addresses)


def _addresses(text: str, jobs: Mapping) -> dict[str, list[str]]:
  """Returns the addresses of each job that trains."""
  result = {}
  for job in _JOBS:
    addresses = jobs.get(job, [])
    if not isinstance(addresses, list):
      raise _error(text, f'`cluster.{job}` must be a list of addresses')
    for address in addresses:
      if not re.fullmatch(r'(\[.+\]|[^:/\s]+):\d+', str(address)):
        raise _error(
          text, f'{address!r} is no address; it must be of the form host:port'
        )
    result[job] = addresses
  if len(result['chief']) > 1:
    raise _error(text, 'there is more than one chief')
  everyone = result['chief'] + result['worker']
  twice = sorted({a for a in everyone if everyone.count(a) > 1})
  if twice:
    raise _error(text, f'the address {twice[0]!r} comes twice')
  return result


def _place(text: str, task, *, addresses) -> Cluster | None:
  """Finds this machine among the addresses."""
  if not isinstance(task, dict):
    raise _error(text, '`task` must be an object of `type` and `index`')
  job, index = task.get('type'), task.get('index')
  if job == 'evaluator':
    raise _error(
      text,
      'its task is an evaluator, which is no part of a cluster: unset '
      'TF_CONFIG there and use --mode=continuous_eval',
    )
  if job not in addresses or not addresses[job]:
    raise _error(
      text,
      f'`task.type` is {job!r}; it must be a job of `cluster`: '
      + ' or '.join(repr(j) for j in addresses if addresses[j]),
    )
  # JSON's true is Python's True, an int.
  if isinstance(index, str) and index.isdigit():
    index = int(index)
  if type(index) is not int or not 0 <= index < len(addresses[job]):
    raise _error(
      text,
      f'`task.index` is {index!r}; `cluster.{job}` has {len(addresses[job])} '
      f'addresses, so that it must be from 0 to {len(addresses[job]) - 1}, '
      'another one on each machine',
    )
  everyone = (*addresses['chief'], *addresses['worker'])
  if len(everyone) == 1:
    return None
  return Cluster(everyone, everyone.index(addresses[job][index]))


def _error(text: str, problem: str) -> ValueError:
  shown = text if len(text) <= 200 else f'{text[:200]}...'
  return ValueError(
    f'TF_CONFIG is {shown!r}: {problem}. On two machines it is {_EXAMPLE} on '
    'the first, and with index 1 on the second. Unset it to train on this '
    'machine alone.'
  )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
  """Whether this process writes the files of the run."""
  resolver = strategy.cluster_resolver
  if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
    return True
  jobs = resolver.cluster_spec().jobs
  return resolver.task_id == 0 and (
    resolver.task_type == 'chief' or 'chief' not in jobs
  )


class FollowerCheckpointManager(tf.train.CheckpointManager):
  """Of a worker that is not the chief: reads the run's folder, leaves it alone.

  To save is a common act of all workers, since some values are averages over
  them. What a follower has to write goes into a temporary folder.
  """

  def __init__(self, checkpoint, directory, max_to_keep, **kwargs):
    """As of tf.train.CheckpointManager; `directory` is that of the chief."""
    temporary = tempfile.mkdtemp(prefix='coatnet_worker_')
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    super().__init__(checkpoint, temporary, 1, **kwargs)
    self._shared = directory
    del max_to_keep

  def restore_or_initialize(self):
    self._latest_checkpoint = tf.train.latest_checkpoint(self._shared)
    return super().restore_or_initialize()


def check_same_step(strategy: tf.distribute.Strategy, step: int, *, model_dir):
  """Checks that all workers have resumed at one step.

  Raises:
    ValueError: If they have not, as where each has a `model_dir` of its own.
  """
  if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
    return

  @tf.function
  def sum_over_replicas():
    steps = strategy.run(lambda: tf.constant(step, tf.int64))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, steps, axis=None)

  total = int(sum_over_replicas())
  if total != step * strategy.num_replicas_in_sync:
    raise ValueError(
      f'This worker found a checkpoint of step {step} in {model_dir!r}, others '
      'found another: --model_dir must be one folder that all workers share, '
      'such as a bucket or a network file system.'
    )


@contextlib.contextmanager
def lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
  """Within this context, a worker that has gone is a WorkerLostError."""
  try:
    yield
  except (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
  ) as e:
    if not isinstance(
      strategy,
      (tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.TPUStrategy),
    ):
      raise
    gist = _gist(str(e.message))
    raise WorkerLostError(
      f'A worker has gone ({type(e).__name__}: {gist}). Start the same command '
      'again, on every machine of the run: it goes on from the latest '
      'checkpoint.'
    ) from e


def _gist(message: str) -> str:
  """Returns the line that says something of TensorFlow's many."""
  lines = [line.strip() for line in message.splitlines() if line.strip()]
  empty = ('Graph execution error', 'Detected at', 'File "', '(0)', '(1)')
  told = [line for line in lines if not line.startswith(empty)]
  return (told or lines or ['no message'])[0][:300]
