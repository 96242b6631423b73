"""Runs a benchmark of tools/ in a process of its own, as a user would."""

import os
import subprocess
import sys


def run(
  tool: str | os.PathLike, *flags: str, folder: str
) -> subprocess.CompletedProcess:
  """Runs a tool where only the installed packages can be imported.

  Args:
    tool: Path of the tool, which finds the rest of the repository by itself.
    *flags: What it is called with.
    folder: Where it runs.
  """
  environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  environment['PYTHONPATH'] = os.pathsep.join(
    path for path in sys.path if 'site-packages' in path
  )
  return subprocess.run(
    [sys.executable, str(tool), *flags],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
