"""Where the machines of a run wait for each other before TensorFlow does.

TensorFlow's own wait cannot be interrupted: it holds Python's lock, so that
neither Ctrl-C nor SIGTERM are heard. And it does not say who is missing. So the
processes first look for each other here, and TensorFlow finds all of them.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence

# As long as TensorFlow would wait.
TIMEOUT = 3600.0
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_WORDS = 60.0


def wait(
  addresses: Sequence[str],
  index: int,
  *,
  say: Callable[[str], None],
  timeout: float = TIMEOUT,
) -> None:
  """Waits until every machine has come to this point, or is beyond it.

  Args:
    addresses: 'host:port' of each; the port is free until TensorFlow takes it.
    index: which of them this process is.
    say: called with a line now and then, for whoever waits.
    timeout: in seconds.

  Raises:
    ConnectionError: If some do not come, with their addresses and the reason,
      or if the own port is taken.
  """
  missing = {a: 'not asked' for i, a in enumerate(addresses) if i != index}
  end = time.monotonic() + timeout
  next_words = time.monotonic() + _SECONDS_BETWEEN_WORDS
  with _listening(addresses[index]) as listener:
    while True:
      _hang_up(listener)
      for address in list(missing):
        reason = _ask(address)
        if reason is None:
          del missing[address]
        else:
          missing[address] = reason
      if not missing:
        return
      now = time.monotonic()
      words = '; '.join(f'{a} ({reason})' for a, reason in missing.items())
      if now > end:
        raise ConnectionError(f'no answer from {words}')
      if now > next_words:
        say(f'Still waiting for {words}.')
        next_words = now + _SECONDS_BETWEEN_WORDS
      time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
  """Lets others see that this process is there."""
  port = int(address.rpartition(':')[2])
  dual = socket.has_dualstack_ipv6()
  try:
    listener = socket.create_server(
      ('', port),
      family=socket.AF_INET6 if dual else socket.AF_INET,
      dualstack_ipv6=dual,
      backlog=128,
    )
  except OSError as e:
    if e.errno == errno.EADDRINUSE:
      raise ConnectionError(f'port {port} of this machine is in use') from e
    raise ConnectionError(
      f'port {port} of this machine cannot be opened ({e.strerror})'
    ) from e
  listener.setblocking(False)
  with listener:
    yield listener


def _hang_up(listener: socket.socket) -> None:
  """Closes what others have opened: to have been heard is all they want."""
  with contextlib.suppress(BlockingIOError):
    while True:
      listener.accept()[0].close()


def _ask(address: str) -> str | None:
  """Returns why nobody listens at an address, or None if somebody does."""
  host, _, port = address.rpartition(':')
  try:
    connection = socket.create_connection((host.strip('[]'), port), timeout=2)
  except OSError as e:
    return e.strerror or str(e)
  connection.close()
  return None
