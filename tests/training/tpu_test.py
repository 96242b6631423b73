"""Tests of training.tpu, with stubs in place of Google Cloud."""

import socket
import threading
import urllib.error
from unittest import mock

import httplib2
import tensorflow as tf
from absl.testing import absltest, parameterized
from google.api_core import exceptions as api_errors
from google.auth import exceptions as auth_errors
from googleapiclient import errors as google_errors
from oauth2client import client as oauth2_client

from official_coatnet.training import tpu, tpu_api

# So that nothing is asked of the network.
_NO_METADATA = {'TPU_SKIP_MDS_QUERY': '1'}


class Client:
  """What the Cloud TPU API says of a slice that is ready; or an error."""

  def __init__(self, error=None, **answers):
    self._error = error
    self.answers = {
      'state': 'READY',
      'health': 'HEALTHY',
      'accelerator_type': 'v3-32',
      'runtime_version': f'tpu-vm-tf-{tf.__version__}-pod-pjrt',
      'network_endpoints': [{'ipAddress': f'10.0.0.{i}'} for i in range(4)],
      **answers,
    }

  def __call__(self, **kwargs):
    self.asked_for = kwargs
    return self

  def __getattr__(self, name):
    if self._error is not None:
      raise self._error
    return lambda: self.answers[name]


def _http_error(status):
  """As the client raises it: hidden in a ValueError."""
  try:
    try:
      raise google_errors.HttpError(httplib2.Response({'status': status}), b'')
    except google_errors.HttpError as e:
      raise ValueError("Could not lookup TPU metadata from name 'x'.") from e
  except ValueError as e:
    return e


class TpuTest(parameterized.TestCase):
  def test_slice_that_is_ready(self):
    client = Client()
    found = tpu.find('pod', zone='z', project='p', make_client=client)
    self.assertEqual(
      client.asked_for, {'tpu': 'pod', 'zone': 'z', 'project': 'p'}
    )
    self.assertEqual(found.problems(), [])
    self.assertEqual((found.num_hosts, found.min_cores), (4, 32))
    self.assertIn('TPU pod, accelerator type v3-32, state READY', str(found))

  @parameterized.parameters(
    ('PREEMPTED', 'create it anew.*latest checkpoint'),
    ('CREATING', 'Wait'),
    ('STOPPED', 'tpu-vm start pod'),
    ('HIDING', 'tpu-vm describe pod'),
  )
  def test_slice_that_is_not_ready(self, state, words):
    # The client refuses to name the endpoints of such a TPU.
    client = Client(state=state)
    del client.answers['network_endpoints']
    (problem,) = tpu.find('pod', make_client=client).problems()
    self.assertRegex(problem, f"'pod' is in state {state}; .*{words}")

  @parameterized.parameters(
    (
      oauth2_client.ApplicationDefaultCredentialsError('none'),
      'no credentials.*gcloud auth application-default login',
    ),
    (_http_error(404), 'no such TPU.*--tpu_zone and --gcp_project.*zone=z'),
    (_http_error(403), 'refused .HTTP 403.*roles/tpu.viewer'),
    (RuntimeError('odd'), 'RuntimeError: odd.*in state READY'),
  )
  def test_slice_that_is_not_there(self, error, words):
    with self.assertRaisesRegex(
      ConnectionError,
      f"called 'pod' through the Cloud TPU API .project: p, zone: z.*{words}",
    ):
      tpu.find('pod', zone='z', project='p', make_client=Client(error))

  @parameterized.parameters(
    (
      auth_errors.DefaultCredentialsError('none'),
      'no credentials.*gcloud auth',
    ),
    (api_errors.NotFound('x'), 'no such TPU.*--tpu_zone and --gcp_project'),
    (api_errors.PermissionDenied('x'), 'refused .HTTP 403.*roles/tpu.viewer'),
    (api_errors.ServiceUnavailable('y'), 'ServiceUnavailable: 503 y'),
  )
  def test_slice_that_google_cloud_tpu_does_not_find(self, error, words):
    client = mock.Mock()
    client.get_node.side_effect = error
    client.list_queued_resources.return_value = []
    self._install(client)
    with self.assertRaisesRegex(
      ConnectionError,
      f"called 'pod' through the Cloud TPU API .project: p, zone: z.*{words}",
    ):
      tpu.find('pod', zone='z', project='p')

  def test_google_cloud_tpu_is_asked_where_it_is_installed(self):
    client = mock.Mock()
    self._install(client)
    answer = mock.MagicMock()
    answer.__enter__().read.side_effect = [
      b'projects/12/zones/europe-west4-a',
      b'my-project',
    ]
    found = object()
    with (
      mock.patch('urllib.request.urlopen', return_value=answer),
      mock.patch.object(tpu_api, 'find', return_value=found) as find,
    ):
      self.assertIs(tpu.find('pod'), found)
    find.assert_called_once_with(
      client, 'pod', zone='europe-west4-a', project='my-project'
    )

  def test_the_resolvers_client_is_asked_where_it_is_not(self):
    self._install(None)
    client = Client()
    with mock.patch.object(tpu.tpu_cluster_resolver.client, 'Client', client):
      self.assertEqual(tpu.find('pod', zone='z', project='p').num_hosts, 4)

  def _install(self, client):
    """Puts a client, or none, in the place of google-cloud-tpu's."""
    self.enter_context(
      mock.patch.multiple(
        tpu_api,
        is_installed=lambda: client is not None,
        make_client=lambda: client,
      )
    )

  def test_outside_google_cloud(self):
    def make_client(**kwargs):
      del kwargs
      raise urllib.error.URLError('Name or service not known')

    with self.assertRaisesRegex(
      ConnectionError, 'no machine of Google Cloud.*--gcp_project and --tpu_z'
    ):
      tpu.find('pod', make_client=make_client)

  def test_api_that_never_answers(self):
    # It does not answer before the search has ended.
    end = threading.Event()
    self.addCleanup(end.set)
    with self.assertRaisesRegex(ConnectionError, 'no answer within 0 s'):
      tpu.find('pod', timeout=0.1, make_client=lambda **_: end.wait())

  def test_addresses(self):
    with socket.create_server(('127.0.0.1', 0)) as server:
      address = f'grpc://127.0.0.1:{server.getsockname()[1]}'
      self.assertEqual(tpu.find(address).num_hosts, 1)
      self.assertEqual(tpu.find(f'{address},{address}').num_hosts, 2)
    with self.assertRaisesRegex(
      ConnectionError, 'at the address .*Refused.*its TensorFlow server'
    ):
      tpu.find(address)
    with self.assertRaisesRegex(ValueError, "'grpc://host'.*grpc://host:8470"):
      tpu.find('grpc://host')

  @parameterized.parameters(
    {'TPU_WORKER_HOSTNAMES': 'host0'},
    {'TPU_PROCESS_BOUNDS': '1,1,1', **_NO_METADATA},
    _NO_METADATA,
  )
  def test_local_on_one_host(self, **environment):
    found = tpu.find('local', environment=environment)
    self.assertEqual((found.num_hosts, found.problems()), (1, []))

  @parameterized.parameters(
    {'TPU_WORKER_HOSTNAMES': 'host0,host1,host2,host3'},
    {'TPU_PROCESS_BOUNDS': '2,2,1', **_NO_METADATA},
  )
  def test_local_on_a_slice_of_several(self, **environment):
    with self.assertRaisesRegex(
      ValueError, 'worker 1 of a slice of 4 hosts.*one program.*--tpu=NAME'
    ):
      tpu.find('local', environment={**environment, 'TPU_WORKER_ID': '1'})

  def test_local_asks_what_the_machine_was_told(self):
    answer = mock.MagicMock()
    answer.__enter__().read.return_value = (
      b"ACCELERATOR_TYPE: 'v4-16'\nHOST_BOUNDS: '1,1,2'\nWORKER_ID: '0'\n"
    )
    with (
      mock.patch('urllib.request.urlopen', return_value=answer),
      self.assertRaisesRegex(ValueError, 'worker 0 of a slice of 2 hosts'),
    ):
      tpu.find('local', environment={})

  def test_which_workers_are_other_machines(self):
    self.assertTrue(tpu.is_remote('pod'))
    self.assertTrue(tpu.is_remote('grpc://10.0.0.2:8470'))
    self.assertFalse(tpu.is_remote('local'))
    self.assertFalse(tpu.is_remote(None))


if __name__ == '__main__':
  absltest.main()
