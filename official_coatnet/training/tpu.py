"""A Cloud TPU before a run connects to it: is it there, and is it ready?

To connect to a TPU that is not ready, or that runs another TensorFlow, can hang
for many minutes. What is asked here takes seconds and ends with an answer.
"""

import os
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from google.api_core import exceptions as api_errors
from google.auth import exceptions as auth_errors
from googleapiclient import errors as google_errors
from oauth2client import client as oauth2_client

# The resolver's own client: cloud-tpu-client, or TensorFlow's where that is not
# installed. The run connects by the same.
from tensorflow.python.distribute.cluster_resolver.tpu import (
  tpu_cluster_resolver,
)

from official_coatnet.training import tpu_api
from official_coatnet.training.tpu_slice import TpuSlice

LOCAL = 'local'
# Within which a TPU must answer, in seconds. The client asks the network and
# may wait for minutes where there is none.
TIMEOUT = 45
_SCHEME = 'grpc://'
_NO_CREDENTIALS = (
  oauth2_client.ApplicationDefaultCredentialsError,
  auth_errors.DefaultCredentialsError,
)
# Where a Google Cloud machine learns what it is.
_METADATA_URL = 'http://metadata.google.internal/computeMetadata/v1/'
# What TPU slice it belongs to.
_TPU_ENV = 'instance/attributes/tpu-env'


def is_remote(tpu: str | None) -> bool:
  """Whether the workers are other machines than this one."""
  return bool(tpu) and tpu != LOCAL


def find(
  tpu: str,
  *,
  zone: str | None = None,
  project: str | None = None,
  timeout: float = TIMEOUT,
  make_client: Callable[..., Any] | None = None,
  environment: Mapping[str, str] = os.environ,
) -> TpuSlice:
  """Looks a TPU up.

  Args:
    tpu: Name of a Cloud TPU, addresses of its workers (grpc://host:8470, with
      commas between several), or 'local' for the chips of this TPU VM.
    zone: Its zone, such as 'europe-west4-a'; None for that of this machine.
    project: Its Google Cloud project; None for that of this machine.
    timeout: Seconds that it may take.
    make_client: Makes a client such as the resolver's; None asks through
      google-cloud-tpu where it is installed, or else through the resolver's.
    environment: Environment variables.

  Returns:
    What is known of it. Its `problems()` may still stand in the way.

  Raises:
    ConnectionError: If it is not there, or cannot be asked for.
    ValueError: If an address is not one, or if `tpu` is 'local' on one host of
      a slice of several.
  """

  def ask() -> TpuSlice:
    if tpu == LOCAL:
      return _find_local(environment)
    if '://' in tpu:
      return _find_address(tpu, timeout=timeout)
    if make_client is None and tpu_api.is_installed():
      return tpu_api.find(
        tpu_api.make_client(),
        tpu,
        zone=zone or _metadata('instance/zone').rsplit('/', 1)[-1],
        project=project or _metadata('project/project-id'),
      )
    make = make_client or tpu_cluster_resolver.client.Client
    return _find_name(make(tpu=tpu, zone=zone, project=project), tpu)

  try:
    return _within(timeout, ask)
  except Exception as e:  # The client raises whatever its transport does.
    if isinstance(e, ValueError) and (tpu == LOCAL or '://' in tpu):
      raise
    error = e
  raise ConnectionError(
    not_found(tpu, error, zone=zone, project=project, timeout=timeout)
  ) from error


def _within(timeout: float, function: Callable[[], TpuSlice]) -> TpuSlice:
  """Calls a function that may hang.

  In a daemon thread: nothing stops the client's own waiting, and an executor's
  thread would keep the process from ending.
  """
  outcome = {}

  def call():
    try:
      outcome['value'] = function()
    except Exception as e:  # Raised again below.
      outcome['error'] = e

  thread = threading.Thread(target=call, daemon=True)
  thread.start()
  thread.join(timeout)
  if 'error' in outcome:
    raise outcome['error']
  if 'value' not in outcome:
    raise TimeoutError(f'no answer within {timeout:.0f} s')
  return outcome['value']


def _find_name(client: Any, tpu: str) -> TpuSlice:
  """Asks the Cloud TPU API."""
  state = client.state()
  ready = state == 'READY'
  return TpuSlice(
    tpu,
    accelerator_type=client.accelerator_type(),
    state=state,
    health=client.health(),
    software=client.runtime_version(),
    # A TPU that is not ready has no endpoints, and to ask is an error.
    num_hosts=len(client.network_endpoints()) if ready else None,
  )


def _find_address(tpu: str, *, timeout: float) -> TpuSlice:
  """Knocks at each address."""
  addresses = tpu.split(',')
  for address in addresses:
    match = re.fullmatch(rf'{_SCHEME}(\[.+\]|[^:/]+):(\d+)', address)
    if not match:
      raise ValueError(
        f'--tpu has the address {address!r}; it must be of the form '
        'grpc://host:8470, with commas between those of several workers.'
      )
    host, port = match[1].strip('[]'), int(match[2])
    with socket.create_connection((host, port), timeout=timeout):
      pass
  return TpuSlice(tpu, num_hosts=len(addresses))


def _find_local(environment: Mapping[str, str]) -> TpuSlice:
  """Looks whether this host is all of its slice."""
  values = {**_tpu_env(environment), **environment}
  hosts = _num_hosts(values)
  if hosts > 1:
    worker = values.get('TPU_WORKER_ID') or values.get('WORKER_ID') or '?'
    raise ValueError(
      f"--tpu is 'local', but this machine is worker {worker} of a slice of "
      f'{hosts} hosts; local is for a TPU VM of one host. The chips of a slice '
      'are one computer, which one program must drive from one machine: run '
      "the command on worker 0 alone with --tpu=NAME, the slice's name "
      '(docs/pods.md).'
    )
  return TpuSlice(
    LOCAL,
    accelerator_type=values.get('TPU_ACCELERATOR_TYPE')
    or values.get('ACCELERATOR_TYPE'),
    num_hosts=1,
  )


def _num_hosts(values: Mapping[str, str]) -> int:
  """Returns the number of hosts of this machine's slice, 1 if not known."""
  names = [n for n in values.get('TPU_WORKER_HOSTNAMES', '').split(',') if n]
  if names:
    return len(names)
  for key in ('TPU_PROCESS_BOUNDS', 'TPU_HOST_BOUNDS', 'HOST_BOUNDS'):
    # A box of hosts: '2,2,1' are four.
    sides = re.findall(r'\d+', values.get(key, ''))
    if sides:
      hosts = 1
      for side in sides:
        hosts *= int(side)
      return hosts
  return 1


def _tpu_env(environment: Mapping[str, str]) -> dict[str, str]:
  """Returns what a TPU VM is told of its slice; empty on other machines."""
  if environment.get('TPU_WORKER_HOSTNAMES') or environment.get(
    'TPU_SKIP_MDS_QUERY'
  ):
    return {}
  try:
    text = _metadata(_TPU_ENV)
  except OSError:
    return {}
  # Lines such as HOST_BOUNDS: '2,2,1'.
  return dict(re.findall(r"^(\w+): '(.*)'$", text, re.MULTILINE))


def _metadata(path: str) -> str:
  """Asks what a Google Cloud machine is told of itself.

  Raises:
    OSError: If this is none.
  """
  request = urllib.request.Request(
    _METADATA_URL + path, headers={'Metadata-Flavor': 'Google'}
  )
  with urllib.request.urlopen(request, timeout=3) as answer:
    return answer.read().decode()


def not_found(
  tpu: str,
  error: BaseException,
  *,
  zone: str | None = None,
  project: str | None = None,
  timeout: float = TIMEOUT,
) -> str:
  """Says what was looked for, what came back and what to do.

  Args:
    tpu: What was looked for.
    error: What came back.
    zone: Where it was looked for, or None.
    project: Likewise.
    timeout: How long was waited, in seconds.
  """
  if tpu == LOCAL:
    looked = "the TPU chips of this machine (tpu 'local')"
  elif '://' in tpu:
    looked = f'a TPU worker at the address {tpu!r}'
  else:
    looked = (
      f'a Cloud TPU called {tpu!r} through the Cloud TPU API (project: '
      f'{project or "of this machine"}, zone: {zone or "of this machine"})'
    )
  answer, advice = _explain(tpu, error, zone=zone, project=project)
  if tpu != LOCAL:
    advice += ' On a single TPU VM use --tpu=local.'
  return (
    f'TPU not found. Looked for {looked}; the answer was: {answer}. {advice} '
    'Without --tpu the run uses this machine.'
  )


def _explain(tpu, error, *, zone, project) -> tuple[str, str]:
  """Returns what an error means, and what to do."""
  where = f'--zone={zone or "ZONE"} --project={project or "PROJECT"}'
  listed = f'`gcloud compute tpus tpu-vm list {where}`'
  if isinstance(error, _NO_CREDENTIALS):
    return 'there are no credentials for Google Cloud here', (
      'Run `gcloud auth application-default login`, or start from a machine '
      'of the project whose service account may view TPUs.'
    )
  status = _http_status(error)
  if status == 404:
    return 'there is no such TPU in this project and zone', (
      f'Check the name, --tpu_zone and --gcp_project: {listed} shows what '
      'there is.'
    )
  if status in (401, 403):
    return f'access was refused (HTTP {status})', (
      'Check that the Cloud TPU API is enabled in the project and that the '
      'account has the role roles/tpu.viewer.'
    )
  # TensorFlow adds pages of what it has registered.
  first_line = next(iter(str(error).splitlines()), '')
  words = f'{type(error).__name__}: {first_line}'
  if 'OpKernel' in words:
    # It names operations of its graph that it was built without.
    words = 'this TensorFlow knows of no TPU'
  if tpu == LOCAL:
    return words, (
      'Check that this is a TPU VM, that no other program holds its chips, and '
      "that TensorFlow is the TPU VM's own build."
    )
  if isinstance(error, TimeoutError):
    words = str(error) or 'no answer in time'
  if isinstance(error, urllib.error.URLError):
    words = f'no connection ({getattr(error.reason, "strerror", error.reason)})'
  if isinstance(error, urllib.error.URLError) and not (zone and project):
    return f'{words} (this is no machine of Google Cloud)', (
      'Check that --gcp_project and --tpu_zone are given: outside Google '
      f'Cloud nobody else knows them. {listed} shows what there is.'
    )
  if '://' in tpu:
    return words, (
      'Check that the address is that of a TPU worker, reachable from here, '
      'and that its TensorFlow server is running.'
    )
  return words, (
    f'Check that {listed} shows the name in state READY, and that this '
    'machine reaches Google Cloud.'
  )


def _http_status(error: BaseException | None) -> int | None:
  """Finds the HTTP status below the errors of the client, which hide it."""
  while error is not None:
    if isinstance(error, google_errors.HttpError):
      return int(error.resp.status)
    if isinstance(error, api_errors.GoogleAPICallError) and error.code:
      return int(error.code)
    error = error.__cause__ or error.__context__
  return None
