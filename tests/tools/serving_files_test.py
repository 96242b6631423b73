"""docs/serving.md and docs/serving/ agree with the export and each other."""

import json
import pathlib
import re

import yaml
from absl import flags
from absl.testing import absltest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from official_coatnet.export import batching
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import start_up
from tests.fixtures import repository
from tools import (
  query,  # noqa: F401 -- defines the flags that the page names
  serving_client,
)

DOCS = pathlib.Path(repository.ROOT) / 'docs'
FOLDER = DOCS / 'serving'
IMAGE = 'tensorflow/serving:2.15.1'


def read_yaml(name):
  return list(yaml.safe_load_all((FOLDER / name).read_text()))


class ServingFilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.deployment, self.service = read_yaml('tensorflow_serving.yaml')
    (self.kustomization,) = read_yaml('kustomization.yaml')
    self.batching = batching.read(str(FOLDER / 'batching_config.txt'))
    config = text_format.Parse(
      (FOLDER / 'models.config').read_text(),
      model_server_config_pb2.ModelServerConfig(),
    )
    (self.model,) = config.model_config_list.config
    self.pod = self.deployment['spec']['template']
    (self.container,) = self.pod['spec']['containers']
    self.args = dict(a.split('=', 1) for a in self.container['args'])

  def test_batching(self):
    """The largest batch is warmed up, and no request ends the server."""
    sizes = ExportOptions().batch_sizes
    self.assertEqual(sizes[0], 1)
    self.assertEqual(sizes[-1], self.batching.max_batch_size)
    self.assertEqual(self.batching.allowed_batch_sizes, ())
    self.assertEqual(self.batching.problems(), [])

  def test_the_start_is_waited_for(self):
    """As long as tools/export.py says of what is quick to load."""
    quick = start_up.StartUp(cores=4, load=1.0, requests=10, warmup=1.0)
    probe = self.container['startupProbe']
    self.assertEqual(probe['periodSeconds'], start_up.PERIOD_SECONDS)
    self.assertEqual(probe['failureThreshold'], quick.failure_threshold)

  def test_the_manifest_names_what_is_there(self):
    self.assertEqual(self.container['image'], IMAGE)
    (generator,) = self.kustomization['configMapGenerator']
    for resource in self.kustomization['resources']:
      self.assertTrue((FOLDER / resource).is_file())
    for file in generator['files']:
      self.assertTrue((FOLDER / file).is_file())
    volumes = {v['name']: v for v in self.pod['spec']['volumes']}
    mounts = {m['name']: m['mountPath'] for m in self.container['volumeMounts']}
    self.assertEqual(volumes.keys(), mounts.keys())
    self.assertEqual(mounts['exports'], self.model.base_path)
    self.assertEqual(volumes['config']['configMap']['name'], generator['name'])
    named = {v for v in self.args.values() if v.startswith(mounts['config'])}
    self.assertEqual(
      named, {f'{mounts["config"]}/{file}' for file in generator['files']}
    )

  def test_the_manifest_asks_the_model_that_is_served(self):
    labels = self.deployment['spec']['selector']['matchLabels']
    self.assertEqual(self.pod['metadata']['labels'], labels)
    self.assertEqual(self.service['spec']['selector'], labels)
    ports = {p['name']: p['containerPort'] for p in self.container['ports']}
    self.assertEqual(ports, {'grpc': 8500, 'rest': 8501})
    for port in self.service['spec']['ports']:
      self.assertEqual(ports[port['targetPort']], port['port'])
    for probe in ('startupProbe', 'readinessProbe'):
      self.assertEqual(
        self.container[probe]['httpGet'],
        {'path': f'/v1/models/{self.model.name}', 'port': 'rest'},
      )
    self.assertEqual(
      self.container['livenessProbe']['tcpSocket']['port'], 'grpc'
    )

  def test_threads_are_the_cores_of_a_replica(self):
    cores = self.container['resources']['requests']['cpu']
    self.assertEqual(str(self.batching.num_batch_threads), cores)
    for kind in ('intra', 'inter'):
      self.assertEqual(self.args[f'--tensorflow_{kind}_op_parallelism'], cores)

  def test_metrics(self):
    path = re.search(
      r'^prometheus_config \{\s+enable: true\s+path: "(.*)"\s+\}$',
      (FOLDER / 'monitoring.config').read_text(),
      re.MULTILINE,
    )[1]
    notes = self.pod['metadata']['annotations']
    self.assertEqual(notes['prometheus.io/path'], path)
    self.assertEqual(notes['prometheus.io/port'], '8501')


class PageTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.page = (DOCS / 'serving.md').read_text()

  def _section(self, title):
    return self.page.split(f'\n## {title}\n')[1].split('\n## ')[0]

  def test_bodies_name_signatures_and_their_inputs(self):
    seen = []
    for line in self._section('REST').splitlines():
      match = re.match(r'\| (?:`(:\w+)` )?`(\{.*?\})` \|', line)
      if not match:
        continue
      method, body = match[1], json.loads(match[2])
      signature = body.pop('signature_name', 'serving_default')
      name = serving_client.INPUTS[signature]
      ((form, value),) = body.items()
      seen.append((signature, form))
      if method == ':classify':
        self.assertEqual(signature, 'classify')
        self.assertEqual(list(value[0]), [serving_client.ENCODED_KEY])
      elif form == 'inputs' and isinstance(value, dict):
        self.assertEqual(list(value), [name])
      elif isinstance(value[0], dict):
        self.assertIn(list(value[0]), ([name], ['b64']))
    forms = {
      (s, f) for s in serving_client.INPUTS for f in ('instances', 'inputs')
    }
    forms.remove(('classify', 'inputs'))
    self.assertEqual(set(seen), forms | {('classify', 'examples')})

  def test_commands(self):
    self.assertEqual(
      set(re.findall(r'tensorflow/serving:\S+', self.page)), {IMAGE}
    )
    for flag in re.findall(r'`--(\w+)', self._section('tools/query.py')):
      self.assertIn(flag, flags.FLAGS)
    for file in re.findall(r'\]\((serving/\S+)\)', self.page):
      self.assertTrue((DOCS / file).is_file(), file)

  def test_versions_and_labels(self):
    """What the page adds to models.config, read as a server does."""
    lines = [
      line
      for line in self.page.splitlines()
      if re.match(r'    (model_version_policy|version_labels) ', line)
    ]
    config = text_format.Parse(
      '\n'.join(lines), model_server_config_pb2.ModelConfig()
    )
    self.assertEqual(config.model_version_policy.specific.versions, [3, 4])
    self.assertEqual(dict(config.version_labels), {'stable': 3, 'canary': 4})


if __name__ == '__main__':
  absltest.main()
