"""One HTTP request and its reply, whatever the other side does.

`exchange` is over when its time is up, reads no more than it was told to, goes
where it was told to and nowhere else.
"""

import contextlib
import http.client
import ipaddress
import json
import queue
import re
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

from .errors import QueryError

# Of a reply that is no answer the beginning says enough.
_ERROR_BYTES = 1 << 16
# The deepest replies of TF Serving are the metadata, of nine levels.
_MAX_DEPTH = 16


class Reply(NamedTuple):
  """What came back.

  Attributes:
    status: Of HTTP.
    headers: By name, in any case.
    content: The body. Where the status is an error, its beginning.
  """

  status: int
  headers: Any
  content: bytes

  def parse(self) -> tuple[Any, str | None]:
    """Returns what the JSON says, and else what is there in its place."""
    encoding = self.headers.get('Content-Encoding', 'identity')
    if encoding != 'identity':
      return None, f'content in the encoding {encoding!r}, not asked for'
    # A class may have been given a name that is not UTF-8.
    text = self.content.decode('utf-8-sig', 'replace').strip()
    try:
      value = json.loads(text)
    except RecursionError:
      return None, 'lists in lists without end'
    except ValueError:
      # Of a page for people what they would read.
      words = ' '.join(re.sub('<[^<>]*>', ' ', text[:4096]).split())
      return None, words[:200] or 'nothing'
    if isinstance(value, list | dict) and _is_deep(value):
      return None, 'lists in lists without end'
    return value, None


def _is_deep(value: Any) -> bool:
  level = [value]
  for _ in range(_MAX_DEPTH):
    parts = [v.values() if isinstance(v, dict) else v for v in level]
    level = [v for each in parts for v in each if isinstance(v, list | dict)]
  return bool(level)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
  """Keeps the connection, so that another thread can end it."""

  connection: Any = None

  def do_open(self, http_class, req, **kwargs):
    def make(*args, **settings):
      self.connection = connection = http_class(*args, **settings)
      request = connection.request

      def hear_out(*args, **settings):
        # Who finds a request too large says so and hangs up.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
          request(*args, **settings)

      connection.request = hear_out
      return connection

    return super().do_open(make, req, **kwargs)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
  """Makes a redirect an error, as other statuses are."""

  def http_error_302(self, req, fp, code, msg, headers):
    return None

  http_error_301 = http_error_303 = http_error_302
  http_error_307 = http_error_308 = http_error_302


def exchange(
  url: str, data: bytes | None, *, timeout: float, max_bytes: int
) -> Reply:
  """Sends a request and returns the reply, whichever its status.

  Another thread waits for it, and is left behind when the time is up: a
  socket's own timeout starts anew with each byte that trickles in, and knows
  nothing of the time that it takes to find the server by its name. The
  environment's proxies are used, but not for this machine itself.

  Args:
    url: Where to.
    data: What to post, JSON; None to get.
    timeout: Seconds for all of it.
    max_bytes: Most bytes of an answer.

  Raises:
    TimeoutError: If it took longer.
    QueryError: If the answer is longer.
    OSError: Of the connection; urllib.error.URLError is one.
    http.client.HTTPException: If it is not HTTP, or ends too early.
    ValueError: If the URL has no port that is a number.
  """
  kind = {'Content-Type': 'application/json'}
  request = urllib.request.Request(url, data, kind)
  handler = _Handler()
  handlers: list[Any] = [handler, _NoRedirect()]
  if _is_this_machine(urllib.parse.urlsplit(url).hostname or ''):
    handlers.append(urllib.request.ProxyHandler({}))
  opener = urllib.request.build_opener(*handlers)
  results: queue.SimpleQueue = queue.SimpleQueue()
  late = threading.Event()

  def talk():
    try:
      with opener.open(request, timeout=timeout) as reply:
        content = _read(reply, max_bytes, late=late)
        return Reply(reply.status, reply.headers, content)
    except urllib.error.HTTPError as e:
      with e:
        content = _read(e.fp, _ERROR_BYTES, late=late, cut=True)
        return Reply(e.code, e.headers, content)

  def work():
    try:
      results.put(talk())
    except Exception as e:  # Whatever it is, it is for who waits.
      results.put(e)

  threading.Thread(target=work, daemon=True).start()
  try:
    result = results.get(timeout=timeout)
  except queue.Empty:
    late.set()
    with contextlib.suppress(OSError, AttributeError):
      handler.connection.sock.shutdown(socket.SHUT_RDWR)
    raise TimeoutError('timed out') from None
  if isinstance(result, Exception):
    raise result
  return result


def _read(
  reply: Any, max_bytes: int, *, late: threading.Event, cut: bool = False
) -> bytes:
  """Reads a body; of more than `max_bytes` an error, or the beginning."""
  content = bytearray()
  while not late.is_set() and (part := reply.read1(1 << 16)):
    content += part
    if len(content) > max_bytes:
      if cut:
        return bytes(content[:max_bytes])
      raise QueryError(
        f'The answer is longer than {max_bytes / 2**20:g} MiB, and was not '
        'read to its end. Ask about fewer images in a request.'
      )
  if reply.length and not cut:  # Of which http.client says nothing.
    raise http.client.IncompleteRead(bytes(content), reply.length)
  return bytes(content)


def _is_this_machine(host: str) -> bool:
  if host == 'localhost' or host.endswith('.localhost'):
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False
