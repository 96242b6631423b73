"""What is known of a TPU slice, and whether a run can use it as it is."""

import dataclasses
import re

import tensorflow as tf

# What can be done about a state of the Cloud TPU API other than READY.
_REMEDIES = {
  'CREATING': 'Wait until it is made, and start the same command again.',
  'STARTING': 'Wait until it is up, and start the same command again.',
  'RESTARTING': 'Wait until it is up, and start the same command again.',
  'REPAIRING': 'Wait until it is repaired, and start the same command again.',
  'STOPPED': 'Start it: gcloud compute tpus tpu-vm start {name}.',
  'PREEMPTED': (
    'Delete it, create it anew, and start the same command again: the run goes '
    'on from its latest checkpoint.'
  ),
  'TERMINATED': (
    'Delete it, create it anew, and start the same command again: the run goes '
    'on from its latest checkpoint.'
  ),
}


@dataclasses.dataclass(frozen=True)
class TpuSlice:
  """What is known of a TPU before it is connected to.

  Attributes:
    tpu: What the user gave: a name, an address or 'local'.
    accelerator_type: Such as 'v3-32'; None if not known.
    state: Of the Cloud TPU API, such as 'READY'; None if not known.
    health: Of the Cloud TPU API, such as 'HEALTHY'; None if not known.
    software: Its software version, such as '2.15.0'; None if not known.
    num_hosts: Number of its hosts; None if not known.
  """

  tpu: str
  accelerator_type: str | None = None
  state: str | None = None
  health: str | None = None
  software: str | None = None
  num_hosts: int | None = None

  @property
  def min_cores(self) -> int | None:
    """Number of replicas it has at least; a power of two. None: not known.

    The number in a type's name counts chips in v5e and v6e, and TensorCores in
    all others, of which v4 and v5p may join two into one device.
    """
    match = re.fullmatch(
      r'v(\w+?)(?:litepod|lite)?-(\d+)', self.accelerator_type or ''
    )
    if not match:
      return None
    cores = int(match[2])
    return max(1, cores // 2) if match[1] in ('4', '5p') else cores

  def problems(self) -> list[str]:
    """Returns a sentence or more for each thing that stands in the way."""
    return [*self._state_problems(), *self._software_problems()]

  def _state_problems(self) -> list[str]:
    if self.state in (None, 'READY'):
      return []
    remedy = _REMEDIES.get(
      self.state, 'See gcloud compute tpus tpu-vm describe {name}.'
    )
    return [
      f'The TPU {self.tpu!r} is in state {self.state}; it must be READY. '
      f'{remedy.format(name=self.tpu)}'
    ]

  def _software_problems(self) -> list[str]:
    """The servers of the workers must be of the client's TensorFlow."""
    software = self.software or ''
    versions = re.findall(r'(?<![\d.])(\d+\.\d+)(?:\.\d+)?', software)
    here = '.'.join(tf.__version__.split('.')[:2])
    if versions:
      fits = versions[0] == here
    else:
      # Images for JAX and PyTorch, which have no TensorFlow server. What is
      # called otherwise ('nightly') may well fit.
      fits = not re.search(r'-base$|alpha-tpuv\d', software)
    if fits:
      return []
    return [
      f'The TPU {self.tpu!r} runs the software {software!r}, this program '
      f'TensorFlow {tf.__version__}; both must be of one version. Create the '
      f'TPU with software of TensorFlow {here} (on a slice of several hosts '
      f'tpu-vm-tf-{tf.__version__}-pod-pjrt or -pod-se).'
    ]

  def __str__(self) -> str:
    parts = [f'TPU {self.tpu}']
    for name in ('accelerator_type', 'state', 'health', 'software'):
      if getattr(self, name):
        parts.append(f'{name.replace("_", " ")} {getattr(self, name)}')
    if self.num_hosts:
      parts.append(f'{self.num_hosts} host(s)')
    return ', '.join(parts)
