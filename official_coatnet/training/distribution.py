"""Which devices a run uses: TPU by name, GPUs, or this machine's processor."""

import tensorflow as tf
from absl import logging

from official_coatnet.training import cluster as cluster_lib, tpu as tpu_lib


def make_strategy(
  tpu: str | None = None,
  *,
  zone: str | None = None,
  project: str | None = None,
  cluster: cluster_lib.Cluster | None = None,
) -> tf.distribute.Strategy:
  """Returns the strategy for a TPU, several machines, all GPUs or one device.

  Args:
    tpu: Name of a Cloud TPU, its address (grpc://host:8470), 'local' for the
      chips of this TPU VM, or None for what this machine has: all of its GPUs
      (mirrored), or one GPU, or the CPU. `tpu.find` says beforehand whether a
      TPU is there; what is asked for here must be.
    zone: Zone of the TPU; None for that of this machine.
    project: Project of the TPU; None for that of this machine.
    cluster: The machines that train together, from `cluster.read_cluster`, or
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


def mirrored_cpu_strategy(num_replicas: int) -> tf.distribute.Strategy:
  """Returns a strategy of logical CPU devices, which stand in for cores.

  They must exist: `tf.config.set_logical_device_configuration` before the first
  use of TensorFlow.
  """
  return tf.distribute.MirroredStrategy(
    [f'CPU:{i}' for i in range(num_replicas)]
  )


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
  cluster: cluster_lib.Cluster,
) -> tf.distribute.Strategy:
  logging.info(
    'Worker %d of %d (%s); waiting for all of them: %s.',
    cluster.index,
    len(cluster.workers),
    cluster.workers[cluster.index],
    ', '.join(cluster.workers),
  )
  try:
    return tf.distribute.MultiWorkerMirroredStrategy()
  except tf.errors.OpError as e:
    raise ConnectionError(
      f'The machines of TF_CONFIG, {", ".join(cluster.workers)}, did not come '
      f'together; this is number {cluster.index}. The answer was: '
      f'{type(e).__name__}: {e.message}. Check that this address is of this '
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
