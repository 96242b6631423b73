"""Loads the gin files of the repository, for tests of them."""

import glob
import os
from collections.abc import Sequence

from official_coatnet.training import experiment as experiment_lib
from official_coatnet.training import gin_config

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def files(*folders: str) -> list[str]:
  """Returns the gin files of a folder, as paths from the root."""
  pattern = os.path.join(ROOT, *folders, '*.gin')
  return sorted(os.path.relpath(path, ROOT) for path in glob.glob(pattern))


def load(
  name: str = 'gin/imagenet1k_coatnet0.gin', bindings: Sequence[str] = ()
) -> experiment_lib.Experiment:
  """Loads a file of the repository."""
  return gin_config.load([name], list(bindings), root=ROOT)


def head(path: str) -> str:
  """Returns the comment at the head of a file."""
  with open(os.path.join(ROOT, path)) as f:
    return f.read().split('\ninclude')[0]
