"""How a global batch is dealt out to hosts and replicas."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a global batch is dealt out.

  The global batch is cut into consecutive runs, one a host in the order of
  their ids, and each of these into one a replica.

  Attributes:
    batch_size: examples a step, over all hosts.
    num_hosts: number of hosts, each of which runs an input pipeline.
    host: number of this host.
    num_replicas: number of replicas over all hosts.
  """

  batch_size: int
  num_hosts: int = 1
  host: int = 0
  num_replicas: int = 1

  def __post_init__(self):
    if self.num_replicas % self.num_hosts:
      raise ValueError(
        f'{self.num_replicas} replicas on {self.num_hosts} hosts: each host '
        'must have as many; check the distribution strategy.'
      )
    if self.batch_size % self.num_replicas:
      raise ValueError(
        f'DataConfig.batch_size is {self.batch_size}, but must be a multiple '
        f'of the number of replicas, {self.num_replicas}; the next one is '
        f'{-(-self.batch_size // self.num_replicas) * self.num_replicas}.'
      )

  @property
  def replica_batch_size(self) -> int:
    """Examples a step, on one replica."""
    return self.batch_size // self.num_replicas

  @property
  def host_batch_size(self) -> int:
    """Examples a step, on all replicas of one host."""
    return self.batch_size // self.num_hosts

  def global_index(self, local_index: tf.Tensor) -> tf.Tensor:
    """Maps the n-th example of this host to its index in the run, int64."""
    step = local_index // self.host_batch_size
    position = local_index % self.host_batch_size
    return step * self.batch_size + self.host * self.host_batch_size + position


def get_layout(
  batch_size: int, input_context: tf.distribute.InputContext | None
) -> Layout:
  """Returns the layout of a global batch under a distribution strategy."""
  if input_context is None:
    return Layout(batch_size)
  return Layout(
    batch_size,
    num_hosts=input_context.num_input_pipelines,
    host=input_context.input_pipeline_id,
    num_replicas=input_context.num_replicas_in_sync,
  )
