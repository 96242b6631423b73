"""Asks published_peers.py, in the environment of the other packages."""

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from official_coatnet import stack

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(os.path.dirname(_HERE))
_PYTHON = os.path.join(_ROOT, '.venv_peers', 'bin', 'python')


def ask(
  package: str,
  name: str,
  size: tuple[int, int],
  *,
  args: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Runs another package's network.

  Args:
    package: 'timm' or 'kecam'.
    name: Of the network there.
    size: Height and width of the image.
    args: What timm is to be told besides, for JSON.

  Returns:
    `shapes` and `samples`, see published_peers.py.
  """
  command = [_PYTHON, os.path.join(_HERE, 'published_peers.py')]
  command += [package, name, *map(str, size)]
  if args:
    command.append(json.dumps(dict(args)))
  output = subprocess.run(
    command,
    check=True,
    stdout=subprocess.PIPE,
    env=stack.environment_of_others(),
  ).stdout
  return json.loads(output.splitlines()[-1])
