"""What is known of a TPU slice, and whether a run can use it as it is."""

import dataclasses
import re
import types
from collections.abc import Mapping

import tensorflow as tf

_WAIT = 'start the same command again.'
_ANEW = (
  'Delete it, create it anew, and start the same command again: the run goes '
  'on from its latest checkpoint.'
)
# What can be done about a state of the Cloud TPU API other than READY.
_REMEDIES: Mapping[str, str] = types.MappingProxyType(
  {
    'CREATING': f'Wait until it is made, and {_WAIT}',
    'STARTING': f'Wait until it is up, and {_WAIT}',
    'RESTARTING': f'Wait until it is up, and {_WAIT}',
    'REPAIRING': f'Wait until it is repaired, and {_WAIT}',
    'STOPPED': 'Start it: gcloud compute tpus tpu-vm start {name}.',
    'PREEMPTED': _ANEW,
    'TERMINATED': _ANEW,
  }
)
# Likewise of a queued resource whose TPU is not there, or not READY.
_QUEUE_REMEDIES: Mapping[str, str] = types.MappingProxyType(
  {
    'CREATING': f'Wait for it, and {_WAIT}',
    'ACCEPTED': f'Wait for it, and {_WAIT}',
    'WAITING_FOR_RESOURCES': f'Wait for it, and {_WAIT}',
    'PROVISIONING': f'Wait for it, and {_WAIT}',
    'ACTIVE': f'Wait a minute, and {_WAIT}',
  }
)
# Those that are over: SUSPENDED, FAILED and others.
_QUEUE_OVER = (
  'Delete it (gcloud compute tpus queued-resources delete {name} --force), '
  'ask anew, and start the same command again: the run goes on from its latest '
  'checkpoint.'
)
# By minor version of TensorFlow, the newest image of which nothing bad is
# known; docs/pods.md has the sources.
_IMAGES: Mapping[str, str] = types.MappingProxyType(
  {'2.15': '2.15.1', '2.16': '2.16.1', '2.17': '2.17.0'}
)
_SEGFAULT = (
  'on which others saw `import tensorflow` end in a segmentation fault '
  '(github.com/tensorflow/tensorflow/issues/82208)'
)
# Images, accelerators and what was reported of the two together.
_REPORTED = (
  (r'tf-2\.17\.1-pod', '', _SEGFAULT),
  (r'tf-2\.18\.0-pod', '', _SEGFAULT),
  (
    r'tf-2\.19\.\d+-pod',
    r'v4-',
    'on which others could not connect to a v4 slice or initialize it '
    '(github.com/tensorflow/tensorflow/issues/93618)',
  ),
)


@dataclasses.dataclass(frozen=True)
class TpuSlice:
  """What is known of a TPU before it is connected to.

  Attributes:
    tpu: What the user gave: a name, an address or 'local'.
    accelerator_type: Such as 'v3-32'; None if not known.
    state: Of the Cloud TPU API, such as 'READY'; None if not known, or if there
      is a queued resource only.
    health: Of the Cloud TPU API, such as 'HEALTHY'; None if not known.
    health_description: What the Cloud TPU API adds to it; None if nothing.
    software: Its software version, such as '2.15.0'; None if not known.
    num_hosts: Number of its hosts; None if not known.
    queued_resource: Name of the queued resource that asked for it, or None.
    queue_state: State of that, such as 'WAITING_FOR_RESOURCES'; None if not
      asked for.
    queued_nodes: Names of the TPUs that the queued resource asks for, if `tpu`
      is the name of a queued resource and not of a TPU.
  """

  tpu: str
  accelerator_type: str | None = None
  state: str | None = None
  health: str | None = None
  health_description: str | None = None
  software: str | None = None
  num_hosts: int | None = None
  queued_resource: str | None = None
  queue_state: str | None = None
  queued_nodes: tuple[str, ...] = ()

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
    return [
      *self._generation_problems(),
      *self._queue_problems(),
      *self._state_problems(),
      *self._software_problems(),
    ]

  def warnings(self) -> list[str]:
    """Returns a sentence for each thing that may stand in the way."""
    return [
      f'The TPU {self.tpu!r} runs the software {self.software!r}, {what}. '
      f'Where the same is seen here, take another image. {_image_advice()}'
      for image, accelerator, what in _REPORTED
      if re.search(image, self.software or '')
      and re.match(accelerator, self.accelerator_type or '')
    ]

  def _generation_problems(self) -> list[str]:
    """Of generations that TensorFlow does not know."""
    if not re.match(r'(tpu|v)7', self.accelerator_type or ''):
      return []
    return [
      f'The TPU {self.tpu!r} is a {self.accelerator_type}, which TensorFlow '
      'does not support (docs/pods.md); use v6e or an older one.'
    ]

  def _queue_problems(self) -> list[str]:
    if self.queued_nodes:
      return [
        f'--tpu={self.tpu} is the name of a queued resource, whose TPU is '
        f'called {" or ".join(self.queued_nodes)}; give that name.'
      ]
    if self.queue_state is None or self.state == 'READY':
      return []
    remedy = _QUEUE_REMEDIES.get(self.queue_state, _QUEUE_OVER)
    there = f'is in state {self.state}' if self.state else 'is not there'
    return [
      f'The TPU {self.tpu!r} {there}; the queued resource '
      f'{self.queued_resource!r} that asks for it is in state '
      f'{self.queue_state}. {remedy.format(name=self.queued_resource)}'
    ]

  def _state_problems(self) -> list[str]:
    if self.state in (None, 'READY') or self.queue_state is not None:
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
    if versions:
      fits = versions[0] == _minor_version()
    else:
      # Images for JAX and PyTorch, which have no TensorFlow server. What is
      # called otherwise ('nightly') may well fit.
      fits = not re.search(r'-base$|alpha-tpuv\d', software)
    if fits:
      return []
    return [
      f'The TPU {self.tpu!r} runs the software {software!r}, this program '
      f'TensorFlow {tf.__version__}; both must be of one version. '
      f'{_image_advice()}'
    ]

  def __str__(self) -> str:
    parts = [f'TPU {self.tpu}']
    for name in ('accelerator_type', 'state', 'health', 'software'):
      if getattr(self, name):
        parts.append(f'{name.replace("_", " ")} {getattr(self, name)}')
      if name == 'health' and self.health_description:
        parts[-1] += f' ({self.health_description})'
    if self.num_hosts:
      parts.append(f'{self.num_hosts} host(s)')
    if self.queued_resource:
      parts.append(f'queued resource {self.queued_resource}')
    return ', '.join(parts)


def _minor_version() -> str:
  """Returns such as '2.15', of the TensorFlow of this program."""
  return '.'.join(tf.__version__.split('.')[:2])


def _image_advice() -> str:
  """Says which image fits this program, or that none is known to."""
  here = _minor_version()
  if here in _IMAGES:
    image = f'tpu-vm-tf-{_IMAGES[here]}'
    return (
      f'Create the TPU with the software {image}-pjrt, on a slice of several '
      f'hosts {image}-pod-pjrt; on v4 and older -se in place of -pjrt is the '
      'other runtime.'
    )
  newest = list(_IMAGES)[-1]
  return (
    f'No image of TensorFlow {here} is known to work on TPUs (docs/pods.md): '
    f'use TensorFlow {", ".join(_IMAGES)} on both sides, such as '
    f'tpu-vm-tf-{_IMAGES[newest]}-pod-pjrt.'
  )
