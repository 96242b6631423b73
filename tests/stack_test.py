"""Which TensorFlow and Keras will do, with packages of a few lines for them."""

import os
import pathlib
import subprocess
import sys
from unittest import mock

import tensorflow as tf
from absl.testing import absltest, parameterized

import official_coatnet
from official_coatnet import stack

ROOT = pathlib.Path(official_coatnet.__file__).parents[1]
# Which Keras it is, is told at the first use, as TensorFlow does it.
TENSORFLOW = """
import importlib, os
__version__ = '{version}'
class _Keras:
  @property
  def Model(self):
    if not hasattr(self, 'chosen'):
      legacy = os.environ.get('TF_USE_LEGACY_KERAS') == '1'
      self.chosen = 'tf_keras' if legacy else 'keras'
      importlib.import_module(self.chosen)
    return type('Model', (), {{'__module__': f'{{self.chosen}}.src.models'}})
keras = _Keras()
"""
IMPORT = 'import official_coatnet'
SHOW = "import os; print(os.environ.get('TF_USE_LEGACY_KERAS'))"


class StackTest(parameterized.TestCase):
  def _run(self, *arguments, packages, names=None, **variables):
    """Runs Python with nothing else installed than the packages.

    Args:
      *arguments: Of Python.
      packages: Their versions, by what one imports.
      names: What they are called where they are installed, if otherwise.
      **variables: Of the environment.
    """
    site = pathlib.Path(self.create_tempdir().full_path)
    for package, version in packages.items():
      code = "__version__ = '{version}'"
      if package == 'tensorflow':
        code = TENSORFLOW
      (site / package).mkdir()
      (site / package / '__init__.py').write_text(code.format(version=version))
      name = (names or {}).get(package, package)
      if name is None:
        continue
      info = site / f'{name}-{version}.dist-info'
      info.mkdir()
      (info / 'METADATA').write_text(f'Name: {name}\nVersion: {version}\n')
      (info / 'top_level.txt').write_text(f'{package}\n')
    return subprocess.run(
      [sys.executable, '-S', *arguments],
      env={'PYTHONPATH': f'{site}{os.pathsep}{ROOT}', **variables},
      capture_output=True,
      text=True,
      check=False,
    )

  @parameterized.parameters(
    ({}, 'None'),
    ({'tensorflow': '2.15.1'}, 'None'),
    ({'tensorflow': '2.15.1', 'keras': '2.15.0'}, 'None'),
    # Where someone has updated Keras alone.
    ({'tensorflow': '2.15.1', 'keras': '3.5.0', 'tf_keras': '2.15.1'}, '1'),
    ({'tensorflow': '2.16.2', 'tf_keras': '2.16.0'}, '1'),
    ({'tensorflow': '2.20.0', 'keras': '3.10.0', 'tf_keras': '2.20.1'}, '1'),
  )
  def test_chooses_keras_2_without_importing_tensorflow(self, packages, chosen):
    code = f"{IMPORT}\n{SHOW}\nimport sys; print('tensorflow' in sys.modules)"
    result = self._run('-c', code, packages=packages)
    self.assertEqual(result.stdout, f'{chosen}\nFalse\n', result.stderr)

  def test_after_tensorflow_as_long_as_nobody_has_used_its_keras(self):
    packages = {'tensorflow': '2.20.0', 'tf_keras': '2.20.1', 'keras': '3.10.0'}
    show = 'print(tf.keras.Model.__module__)'
    code = f'import tensorflow as tf\n{IMPORT}\n{show}'
    result = self._run('-c', code, packages=packages)
    self.assertEqual(result.stdout, 'tf_keras.src.models\n', result.stderr)
    code = f'import tensorflow as tf\n{show}\n{IMPORT}'
    result = self._run('-c', code, packages=packages)
    self.assertEqual(result.stdout, 'keras.src.models\n', result.stderr)
    self.assertIn(
      'ImportError: tf.keras is Keras 3, since it was used before '
      'official_coatnet',
      result.stderr,
    )

  @parameterized.parameters(
    (
      {'tensorflow': '2.14.1'},
      r'TensorFlow 2\.14\.1 is installed, and official_coatnet runs on 2\.15 '
      r'to 2\.20: pip install "tensorflow~=2\.20\.0" "tf_keras~=2\.20\.0"\.',
    ),
    ({'tensorflow': '2.21.0', 'tf_keras': '2.21.0'}, r'TensorFlow 2\.21\.0 is'),
    ({'tensorflow': '3.0.0'}, r'TensorFlow 3\.0\.0 is'),
    (
      {'tensorflow': '2.20.0', 'keras': '3.10.0'},
      r'tf_keras is not installed.*: pip install "tf_keras~=2\.20\.0"\.',
    ),
    (
      {'tensorflow': '2.18.1', 'tf_keras': '2.20.1'},
      r'tf_keras is 2\.20\.1 and TensorFlow 2\.18\.1.*"tf_keras~=2\.18\.0"\.',
    ),
  )
  def test_one_sentence_with_the_remedy(self, packages, sentence):
    result = self._run('-c', IMPORT, packages=packages)
    self.assertNotEqual(result.returncode, 0)
    self.assertRegex(result.stderr, f'ImportError: {sentence}')
    # A tool says it and no more, before it imports TensorFlow.
    for tool in ('train.py', 'benchmark/input.py'):
      result = self._run(str(ROOT / 'tools' / tool), packages=packages)
      self.assertEqual(result.returncode, 1)
      name = pathlib.Path(tool).name
      self.assertRegex(result.stderr, f'^{name}: {sentence}[^\n]*\n$')

  def test_an_environment_that_asks_for_keras_3(self):
    packages = {'tensorflow': '2.20.0', 'tf_keras': '2.20.1'}
    for value in ('0', 'false', ''):
      result = self._run(
        '-c', IMPORT, packages=packages, TF_USE_LEGACY_KERAS=value
      )
      self.assertIn(f'TF_USE_LEGACY_KERAS is {value!r}', result.stderr)
    result = self._run(
      '-c', IMPORT, packages=packages, TF_USE_LEGACY_KERAS='True'
    )
    self.assertEqual(result.returncode, 0, result.stderr)

  @parameterized.parameters('tensorflow-cpu', 'tensorflow-tpu', None)
  def test_a_tensorflow_by_another_name(self, name):
    result = self._run(
      '-c',
      IMPORT,
      packages={'tensorflow': '2.21.0'},
      names={'tensorflow': name},
    )
    self.assertIn('TensorFlow 2.21.0 is installed', result.stderr)

  def test_here(self):
    self.assertTrue(stack.uses_keras_2())
    self.assertFalse(hasattr(tf.keras, 'ops'))  # Which came with Keras 3.
    self.assertBetween(stack.minor(tf.__version__), stack.OLDEST, stack.NEWEST)

  def test_environment_of_others(self):
    environment = {'TF_USE_LEGACY_KERAS': '1', 'HOME': '/here'}
    with mock.patch.dict(os.environ, environment, clear=True):
      self.assertEqual(stack.environment_of_others(), {'HOME': '/here'})

  def test_addons(self):
    self.assertTrue(stack.has_addons('2.15.1'))
    self.assertFalse(stack.has_addons('2.16.0-rc1'))
    self.assertFalse(stack.has_addons('2.20.0'))


if __name__ == '__main__':
  absltest.main()
