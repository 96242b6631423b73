"""What stands in the way of an answer, in words, and when to ask again."""

import random
import re
import time
from collections.abc import Callable
from typing import Any

# How often a busy server is asked, and how long it is left alone after the
# first time, in seconds; twice as long after each further one.
_TRIES = 4
_FIRST_WAIT = 0.25
# What a terminal obeys, would write backwards, or cannot write at all.
_UNPRINTABLE = re.compile(
  '[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)


def printable(text: str) -> str:
  r"""Writes what a terminal would obey as `\u001b`, which JSON reads, too.

  Errors and names of classes come from a server, and anyone may have written
  them.
  """
  return _UNPRINTABLE.sub(lambda found: f'\\u{ord(found[0]):04x}', text)


class QueryError(Exception):
  """Why there is no answer, for people.

  Attributes:
    fatal: Whether other requests would fail in the same way.
    retry_after: Seconds after which to ask again; None if that is of no use.
  """

  def __init__(
    self,
    message: str,
    *,
    fatal: bool = True,
    retry_after: float | None = None,
  ):
    super().__init__(printable(message))
    self.fatal = fatal
    self.retry_after = retry_after


def persist(ask: Callable[[float], Any], *, timeout: float) -> Any:
  """Asks, and asks again while the server is busy.

  Args:
    ask: Called with the seconds left, some time or other.
    timeout: Seconds for all of it.

  Returns:
    What `ask` returns.

  Raises:
    QueryError: If there is no answer, or the server stays busy.
  """
  end = time.monotonic() + timeout
  tries = 0
  while True:
    tries += 1
    try:
      return ask(max(end - time.monotonic(), 1e-3))
    except QueryError as e:
      if e.retry_after is None:
        raise
      # With chance in it, so that many do not come back at the same moment.
      wait = _FIRST_WAIT * 2 ** (tries - 1) * random.uniform(0.5, 1.0)
      wait = max(wait, e.retry_after)
      if tries == _TRIES or time.monotonic() + wait > end:
        times = 'once' if tries == 1 else f'{tries} times'
        later = ''
        if e.retry_after:
          later = f', and is to be asked again after {e.retry_after:g} s'
        raise QueryError(f'{e} It was asked {times}{later}.') from e
    time.sleep(wait)


def explain(
  code: str,
  text: str | None,
  *,
  where: str,
  retry_after: float | None = None,
) -> QueryError:
  """Makes an error of a code and of what the server says.

  Args:
    code: One of gRPC's, or 'BUSY' or 'TOO_LARGE', or in other words.
    text: What is said with it.
    where: The server.
    retry_after: As of QueryError.
  """
  # Without where in the graph it happened.
  text = re.sub(r'\[\[.*?\]\]|\{\{.*?\}\}', ' ', (text or '')[:4096])
  text = re.sub(r'assertion failed: \[(.*)\]', r'\1', ' '.join(text.split()))
  text = text[:500].rstrip('.') or code
  if re.search(r'signature.*not found|No signature was found', text):
    return QueryError(
      f'{text}. The model has other signatures; its metadata lists them.'
    )
  messages = {
    'NOT_FOUND': f'{where} has no such model or version ({text}). Is the name '
    'right, and is the version loaded?',
    'UNAVAILABLE': f'{where} is unavailable ({text}). Is the server up, and is '
    'this its port (8501 for REST and 8500 for gRPC, unless set otherwise)?',
    'BUSY': f'{where} is there, but busy or still starting ({text}).',
    'DEADLINE_EXCEEDED': f'{where} did not answer in time ({text}).',
    'TOO_LARGE': f'The message is too large ({text}). Send fewer or smaller '
    'images in a request; over gRPC the limit can be raised.',
    'INVALID_ARGUMENT': text,
  }
  # Of a request with another image these two may not come.
  fatal = code not in ('INVALID_ARGUMENT', 'TOO_LARGE')
  return QueryError(
    messages.get(code, f'{where}: {code}: {text}'),
    fatal=fatal or 'version label' in text,
    retry_after=retry_after,
  )
