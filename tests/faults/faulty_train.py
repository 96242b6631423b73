"""tools/train.py with steps that go wrong, for `non_finite`.

    python tests/faults/faulty_train.py KIND STEP[,STEP...] FLAGS...

FLAGS are those of tools/train.py; kinds are those of `bad_steps`.
"""

import os
import runpy
import sys
from unittest import mock

from official_coatnet.training import train_mode
from tests.fixtures import bad_steps, repository


def main() -> None:
  """Runs the tool."""
  tool = os.path.join(repository.ROOT, 'tools', 'train.py')
  kind, steps, *flags = sys.argv[1:]
  fault = bad_steps.Fault()
  fault.set(kind=kind, steps=[int(step) for step in steps.split(',')])
  sys.argv = [tool, *flags]
  sys.path[0] = os.path.dirname(tool)
  with (
    mock.patch.object(train_mode.trainer_lib, 'Trainer', fault.trainer),
    fault.in_schedule(),
  ):
    runpy.run_path(tool, run_name='__main__')


if __name__ == '__main__':
  main()
