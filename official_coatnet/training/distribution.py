"""Which devices a run uses: TPU by name, GPUs, or this machine's processor."""

import concurrent.futures
import os

import tensorflow as tf
from absl import logging

# Within which a TPU must answer, in seconds. The resolver asks the network and
# may wait for minutes where there is none.
TPU_TIMEOUT = 45


def make_strategy(
  tpu: str | None = None, *, timeout: float = TPU_TIMEOUT
) -> tf.distribute.Strategy:
  """Returns the strategy for a TPU, for all GPUs, or for one device.

  Args:
    tpu: Name of a Cloud TPU, its address (grpc://host:8470), 'local' for the
      chips of this TPU VM, or None for what this machine has: all of its GPUs
      (mirrored), or one GPU, or the CPU.
    timeout: Seconds that finding a TPU may take.

  Returns:
    A TPUStrategy, MirroredStrategy or OneDeviceStrategy.

  Raises:
    ConnectionError: If the TPU is not found.
  """
  if tpu:
    return _tpu_strategy(tpu, timeout=timeout)
  gpus = tf.config.list_logical_devices('GPU')
  if len(gpus) > 1:
    return tf.distribute.MirroredStrategy([d.name for d in gpus])
  return tf.distribute.OneDeviceStrategy('GPU:0' if gpus else 'CPU:0')


def mirrored_cpu_strategy(num_replicas: int) -> tf.distribute.Strategy:
  """Returns a strategy of logical CPU devices, which stand in for cores.

  They must exist: `tf.config.set_logical_device_configuration` before the first
  use of TensorFlow.
  """
  return tf.distribute.MirroredStrategy(
    [f'CPU:{i}' for i in range(num_replicas)]
  )


def _tpu_strategy(tpu: str, *, timeout: float) -> tf.distribute.Strategy:
  # In a thread, because nothing stops the resolver's own waiting.
  executor = concurrent.futures.ThreadPoolExecutor(1)
  try:
    resolver = executor.submit(_resolve_tpu, tpu).result(timeout)
  except Exception as e:  # The resolver raises whatever its transport does.
    raise ConnectionError(_not_found(tpu, e, timeout=timeout)) from e
  finally:
    executor.shutdown(wait=False, cancel_futures=True)
  if tpu not in ('', 'local'):
    tf.config.experimental_connect_to_cluster(resolver)
  tf.tpu.experimental.initialize_tpu_system(resolver)
  return tf.distribute.TPUStrategy(resolver)


def _resolve_tpu(tpu: str):
  resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
  # Asks for the address, and so whether the TPU is there at all.
  resolver.cluster_spec()
  return resolver


def _not_found(tpu: str, error: BaseException, *, timeout: float) -> str:
  """Says what was looked for, what came back and what to check."""
  if isinstance(error, concurrent.futures.TimeoutError):
    answer = f'no answer within {timeout:.0f} s'
  else:
    answer = f'{type(error).__name__}: {error}'
  if '://' in tpu:
    looked = f'a TPU worker at the address {tpu!r}'
  elif tpu == 'local':
    looked = "the TPU chips of this machine (tpu 'local')"
  else:
    looked = f'a Cloud TPU called {tpu!r} through the Cloud TPU API'
  project = os.environ.get('GOOGLE_CLOUD_PROJECT', 'not set')
  return (
    f'TPU not found. Looked for {looked}; the answer was: {answer}. Check that '
    'this is a machine of Google Cloud (the API is reached through its '
    'metadata server) with credentials for the TPU API; that `gcloud compute '
    'tpus tpu-vm list` shows the name, in the zone and project of this machine '
    f'(GOOGLE_CLOUD_PROJECT is {project}), in state READY; and that it runs '
    'the TensorFlow version of this package. On a single TPU VM use '
    '--tpu=local. Without --tpu the run uses this machine.'
  )


def describe(strategy: tf.distribute.Strategy) -> str:
  """Returns a line such as '2 x CPU (MirroredStrategy)'."""
  devices = strategy.extended.worker_devices
  kind = tf.DeviceSpec.from_string(devices[0]).device_type
  return f'{strategy.num_replicas_in_sync} x {kind} ({type(strategy).__name__})'


def num_hosts(strategy: tf.distribute.Strategy) -> int:
  """Returns the number of hosts that run input pipelines."""
  hosts = {
    (spec.job, spec.replica, spec.task)
    for spec in map(tf.DeviceSpec.from_string, strategy.extended.worker_devices)
  }
  return len(hosts)


def log_devices(strategy: tf.distribute.Strategy):
  """Logs what the run runs on."""
  logging.info(
    'Devices: %s, %d host(s).', describe(strategy), num_hosts(strategy)
  )
