"""Runs the tools as the command line does, but in this process.

A process for each call would take four seconds to import TensorFlow. What is
left out is `absl.app.run` alone: arguments go through the flags that the tool
defines, and through their validators, to the `main` that it hands to `app.run`.
"""

import contextlib
import io
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from absl import app, flags
from absl.flags import _helpers

ROOT = os.path.dirname(
  os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
)
# Model Garden defines the flags of tools/model_garden_train.py.
_FLAG_MODULES = ('tools', 'official.common.flags')


def run(tool: str, *arguments: str) -> str:
  """Runs a tool and returns what it prints.

  Args:
    tool: Its path from the root, such as 'tools/train.py'.
    *arguments: Those of the command line.

  Raises:
    SystemExit: Where the tool ends with an error; with its words.
  """
  output = io.StringIO()

  def run_main(main: Callable[[list[str]], Any], **kwargs: Any):
    del kwargs  # How flags are parsed, which is done here.
    with contextlib.redirect_stdout(output):
      main(flags.FLAGS(sys.argv))

  with _executed(tool, arguments, run_main):
    return output.getvalue()


def defined_flags(tool: str) -> dict[str, Any]:
  """Returns the flags that a tool defines, each with its default.

  Returns:
    Name to default; empty for a file that hands nothing to `app.run`.
  """
  return {name: flag.default for name, flag in flags_of(tool).items()}


def flags_of(tool: str) -> dict[str, flags.Flag]:
  """Returns the flags that a tool defines, by name and in that order."""
  found = {}

  def note_flags(main: Callable[[list[str]], Any], **kwargs: Any):
    del main, kwargs
    found.update(_own_flags(tool))

  with _executed(tool, (), note_flags):
    return dict(sorted(found.items()))


def _own_flags(tool: str) -> dict[str, flags.Flag]:
  """Returns the flags of the tool, and not those of the libraries."""
  return {
    flag.name: flag
    for module, defined in flags.FLAGS.flags_by_module_dict().items()
    if module == os.path.join(ROOT, tool) or module.startswith(_FLAG_MODULES)
    for flag in defined
  }


@contextlib.contextmanager
def _executed(tool, arguments, run_main) -> Iterator[None]:
  """Executes a tool with another `app.run`; forgets its flags afterwards.

  Tools have flags of the same names, which one process cannot hold at once.
  """
  path = os.path.join(ROOT, tool)
  try:
    with (
      mock.patch.object(sys, 'argv', [path, *arguments]),
      mock.patch.object(app, 'run', run_main),
    ):
      runpy.run_path(path, run_name='__main__')
    yield
  finally:
    for name in _own_flags(tool):
      delattr(flags.FLAGS, name)
    # A module that defines flags has to do so again for the next tool.
    for name in [n for n in sys.modules if n.split('.')[0] == 'tools']:
      # absl notes by their ids which modules define flags for others, and the
      # next tool may get the id of one that is gone.
      _helpers.disclaim_module_ids.discard(id(sys.modules.pop(name)))
