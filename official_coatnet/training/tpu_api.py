"""Asks the Cloud TPU API through google-cloud-tpu, where that is installed.

It knows what cloud-tpu-client does not: queued resources, and the generations
that came after it. TensorFlow's own resolver, which connects to the TPU, goes
on asking through cloud-tpu-client, or its copy of that.
"""

import importlib
import importlib.util
from typing import Any

from google.api_core import exceptions

from official_coatnet.training.tpu_slice import TpuSlice

_MODULE = 'google.cloud.tpu_v2'
# Types of generations whose number in an accelerator's type counts chips; in
# all others it counts TensorCores, two a chip.
_COUNT_CHIPS = ('V5LITE_POD', 'V6E')


def is_installed() -> bool:
  """Whether there is a google-cloud-tpu that knows queued resources."""
  try:
    if importlib.util.find_spec(_MODULE) is None:
      return False
  except ModuleNotFoundError:  # Not even google.cloud.
    return False
  return hasattr(importlib.import_module(_MODULE), 'QueuedResource')


def make_client() -> Any:
  """Returns a client of the Cloud TPU API, with this machine's credentials.

  Raises:
    google.auth.exceptions.DefaultCredentialsError: If there are none.
  """
  # Over HTTP: it goes through the proxies that gcloud goes through.
  return importlib.import_module(_MODULE).TpuClient(transport='rest')


def find(client: Any, tpu: str, *, zone: str, project: str) -> TpuSlice:
  """Looks a TPU up by its name, or the queued resource that asks for it.

  Args:
    client: From `make_client`.
    tpu: Name of a TPU; or, by mistake, of a queued resource.
    zone: Its zone, such as 'europe-west4-a'.
    project: Its Google Cloud project.

  Raises:
    google.api_core.exceptions.GoogleAPICallError: If the API does not tell, or
      there is neither.
  """
  parent = f'projects/{project}/locations/{zone}'
  try:
    node = client.get_node(name=f'{parent}/nodes/{tpu}')
  except exceptions.NotFound:
    found = _find_queued(client, tpu, parent=parent)
    if found is None:
      raise
    return found
  state = node.state.name
  queue = node.queued_resource or None
  queue_state = None
  if queue and state != 'READY':
    queue_state = _queue_state(client.get_queued_resource(name=queue))
  return TpuSlice(
    tpu,
    accelerator_type=_accelerator_type(node),
    state=state,
    health=_known(node.health),
    health_description=node.health_description or None,
    software=node.runtime_version or None,
    # A TPU that is not ready may have none, or not all.
    num_hosts=len(node.network_endpoints) if state == 'READY' else None,
    queued_resource=_last_part(queue) if queue else None,
    queue_state=queue_state,
  )


def _find_queued(client: Any, tpu: str, *, parent: str) -> TpuSlice | None:
  """Looks for a queued resource that asks for this TPU, or is called so."""
  resources = list(client.list_queued_resources(parent=parent))
  for resource in resources:
    for spec in resource.tpu.node_spec:
      if spec.node_id == tpu:
        return TpuSlice(
          tpu,
          accelerator_type=_accelerator_type(spec.node),
          software=spec.node.runtime_version or None,
          queued_resource=_last_part(resource.name),
          queue_state=_queue_state(resource),
        )
  for resource in resources:
    if _last_part(resource.name) == tpu:
      nodes = (spec.node_id for spec in resource.tpu.node_spec)
      return TpuSlice(
        tpu,
        queued_resource=tpu,
        queue_state=_queue_state(resource),
        # Those of several slices have no names of their own.
        queued_nodes=tuple(filter(None, nodes)),
      )
  return None


def _queue_state(resource: Any) -> str:
  return resource.state.state.name


def _accelerator_type(node: Any) -> str | None:
  """Returns such as 'v4-16', also of what was asked for as a topology."""
  if node.accelerator_type:
    return node.accelerator_type
  config = node.accelerator_config
  if not config or not config.topology:
    return None
  chips = 1
  for side in config.topology.split('x'):
    chips *= int(side)
  kind = config.type_.name
  cores = chips if kind in _COUNT_CHIPS else 2 * chips
  return f'{kind.lower().replace("_", "")}-{cores}'


def _known(value: Any) -> str | None:
  """Returns the name of an enumeration's value, None if it says nothing."""
  return None if value.name.endswith('_UNSPECIFIED') else value.name


def _last_part(name: str) -> str:
  return name.rsplit('/', 1)[-1]
