"""Which devices a run uses, and who of several machines does what.

A TPU by name, the GPUs of this machine or its processor; or, by TF_CONFIG,
several machines without TPUs. Of these every worker runs the same program on
the same configuration. All take part in each step, evaluation and checkpoint,
because values are summed over all; one, the chief, writes the files.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping

import tensorflow as tf
from absl import logging

from official_coatnet.data import messages
from official_coatnet.training import rendezvous, tpu as tpu_lib

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


def make_strategy(
  tpu: str | None = None,
  *,
  zone: str | None = None,
  project: str | None = None,
  cluster: Cluster | None = None,
) -> tf.distribute.Strategy:
  """Returns the strategy for a TPU, several machines, all GPUs or one device.

  Args:
    tpu: Name of a Cloud TPU, its address (grpc://host:8470), 'local' for the
      chips of this TPU VM, or None for what this machine has: all of its GPUs
      (mirrored), or one GPU, or the CPU. `tpu.find` says beforehand whether a
      TPU is there; what is asked for here must be.
    zone: Zone of the TPU; None for that of this machine.
    project: Project of the TPU; None for that of this machine.
    cluster: The machines that train together, from `read_cluster`, or
      None for this one alone. With it, this must be the first thing that a
      process does with TensorFlow, and it waits for the other machines.

  Returns:
    A TPUStrategy, MultiWorkerMirroredStrategy, MirroredStrategy or
    OneDeviceStrategy.

  Raises:
    ConnectionError: If the TPU, or the other machines, cannot be reached.
    ValueError: If both `tpu` and `cluster` are given.
  """
  if tpu and cluster is not None:
    raise ValueError(
      f'Both --tpu={tpu} and TF_CONFIG are given. TF_CONFIG is for several '
      'machines without TPUs; a TPU slice is driven by one program. Unset one '
      'of them.'
    )
  if tpu:
    return _tpu_strategy(tpu, zone=zone, project=project)
  if cluster is not None:
    return _multi_worker_strategy(cluster)
  gpus = tf.config.list_logical_devices('GPU')
  if len(gpus) > 1:
    return tf.distribute.MirroredStrategy([d.name for d in gpus])
  return tf.distribute.OneDeviceStrategy('GPU:0' if gpus else 'CPU:0')


def _tpu_strategy(
  tpu: str, *, zone: str | None, project: str | None
) -> tf.distribute.Strategy:
  try:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
      tpu=tpu, zone=zone, project=project
    )
    if tpu_lib.is_remote(tpu):
      tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
  except Exception as e:  # The resolver raises whatever its transport does.
    message = tpu_lib.not_found(tpu, e, zone=zone, project=project)
    raise ConnectionError(message) from e


def _multi_worker_strategy(
  cluster: Cluster,
) -> tf.distribute.Strategy:
  logging.info(
    'Worker %d of %d (%s); waiting for all of them: %s.',
    cluster.index,
    len(cluster.workers),
    cluster.workers[cluster.index],
    ', '.join(cluster.workers),
  )
  try:
    rendezvous.wait(cluster.workers, cluster.index, say=logging.info)
    return tf.distribute.MultiWorkerMirroredStrategy()
  except (ConnectionError, tf.errors.OpError) as e:
    words = str(e)
    if isinstance(e, tf.errors.OpError):
      words = f'{type(e).__name__}: {messages.plain(e)}'
    raise ConnectionError(
      f'The machines of TF_CONFIG, {", ".join(cluster.workers)}, did not come '
      f'together; this is number {cluster.index}. The answer was: '
      f'{words.rstrip(".")}. Check that this address is of this '
      'machine, that its port is free, that all machines reach each other, and '
      'that the same command was started on each.'
    ) from e


def describe(strategy: tf.distribute.Strategy) -> str:
  """Returns a line such as '2 x CPU (MirroredStrategy)'."""
  devices = strategy.extended.worker_devices
  kind = tf.DeviceSpec.from_string(devices[0]).device_type
  name = type(strategy).__name__
  if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
    # Its class has another name than it is known by.
    name = 'MultiWorkerMirroredStrategy'
  return f'{strategy.num_replicas_in_sync} x {kind} ({name})'


def num_hosts(strategy: tf.distribute.Strategy) -> int:
  """Returns the number of hosts that run input pipelines."""
  devices = strategy.extended.worker_devices
  if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
    # It knows the devices of its own machine only, and all have as many.
    return strategy.num_replicas_in_sync // len(devices)
  hosts = {
    (spec.job, spec.replica, spec.task)
    for spec in map(tf.DeviceSpec.from_string, devices)
  }
  return len(hosts)


def log_devices(strategy: tf.distribute.Strategy):
  """Logs what the run runs on."""
  logging.info(
    'Devices: %s, %d host(s).', describe(strategy), num_hosts(strategy)
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
