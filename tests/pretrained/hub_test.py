"""Tests of how weights are found, without a network."""

import json
import os
import sys
from unittest import mock

import huggingface_hub
from absl.testing import absltest, parameterized
from huggingface_hub import constants, errors

from official_coatnet.pretrained import hub
from tests.fixtures import hub_files


def _answer(error):
  """Of a hub: what is not in the cache ends in an error."""

  def download(repository, name, *, local_files_only=False):
    raise errors.LocalEntryNotFoundError('no') if local_files_only else error

  return mock.patch.object(huggingface_hub, 'hf_hub_download', download)


def _http(kind, status=404):
  response = mock.Mock(status_code=status, headers={}, request=mock.Mock())
  return kind('not there', response=response)


class HubTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.enter_context(
      mock.patch.object(constants, 'HF_HUB_CACHE', self.folder)
    )
    # What is not in the cache would be fetched.
    self.enter_context(mock.patch.object(constants, 'HF_HUB_OFFLINE', True))

  def write(self, name, content=b'x'):
    path = os.path.join(self.folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
      file.write(content)
    return path

  @parameterized.parameters(hub_files.NAME, hub_files.NAME.split('/')[1])
  def test_what_is_cached_is_found_by_its_name(self, name):
    paths = hub_files.cache(
      self.folder, hub_files.NAME, {'model.safetensors': b'x'}
    )
    self.assertTrue(hub.is_name(name))
    file = hub.find(name)
    self.assertEqual(file.path, paths['model.safetensors'])
    self.assertEqual(file.row.name, hub_files.NAME)
    self.assertEqual(file.url, file.row.url)

  def test_another_repository_of_the_hub(self):
    settings = json.dumps(hub_files.SETTINGS).encode()
    hub_files.cache(
      self.folder,
      'me/birds',
      {'model.safetensors': b'x', 'config.json': settings},
    )
    file = hub.find('hf-hub:me/birds')
    self.assertEqual(file.settings, hub_files.SETTINGS)
    self.assertIsNone(file.row)
    self.assertEqual(
      file.url, 'https://huggingface.co/me/birds/resolve/main/model.safetensors'
    )

  def test_a_hub_that_cannot_be_reached(self):
    with self.assertRaisesRegex(
      ValueError,
      'cannot be reached.*download https://huggingface.co/timm/coatnet_nano_rw_'
      '224.sw_in1k/resolve/main/model.safetensors into a folder',
    ):
      hub.find(hub_files.NAME)

  @parameterized.parameters(
    (_http(errors.EntryNotFoundError), 'has no model.safetensors.*pickle'),
    (_http(errors.RepositoryNotFoundError), 'does not exist, or is not open'),
    (_http(errors.HfHubHTTPError, 503), r'cannot be reached.*\(not there\)'),
    (ConnectionError('no route'), r'cannot be reached.*\(no route\)'),
    (errors.HFValidationError('bad'), 'is no name of a repository: bad'),
  )
  def test_what_a_hub_may_answer(self, error, words):
    with _answer(error), self.assertRaisesRegex(ValueError, f'(?s){words}'):
      hub.find(hub_files.NAME)

  def test_without_the_library(self):
    with (
      mock.patch.dict(sys.modules, {'huggingface_hub': None}),
      self.assertRaisesRegex(
        ImportError, 'pip install .*, or download https://'
      ),
    ):
      hub.find(hub_files.NAME)

  @parameterized.parameters(
    ('timm/coatnet_0_rw_224.sw_in', "Did you mean 'timm/coatnet_0_rw_224.sw_i"),
    ('resnet50', 'neither a file or folder nor the name'),
    ('kecam/coatnet0_224_imagenet', r'on no hub: download https://.*224.*\.h5'),
  )
  def test_names_that_lead_nowhere(self, name, words):
    with self.assertRaisesRegex(ValueError, words):
      hub.find(name)

  def test_pickles_are_refused(self):
    for name in ('pytorch_model.bin', 'model.pth'):
      path = self.write(f'{name}.d/{name}')
      for source in (path, os.path.dirname(path)):
        self.assertTrue(hub.is_weights(source))
        with self.assertRaisesRegex(
          ValueError, 'is a pickle.*Give the model.safetensors'
        ):
          hub.find(source)

  def test_local_files_and_folders(self):
    path = self.write('coatnet_0_rw_224.sw_in1k/model.safetensors')
    self.write('coatnet_0_rw_224.sw_in1k/pytorch_model.bin')
    for source in (path, os.path.dirname(path)):
      file = hub.find(source)
      self.assertEqual(file.path, path)
      self.assertEqual(file.row.name, 'timm/coatnet_0_rw_224.sw_in1k')
      self.assertIsNone(file.settings)
    path = self.write('x/coatnet0_160_imagenet.h5')
    self.assertEqual(hub.find(path).row.name, 'kecam/coatnet0_160_imagenet')
    self.write('x/config.json', b'{"architecture": "y"}')
    self.assertEqual(hub.find(path).settings, {'architecture': 'y'})

  def test_local_files_that_are_no_weights(self):
    for path, words in (
      (self.write('a/notes.txt'), 'no file of weights'),
      (os.path.dirname(self.write('b/notes.txt')), 'it holds none'),
    ):
      self.assertFalse(hub.is_weights(path))
      with self.assertRaisesRegex(ValueError, words):
        hub.find(path)
    self.write('c/1.safetensors')
    folder = os.path.dirname(self.write('c/2.safetensors'))
    with self.assertRaisesRegex(ValueError, 'several, 1.safetensors, 2.safe'):
      hub.find(folder)
    path = self.write('d/model.safetensors')
    for content, words in ((b'{', 'is no JSON'), (b'[]', 'no JSON object')):
      self.write('d/config.json', content)
      with self.assertRaisesRegex(ValueError, words):
        hub.find(path)


if __name__ == '__main__':
  absltest.main()
