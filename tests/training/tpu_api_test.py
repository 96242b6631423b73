"""Tests of training.tpu_api, with a server in place of Google Cloud's.

The client is google-cloud-tpu's own where that is installed: it asks the server
over HTTP. Elsewhere one stands in that reads the same answers.
"""

import http.server
import json
import re
import threading
import types
import urllib.error
import urllib.request

import tensorflow as tf
from absl.testing import absltest, parameterized
from google.api_core import exceptions
from google.auth import credentials

from official_coatnet.training import tpu_api

_PARENT = 'projects/p/locations/z'
_POD = {
  'name': f'{_PARENT}/nodes/pod',
  'acceleratorType': 'v6e-16',
  'state': 'READY',
  'health': 'HEALTHY',
  'runtimeVersion': f'tpu-vm-tf-{tf.__version__}-pod-pjrt',
  'networkEndpoints': [{'ipAddress': f'10.0.0.{i}'} for i in range(4)],
}


def _queued(name, state, *node_ids, node=None):
  return {
    'name': f'{_PARENT}/queuedResources/{name}',
    'state': {'state': state},
    'tpu': {
      'nodeSpec': [
        {'parent': _PARENT, 'nodeId': node_id, 'node': node or {}}
        for node_id in node_ids
      ]
    },
  }


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers by path; 404 for what is not there."""

  def do_GET(self):
    path = self.path.split('?')[0].removeprefix('/v2/')
    status, answer = self.server.answers.get(path, (404, {}))
    body = json.dumps(answer).encode()
    self.send_response(status)
    self.send_header('Content-Type', 'application/json')
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, *args):
    del args


def _client(address):
  """Returns google-cloud-tpu's client of a server, or a stand-in."""
  if not tpu_api.is_installed():
    return _StandIn(f'http://{address}/v2/')
  from google.cloud import tpu_v2
  from google.cloud.tpu_v2.services.tpu.transports import rest

  return tpu_v2.TpuClient(
    transport=rest.TpuRestTransport(
      host=address,
      url_scheme='http',
      credentials=credentials.AnonymousCredentials(),
    )
  )


class _StandIn:
  """Has the few methods that are called, and the fields that are read."""

  _EMPTY = {
    'accelerator_type': '',
    'accelerator_config': None,
    'health': types.SimpleNamespace(name='HEALTH_UNSPECIFIED'),
    'health_description': '',
    'network_endpoints': (),
    'node_id': '',
    'queued_resource': '',
    'runtime_version': '',
    'topology': '',
  }

  def __init__(self, url):
    self._url = url

  def get_node(self, *, name):
    return self._get(name)

  def get_queued_resource(self, *, name):
    return self._get(name)

  def list_queued_resources(self, *, parent):
    return self._get(f'{parent}/queuedResources').queued_resources

  def _get(self, path):
    try:
      with urllib.request.urlopen(self._url + path) as answer:
        return self._read(json.load(answer))
    except urllib.error.HTTPError as e:
      raise exceptions.from_http_status(e.code, str(e)) from e

  def _read(self, value, key=''):
    if isinstance(value, dict):
      fields = {re.sub('([A-Z])', r'_\1', k).lower(): k for k in value}
      read = {
        {'type': 'type_'}.get(name, name): self._read(value[k], k)
        for name, k in fields.items()
      }
      return types.SimpleNamespace(**{**self._EMPTY, **read})
    if isinstance(value, list):
      return [self._read(v) for v in value]
    enum = key in ('state', 'health', 'type')
    return types.SimpleNamespace(name=value) if enum else value


class TpuApiTest(parameterized.TestCase):
  def _find(self, tpu, *, nodes=(), queued=(), errors=None):
    """Looks `tpu` up on a server that knows these."""
    named = {value['name']: (200, value) for value in (*nodes, *queued)}
    listed = {'queuedResources': list(queued)}
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    self.addCleanup(server.server_close)
    server.answers = {
      f'{_PARENT}/queuedResources': (200, listed),
      **named,
      **(errors or {}),
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
      return tpu_api.find(
        _client(f'127.0.0.1:{server.server_port}'), tpu, zone='z', project='p'
      )
    finally:
      server.shutdown()
      thread.join()

  def test_slice_that_is_ready(self):
    node = {**_POD, 'queuedResource': f'{_PARENT}/queuedResources/queue'}
    # The queue is not asked: its answer would be an error.
    found = self._find('pod', nodes=[node])
    self.assertEqual(
      (found.accelerator_type, found.state, found.health),
      ('v6e-16', 'READY', 'HEALTHY'),
    )
    self.assertEqual(found.software, _POD['runtimeVersion'])
    self.assertEqual((found.num_hosts, found.min_cores), (4, 16))
    self.assertEqual(
      (found.queued_resource, found.queue_state), ('queue', None)
    )

  def test_health(self):
    node = {
      **_POD,
      'health': 'UNHEALTHY_MAINTENANCE',
      'healthDescription': 'moved at 12:00',
    }
    found = self._find('pod', nodes=[node])
    self.assertEqual(found.health, 'UNHEALTHY_MAINTENANCE')
    self.assertEqual(found.health_description, 'moved at 12:00')
    node = {**_POD, 'health': 'HEALTH_UNSPECIFIED'}
    self.assertIsNone(self._find('pod', nodes=[node]).health)

  @parameterized.parameters(
    ('V6E', '4x4', 'v6e-16', 16),
    ('V5LITE_POD', '2x4', 'v5litepod-8', 8),
    ('V5P', '2x2x2', 'v5p-16', 8),  # TensorCores; a device may be two of them.
    ('V4', '2x2x1', 'v4-8', 4),
    ('V3', '4x4', 'v3-32', 32),
  )
  def test_topology(self, kind, topology, accelerator_type, cores):
    node = {
      **_POD,
      'acceleratorType': '',
      'acceleratorConfig': {'type': kind, 'topology': topology},
    }
    found = self._find('pod', nodes=[node])
    self.assertEqual(found.accelerator_type, accelerator_type)
    self.assertEqual(found.min_cores, cores)

  def test_slice_that_was_preempted(self):
    queue = _queued('queue', 'SUSPENDED', 'pod')
    node = {**_POD, 'state': 'PREEMPTED', 'queuedResource': queue['name']}
    found = self._find('pod', nodes=[node], queued=[queue])
    self.assertEqual(
      (found.state, found.queue_state), ('PREEMPTED', 'SUSPENDED')
    )
    self.assertIsNone(found.num_hosts)
    (problem,) = found.problems()
    self.assertRegex(problem, "'pod' .*queued-resources delete queue --force")

  def test_slice_that_is_waited_for(self):
    asked = {
      'acceleratorType': 'v5p-16',
      'runtimeVersion': 'tpu-ubuntu2204-base',
    }
    found = self._find(
      'pod',
      queued=[
        _queued('pod', 'ACTIVE', 'another'),
        _queued('queue', 'WAITING_FOR_RESOURCES', 'first', 'pod', node=asked),
      ],
    )
    self.assertEqual((found.state, found.accelerator_type), (None, 'v5p-16'))
    self.assertEqual(found.queued_resource, 'queue')
    self.assertEqual(found.queue_state, 'WAITING_FOR_RESOURCES')
    # That the image will not do is said while there is time to ask anew.
    self.assertLen(found.problems(), 2)

  def test_name_of_a_queued_resource(self):
    found = self._find('queue', queued=[_queued('queue', 'ACTIVE', 'pod')])
    self.assertEqual(found.queued_nodes, ('pod',))

  def test_neither_is_there(self):
    with self.assertRaises(exceptions.NotFound):
      self._find('pod', queued=[_queued('queue', 'ACTIVE', 'another')])

  def test_access_refused(self):
    refused = {_POD['name']: (403, {'error': {'message': 'no'}})}
    with self.assertRaises(exceptions.Forbidden):
      self._find('pod', errors=refused)


if __name__ == '__main__':
  absltest.main()
