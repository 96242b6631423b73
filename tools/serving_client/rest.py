"""REST, with nothing but Python."""

import base64
import http.client
import json
import re
import ssl
import urllib.parse
from collections.abc import Sequence
from typing import Any

from . import protocol
from .errors import QueryError, explain, persist
from .exchange import Reply, exchange

# What HTTP calls by number and gRPC by name. With 429, 503 and 504 a server
# says that it is there.
_CODES = {400: 'INVALID_ARGUMENT', 404: 'NOT_FOUND'}
_BUSY = (429, 503, 504)


class RestClient:
  """A model of a server, by REST.

  Redirects are not followed. The environment's proxies are used, but not for
  this machine itself.
  """

  def __init__(
    self,
    url: str,
    *,
    model: str,
    version: int | None = None,
    label: str | None = None,
    timeout: float = 30.0,
    max_reply_bytes: int = 256 << 20,
  ):
    """Keeps where to ask, and connects to nothing yet.

    Args:
      url: Of the server: scheme, host and port.
      model: Name of the model.
      version: Its number. None for the latest.
      label: Label of the version, instead of its number.
      timeout: Seconds until an answer is there, all of it, if a busy server is
        to be asked again, too.
      max_reply_bytes: A longer answer is an error.

    Raises:
      QueryError: If the URL is none of a web server.
    """
    if not re.match(r'https?://[^/]', url):
      raise QueryError(
        f'The server is {url!r}; for REST it must begin with http:// or '
        'https:// and name a host, such as http://localhost:8501.'
      )
    try:
      urllib.parse.urlsplit(url).port  # noqa: B018
    except ValueError as e:
      raise QueryError(
        f'The server is {url!r}, whose port is no number up to 65535; write it '
        'as in http://localhost:8501.'
      ) from e
    self._server = url.rstrip('/')
    self._path = f'/v1/models/{urllib.parse.quote(model, safe="")}'
    if version is not None:
      self._path += f'/versions/{version}'
    elif label is not None:
      self._path += f'/labels/{urllib.parse.quote(label, safe="")}'
    self._timeout = timeout
    self._max_bytes = max_reply_bytes

  def ask(self, signature: str, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Sends images in one request.

    Args:
      signature: Its name; `classify` is asked by the Classify API.
      rows: Of each image the encoded bytes, or for `serving_image_tensor` a
        uint8 array [height, width, 3].

    Returns:
      Of each image the outputs by name, as numbers, strings and lists. There
      are as many `scores` as `classes`, which are strings; a score that is no
      number is a NaN.

    Raises:
      QueryError: If there is no answer.
    """
    if len(rows) == 0:  # They may be an array, which has no truth value.
      return []  # Some servers do not survive a batch of none.
    if signature == 'classify':
      examples = [{protocol.ENCODED_KEY: _to_json(row)} for row in rows]
      body = {'signature_name': signature, 'examples': examples}
      results = self._rows(self._call(':classify', body), 'results', len(rows))
      answers = [_from_pairs(result) for result in results]
    else:
      if signature == 'serving_tf_example':
        rows = [protocol.make_example(row) for row in rows]
      name = protocol.INPUTS[signature]
      instances = [{name: _to_json(row)} for row in rows]
      body = {'signature_name': signature, 'instances': instances}
      reply = self._call(':predict', body)
      answers = self._rows(reply, 'predictions', len(rows))
    # A server leaves out the name of an output that is the only one.
    if signature == 'features':
      answers = [a if isinstance(a, dict) else {'features': a} for a in answers]
    return [
      protocol.check_answer(signature, answer, where=self._server)
      for answer in answers
    ]

  def status(self) -> dict[str, Any]:
    """Returns a GetModelStatusResponse as JSON."""
    reply = self._call('')
    return protocol.check_form(reply, protocol.STATUS, where=self._server)

  def metadata(self) -> dict[str, Any]:
    """Returns a GetModelMetadataResponse as JSON."""
    reply = self._call('/metadata')
    return protocol.check_form(reply, protocol.METADATA, where=self._server)

  def _rows(self, reply, key, count):
    rows = reply.get(key)
    found = len(rows) if isinstance(rows, list) else 'no'
    protocol.check_count(found, count, where=self._server)
    return rows

  def _call(self, suffix, body=None) -> dict[str, Any]:
    url = self._server + self._path + suffix
    data = None if body is None else json.dumps(body).encode()
    return persist(
      lambda left: self._call_once(url, data, timeout=left),
      timeout=self._timeout,
    )

  def _call_once(self, url, data, *, timeout) -> dict[str, Any]:
    try:
      reply = exchange(url, data, timeout=timeout, max_bytes=self._max_bytes)
    # URLError is an OSError; the others come of servers that do not speak HTTP
    # and of ports that are no numbers.
    except (OSError, http.client.HTTPException, ValueError) as e:
      raise _explain_silence(e, where=self._server) from e
    value, instead = reply.parse()
    if reply.status != 200:
      raise _explain_status(reply, value, instead, where=self._server)
    if not isinstance(value, dict):
      instead = instead or f'{str(value)[:80]!r}'
      raise QueryError(
        f'{self._server} answered no JSON object, but {instead}; is it TF '
        'Serving?'
      )
    return value


def _explain_silence(error: Exception, *, where: str) -> QueryError:
  """Says why there is no reply, or not all of it."""
  reason = getattr(error, 'reason', error)
  if isinstance(reason, TimeoutError):
    return explain('DEADLINE_EXCEEDED', str(reason), where=where)
  if isinstance(reason, ssl.SSLCertVerificationError):
    return QueryError(
      f'The certificate of {where} is not accepted: {reason.verify_message}. '
      'If an authority of your own has signed it, name the file with that '
      "authority's certificate in the environment, as SSL_CERT_FILE."
    )
  if isinstance(reason, ssl.SSLError):
    return QueryError(
      f'No TLS can be spoken with {where} ({reason}). If the server has none, '
      'write http:// in place of https://.'
    )
  ends = (http.client.IncompleteRead, ConnectionResetError, BrokenPipeError)
  if isinstance(reason, ends):
    return QueryError(
      f'{where} closed the connection before its answer was whole ({reason}). '
      "Does the server's log say why?"
    )
  return explain('UNAVAILABLE', str(reason), where=where)


def _explain_status(
  reply: Reply, value: Any, instead: str | None, *, where: str
) -> QueryError:
  """Says what a status means that is not 200."""
  status, headers = reply.status, reply.headers
  if 300 <= status < 400 and 'Location' in headers:
    return QueryError(
      f'{where} redirects to {headers["Location"][:500]}, which is not '
      'followed. Ask there, if it is the server that you mean.'
    )
  known = isinstance(value, dict) and 'error' in value
  said = value['error'] if known else instead or value
  if isinstance(said, dict):
    said = said.get('message', said)
  text = said if isinstance(said, str) else json.dumps(said)
  code = f'HTTP status {status}'
  if status in _BUSY:
    seconds = headers.get('Retry-After', '').strip()
    wait = float(seconds) if re.fullmatch(r'\d{1,9}', seconds) else 0.0
    return explain('BUSY', f'{code}: {text}', where=where, retry_after=wait)
  if status == 413:
    code = 'TOO_LARGE'
  elif known:  # Of others, a 404 does not say that there is no such model.
    code = _CODES.get(status, code)
  return explain(code, text, where=where)


def _from_pairs(result: Any) -> Any:
  """Returns an answer of the Classify API by name; all else as it is."""
  pairs: Any = result if isinstance(result, list) else [None]
  if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
    return result
  return {'classes': [n for n, _ in pairs], 'scores': [s for _, s in pairs]}


def _to_json(row: Any) -> Any:
  is_bytes = isinstance(row, bytes)
  return {'b64': base64.b64encode(row).decode()} if is_bytes else row.tolist()
