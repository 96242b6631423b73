"""Which TensorFlow and which Keras there are, and whether they will do.

The package is written for Keras 2. From TensorFlow 2.16 on, `tf.keras` is Keras
3 unless an environment variable says before its first use that it shall be the
package tf_keras, which is Keras 2 still. So this module comes before TensorFlow
(the package imports it) and imports none of it.

What else differs between the versions asks here: `has_addons`.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys

# The first and the last that will do, and that the tests are run with.
OLDEST, NEWEST = (2, 15), (2, 20)
_LEGACY_KERAS = 'TF_USE_LEGACY_KERAS'
# What TensorFlow itself takes for a yes.
_YES = ('1', 'true', 'True')


def has_addons(tensorflow_version: str) -> bool:
  """Whether TensorFlow Addons can be imported beside this TensorFlow."""
  return minor(tensorflow_version) < (2, 16)


def minor(version: str) -> tuple[int, int]:
  """Returns the first two numbers of a version, (2, 15) of '2.15.1'."""
  first, second = re.match(r'(\d+)\.(\d+)', version).groups()  # type: ignore[union-attr]
  return int(first), int(second)


def prepare() -> None:
  """Sees to it that `tf.keras` is Keras 2. Where there is TensorFlow at all.

  Raises:
    ImportError: If it cannot be, or if it is a TensorFlow that the package does
      not run on; one sentence, with the remedy.
  """
  tensorflow = _version('tensorflow')
  if tensorflow is None:  # Some parts do without; Python says so in others.
    return
  _check_tensorflow(tensorflow)
  keras = _version('keras')
  if minor(tensorflow) < (2, 16) and (keras is None or minor(keras) < (3, 0)):
    return
  _check_tf_keras(tensorflow)
  chosen = os.environ.setdefault(_LEGACY_KERAS, '1')
  if chosen not in _YES:
    raise ImportError(
      f'{_LEGACY_KERAS} is {chosen!r} in the environment, which makes tf.keras '
      'Keras 3; official_coatnet is written for Keras 2: set it to 1, or unset '
      'it.'
    )
  if 'tensorflow' in sys.modules and not uses_keras_2():
    raise ImportError(
      'tf.keras is Keras 3, since it was used before official_coatnet, which '
      'needs Keras 2, could choose: import official_coatnet first, or set '
      f'{_LEGACY_KERAS}=1 in the environment.'
    )


def environment_of_others() -> dict[str, str]:
  """Returns the environment for a process with packages of its own.

  Which Keras is chosen for those of here, is not chosen for them: an older
  TensorFlow has no `tf.keras` where it is told to take a package that it lacks.
  """
  return {k: v for k, v in os.environ.items() if k != _LEGACY_KERAS}


def uses_keras_2() -> bool:
  """Whether `tf.keras` is Keras 2. TensorFlow must have been imported.

  Which one it is, TensorFlow asks at its first use and not at its import.
  """
  model = sys.modules['tensorflow'].keras.Model
  # Keras 2.15 is of another package than later ones, and of that of Keras 3.
  package = model.__module__.partition('.')[0]
  version = sys.modules[package].__version__
  return minor(version) < (3, 0)


def _check_tensorflow(version: str) -> None:
  if not OLDEST <= minor(version) <= NEWEST:
    oldest, newest = (f'{a}.{b}' for a, b in (OLDEST, NEWEST))
    raise ImportError(
      f'TensorFlow {version} is installed, and official_coatnet runs on '
      f'{oldest} to {newest}: pip install "tensorflow~={newest}.0" '
      f'"tf_keras~={newest}.0".'
    )


def _check_tf_keras(tensorflow: str) -> None:
  """Checks that tf_keras is there, and the one of this TensorFlow."""
  version = _version('tf_keras')
  wanted = '{}.{}'.format(*minor(tensorflow))
  remedy = f'pip install "tf_keras~={wanted}.0"'
  if version is None:
    raise ImportError(
      f'tf_keras is not installed, with which TensorFlow {tensorflow} has the '
      f'Keras 2 that official_coatnet is written for: {remedy}.'
    )
  if minor(version) != minor(tensorflow):
    raise ImportError(
      f'tf_keras is {version} and TensorFlow {tensorflow}, but they must be of '
      f'one minor version: {remedy}.'
    )


def _version(package: str) -> str | None:
  """Returns the version of what `import package` gives, None for nothing.

  Without importing it, if it can be told so: TensorFlow takes seconds, and asks
  for the environment variable.
  """
  imported = sys.modules.get(package)
  if imported is not None:
    return imported.__version__
  if importlib.util.find_spec(package) is None:
    return None
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    pass
  # It may come by another name, such as tensorflow-cpu or tensorflow-tpu.
  names = importlib.metadata.packages_distributions().get(package)
  if names:
    return importlib.metadata.version(names[0])
  return importlib.import_module(package).__version__
