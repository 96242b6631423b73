"""Tests of reading files of weights, whole and damaged."""

import os
import sys
from unittest import mock

import h5py
import numpy as np
import safetensors.numpy
import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.pretrained import reading
from tests.fixtures import hub_files

STATE = {
  'a.weight': np.arange(6, dtype='f').reshape(2, 3),
  'b': np.ones(1, 'f'),
}


class ReadingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'model.safetensors')

  def test_safetensors(self):
    hub_files.write(self.path, STATE)
    state = reading.read_state(self.path)
    self.assertEqual(set(state), set(STATE))
    np.testing.assert_array_equal(state['a.weight'], STATE['a.weight'])

  def test_other_types_become_float32(self):
    hub_files.write(
      self.path, {'half': np.array([0.5], np.float16), 'count': np.array([3])}
    )
    state = reading.read_state(self.path)
    self.assertEqual(state['half'].dtype, np.float32)
    self.assertEqual(state['half'], 0.5)
    self.assertEqual(state['count'].dtype.kind, 'i')

  @parameterized.parameters('whole', 'weights')
  def test_hdf5_of_keras(self, kind):
    model = tf.keras.Sequential(
      [tf.keras.layers.Dense(2, input_shape=(3,), name='predictions')]
    )
    path = os.path.join(self.folder, 'x.h5')
    save = model.save if kind == 'whole' else model.save_weights
    save(path)
    state = reading.read_state(path)
    self.assertEqual(set(state), {'predictions/kernel', 'predictions/bias'})
    np.testing.assert_array_equal(
      state['predictions/kernel'], model.layers[-1].kernel.numpy()
    )

  @parameterized.parameters(
    (lambda whole: whole[: len(whole) // 2], 'damaged or cut short'),
    (lambda whole: whole[:-1], 'damaged or cut short'),
    (lambda whole: b'\xff' * len(whole), 'damaged or cut short'),
    (lambda whole: b'', '0 bytes'),
    (lambda whole: b'<html>no</html>', 'HTML'),
    (lambda whole: b'version https://git-lfs.github.com', 'Git LFS'),
  )
  def test_damaged_files(self, damage, words):
    hub_files.write(self.path, STATE)
    with open(self.path, 'rb') as file:
      whole = file.read()
    hdf5 = os.path.join(self.folder, 'x.h5')
    with h5py.File(hdf5, 'w') as file:
      file['x'] = np.arange(1000)
    with open(hdf5, 'rb') as file:
      whole_hdf5 = file.read()
    for path, content in ((self.path, whole), (hdf5, whole_hdf5)):
      with open(path, 'wb') as file:
        file.write(damage(content))
      if path == hdf5 and len(damage(content)) == len(content) - 1:
        continue  # The library reads what is there.
      with self.assertRaisesRegex(ValueError, f'{words}.*copy it again'):
        reading.read_state(path)

  def test_a_damaged_file_of_the_cache_is_to_be_removed(self):
    paths = hub_files.cache(
      self.folder, hub_files.NAME, {'model.safetensors': b'cut'}
    )
    path = paths['model.safetensors']
    with self.assertRaisesRegex(
      ValueError, f'remove {os.path.realpath(path)}, and it is fetched again'
    ):
      reading.read_state(path)

  def test_files_without_weights(self):
    safetensors.numpy.save_file({}, self.path)
    with self.assertRaisesRegex(ValueError, 'holds no weights'):
      reading.read_state(self.path)
    path = os.path.join(self.folder, 'x.h5')
    with h5py.File(path, 'w') as file:
      file['x'] = np.zeros(3)
    with self.assertRaisesRegex(ValueError, 'none that Keras has written'):
      reading.read_state(path)

  def test_without_the_library(self):
    hub_files.write(self.path, STATE)
    with (
      mock.patch.dict(sys.modules, {'safetensors': None}),
      self.assertRaisesRegex(ImportError, 'pip install'),
    ):
      reading.read_state(self.path)


if __name__ == '__main__':
  absltest.main()
