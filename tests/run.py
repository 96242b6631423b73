"""Runs test modules in one process, as the targets of Bazel do.

    python -m tests.run tests.files_test tests/training/plan_test.py \\
        --test_filter=StorageTest

A target is a topic of several modules, so that TensorFlow is imported once for
all of them. A filter is a part of module.Class.method. Sharding and filters are
those of absltest.
"""

import gc
import importlib
import os
import sys
import time

from absl import flags
from absl.testing import absltest, xml_reporter

_FILTER = '--test_filter='


def _import(name: str) -> None:
  """Imports a test module, and devices for it if it has TensorFlow.

  Raises:
    SystemExit: If there is no such module, or if its import runs TensorFlow.
  """
  try:
    importlib.import_module(name)
  except ModuleNotFoundError as e:
    if name != e.name and not name.startswith(f'{e.name}.'):
      raise
    sys.exit(
      f'No test module {name!r}. Start from the root of the repository, with '
      'names such as tests.files_test.'
    )
  if 'tensorflow' not in sys.modules:
    return
  from tests.fixtures import devices

  try:
    devices.use_two_cpus()
  except RuntimeError as e:
    sys.exit(
      f'{name} runs TensorFlow when it is imported, and so before the modules '
      f'beside it can set up their devices ({e}). Make constants in a test, '
      'in setUpModule or with NumPy.'
    )


def main():
  """Imports the modules that the arguments name, and runs their tests."""
  arguments = []
  for argument in sys.argv[1:]:
    if argument.startswith(_FILTER):
      # As Bazel hands it on.
      os.environ['TESTBRIDGE_TEST_ONLY'] = argument.removeprefix(_FILTER)
    elif argument.startswith('-'):
      arguments.append(argument)
    else:
      arguments.append(argument.removesuffix('.py').replace('/', '.'))
      # Imported before the flags count as parsed: the tools define theirs.
      _import(arguments[-1])
  # What the imports have left, every later collection would walk over: that is
  # a twentieth of the time of tests that trace graphs.
  gc.freeze()
  # Tests of a tool set its flags themselves, required ones among them.
  flags.FLAGS.mark_as_parsed()
  sys.argv[1:] = arguments
  # Python 3.12.1 ends a test that a decorator skips without having begun it;
  # if it is the first, absl knows no time at which it has.
  xml_reporter._TextAndXMLTestResult.start_time = time.time()
  absltest.main(module=None)


if __name__ == '__main__':
  main()
