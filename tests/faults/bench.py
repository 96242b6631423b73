"""Where faults are tried: folders, a process that runs tools, whole runs."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tests.fixtures import tool_calls

# A tool that takes longer hangs: each takes seconds.
TIMEOUT = 600
# For what is done in this process and changes its state, such as gin's.
ONE_AT_A_TIME = threading.Lock()


class Shared:
  """What is made once for all cases, such as a run that nothing disturbs."""

  def __init__(self, folder: str) -> None:
    """Keeps what is made in subfolders of `folder`."""
    self._folder = folder
    self._lock = threading.RLock()

  def get(self, name: str, make: Callable[[str], None]) -> str:
    """Returns the folder `name`, which is made by the first who asks."""
    with self._lock:
      path = os.path.join(self._folder, name)
      if not os.path.exists(path):
        made = f'{path}.making'
        shutil.rmtree(made, ignore_errors=True)
        make(made)
        os.rename(made, path)
      return path


class Bench:
  """A place for one case at a time."""

  def __init__(self, folder: str, shared: Shared) -> None:
    """Starts its process.

    Args:
      folder: For what the cases write.
      shared: What all benches share.
    """
    self.shared = shared
    self._folder = folder
    self._tools: tool_calls.Tools | None = None

  @contextlib.contextmanager
  def folder(self) -> Iterator[str]:
    """Gives an empty folder, which is removed at the end."""
    path = tempfile.mkdtemp(dir=self._folder)
    try:
      yield path
    finally:
      # Not to stumble over a folder that a case has made read-only.
      os.system(f'chmod -R u+rwx {path} 2>/dev/null')
      shutil.rmtree(path, ignore_errors=True)

  @property
  def tools(self) -> tool_calls.Tools:
    """The process that runs tools, with TensorFlow already imported."""
    if self._tools is None:
      self._tools = tool_calls.Tools(timeout=TIMEOUT)
    return self._tools

  def run(self, tool: str, arguments: Sequence[str]) -> tool_calls.Result:
    """Runs a tool to its end."""
    return self.tools.run(f'tools/{tool}.py', arguments, folder=self._folder)

  def start(self, tool: str, arguments: Sequence[str]) -> tool_calls.Call:
    """Starts a tool."""
    return self.tools.start(f'tools/{tool}.py', arguments, folder=self._folder)

  def close(self) -> None:
    """Ends its process."""
    if self._tools is not None:
      self._tools.close()


def wait_until(
  condition: Callable[[], bool], call: tool_calls.Call, *, seconds: float
) -> bool:
  """Waits for a moment in the life of a process.

  Args:
    condition: Whether it has come.
    call: The process.
    seconds: How long to wait at most.

  Returns:
    Whether it came while the process lived.
  """
  end = time.monotonic() + seconds
  while time.monotonic() < end and is_alive(call.pid):
    if condition():
      return True
    time.sleep(0.002)
  return False


def is_alive(pid: int) -> bool:
  """Whether a process is there and has not ended."""
  try:
    with open(f'/proc/{pid}/stat') as f:
      return f.read().rpartition(')')[2].split()[0] not in 'ZX'
  except OSError:
    return False


def kill(call: tool_calls.Call, number: int) -> tool_calls.Result:
  """Sends a signal, waits for the end, and takes away what is left over."""
  with contextlib.suppress(ProcessLookupError):
    os.kill(call.pid, number)
  result = call.wait()
  with contextlib.suppress(ProcessLookupError, PermissionError):
    # Children that have not noticed yet; they would write on.
    os.killpg(call.pid, signal.SIGKILL)
  return result
