"""Runs test modules in one process: `python -m tests.run tests.files_test`.

A target of Bazel is a topic of several modules, so that TensorFlow is imported
once for all of them. Sharding and --test_filter are those of absltest; a filter
is a part of module.Class.method.
"""

import importlib
import sys

from absl import flags
from absl.testing import absltest


def main():
  # Imported before the flags count as parsed: the tools define theirs.
  modules = [name for name in sys.argv[1:] if not name.startswith('-')]
  for name in modules:
    importlib.import_module(name)
  if 'tensorflow' in sys.modules:
    from tests.fixtures import devices

    devices.use_two_cpus()
  # Tests of a tool set its flags themselves, required ones among them.
  flags.FLAGS.mark_as_parsed()
  absltest.main(module=None, argv=sys.argv)


if __name__ == '__main__':
  main()
