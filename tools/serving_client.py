"""Clients of TensorFlow Serving for exports of tools/export.py.

    client = RestClient('http://localhost:8501', model='coatnet')
    client = GrpcClient('localhost:8500', model='coatnet')
    (answer,) = client.ask('serving_default', [open('x.jpg', 'rb').read()])
    print(answer['classes'][0], answer['scores'][0])

This file can be copied to where the rest of the package is not. REST needs
nothing but Python; gRPC needs tensorflow-serving-api and what that installs.
Nothing is asked twice.
"""

import base64
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

# The input of each signature.
INPUTS = {
  'serving_default': 'image_bytes',
  'serving_image_tensor': 'image',
  'serving_tf_example': 'examples',
  'classify': 'inputs',
  'features': 'image_bytes',
}
# Feature of a tf.train.Example that holds the encoded image.
ENCODED_KEY = 'image/encoded'

# What HTTP calls by number and gRPC by name.
_CODES = {400: 'INVALID_ARGUMENT', 404: 'NOT_FOUND', 413: 'RESOURCE_EXHAUSTED'}
_CODES |= {503: 'UNAVAILABLE', 504: 'DEADLINE_EXCEEDED'}
# Of a request with another image they may not come.
_CODES_OF_ONE_REQUEST = ('INVALID_ARGUMENT', 'RESOURCE_EXHAUSTED')


class QueryError(Exception):
  """Why there is no answer, for people.

  Attributes:
    fatal: Whether other requests would fail in the same way.
  """

  def __init__(self, message: str, *, fatal: bool = True):
    super().__init__(message)
    self.fatal = fatal


class RestClient:
  """A model of a server, by REST."""

  def __init__(
    self,
    url: str,
    *,
    model: str,
    version: int | None = None,
    label: str | None = None,
    timeout: float = 30.0,
  ):
    """Keeps where to ask, and connects to nothing yet.

    Args:
      url: Of the server: scheme, host and port.
      model: Name of the model.
      version: Its number. None for the latest.
      label: Label of the version, instead of its number.
      timeout: Seconds to wait for an answer.

    Raises:
      QueryError: If the URL is none of a web server.
    """
    if not re.match(r'https?://[^/]', url):
      raise QueryError(
        f'The server is {url!r}; for REST it must begin with http:// or '
        'https:// and name a host, such as http://localhost:8501.'
      )
    self._server = url.rstrip('/')
    self._path = f'/v1/models/{urllib.parse.quote(model, safe="")}'
    if version is not None:
      self._path += f'/versions/{version}'
    elif label is not None:
      self._path += f'/labels/{urllib.parse.quote(label, safe="")}'
    self._timeout = timeout

  def ask(self, signature: str, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Sends images in one request.

    Args:
      signature: Its name; `classify` is asked by the Classify API.
      rows: Of each image the encoded bytes, or for `serving_image_tensor` a
        uint8 array [height, width, 3].

    Returns:
      Of each image the outputs by name, as numbers, strings and lists. Of no
      images nothing, and nothing is sent.

    Raises:
      QueryError: If there is no answer.
    """
    if not len(rows):
      return []  # A server has nothing to do, and some do not survive it.
    if signature == 'classify':
      examples = [{ENCODED_KEY: _to_json(row)} for row in rows]
      body = {'signature_name': signature, 'examples': examples}
      results = self._rows(self._call(':classify', body), 'results', len(rows))
      return [
        {'classes': [name for name, _ in r], 'scores': [s for _, s in r]}
        for r in results
      ]
    if signature == 'serving_tf_example':
      rows = [make_example(row) for row in rows]
    instances = [{INPUTS[signature]: _to_json(row)} for row in rows]
    body = {'signature_name': signature, 'instances': instances}
    answers = self._rows(self._call(':predict', body), 'predictions', len(rows))
    # A server leaves out the name of an output that is the only one.
    return [a if isinstance(a, dict) else {'features': a} for a in answers]

  def status(self) -> dict[str, Any]:
    """Returns a GetModelStatusResponse as JSON."""
    return self._call('')

  def metadata(self) -> dict[str, Any]:
    """Returns a GetModelMetadataResponse as JSON."""
    return self._call('/metadata')

  def _rows(self, reply, key, count):
    rows = reply.get(key)
    found = len(rows) if isinstance(rows, list) else 'no'
    _check_count(found, count, where=self._server)
    return rows

  def _call(self, suffix, body=None) -> dict[str, Any]:
    url = self._server + self._path + suffix
    data = None if body is None else json.dumps(body).encode()
    headers = {'Content-Type': 'application/json'}
    request = urllib.request.Request(url, data, headers)
    try:
      status, content = _open(request, timeout=self._timeout)
    # URLError is an OSError; the others come of servers that do not speak HTTP
    # and of ports that are no numbers.
    except (OSError, http.client.HTTPException, ValueError) as e:
      reason = getattr(e, 'reason', e)
      late = isinstance(reason, TimeoutError)
      code = 'DEADLINE_EXCEEDED' if late else 'UNAVAILABLE'
      raise _explain(code, str(reason), where=self._server) from e
    try:
      reply = json.loads(content)
    except ValueError:
      reply = None
    if status != 200:
      known = isinstance(reply, dict) and 'error' in reply
      text = reply['error'] if known else content.decode(errors='replace')
      code = _CODES.get(status, f'HTTP status {status}')
      raise _explain(code, text, where=self._server)
    if not isinstance(reply, dict):
      raise QueryError(f'{self._server} answered no JSON; is it TF Serving?')
    return reply


def _open(request, *, timeout: float) -> tuple[int, bytes]:
  """Returns the status and the body of a reply, whichever status."""
  try:
    with urllib.request.urlopen(request, timeout=timeout) as reply:
      return reply.status, reply.read()
  except urllib.error.HTTPError as e:
    with e:
      return e.code, e.read()


class GrpcClient:
  """A model of a server, by gRPC; asked as RestClient is."""

  def __init__(
    self,
    address: str,
    *,
    model: str,
    version: int | None = None,
    label: str | None = None,
    timeout: float = 30.0,
    max_message_bytes: int = 64 << 20,
  ):
    """Connects, without waiting for the server.

    `address` is its host and port; the connection is not encrypted. The largest
    message, either way, is `max_message_bytes`: gRPC's own limit of 4 MiB is
    too small for the stage maps of a batch. All else is as of RestClient.
    """
    # Here and below, because REST does without, and TensorFlow takes seconds.
    import grpc
    from tensorflow_serving.apis import (
      model_pb2,
      model_service_pb2_grpc,
      prediction_service_pb2_grpc as service_pb2_grpc,
    )

    self._address, self._timeout = address, timeout
    self._spec = model_pb2.ModelSpec(name=model)
    if version is not None:
      self._spec.version.value = version
    elif label is not None:
      self._spec.version_label = label
    options = [
      ('grpc.max_send_message_length', max_message_bytes),
      ('grpc.max_receive_message_length', max_message_bytes),
      ('grpc.enable_retries', 0),
    ]
    self._channel = grpc.insecure_channel(address, options)
    self._error = grpc.RpcError
    self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
    self._predictions = service_pb2_grpc.PredictionServiceStub(self._channel)

  def ask(self, signature: str, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """As RestClient.ask."""
    if not len(rows):
      return []
    if signature == 'classify':
      return self._classify(rows)
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    if signature == 'serving_tf_example':
      rows = [make_example(row) for row in rows]
    # An object, so that NumPy does not cut zeros off the ends of bytes.
    dtype = np.uint8 if signature == 'serving_image_tensor' else object
    request = predict_pb2.PredictRequest(model_spec=self._spec)
    request.model_spec.signature_name = signature
    tensor = tf.make_tensor_proto(np.array(rows, dtype))
    request.inputs[INPUTS[signature]].CopyFrom(tensor)
    reply = self._call(self._predictions.Predict, request)
    outputs = {}
    for name, value in reply.outputs.items():
      array = tf.make_ndarray(value)
      count = len(array) if array.ndim else 0
      _check_count(count, len(rows), where=self._address)
      outputs[name] = _decode(array.tolist())
    return [
      {name: value[i] for name, value in outputs.items()}
      for i in range(len(rows))
    ]

  def status(self) -> dict[str, Any]:
    """As RestClient.status, without empty fields."""
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec)
    return _to_dict(self._call(self._models.GetModelStatus, request))

  def metadata(self) -> dict[str, Any]:
    """As RestClient.metadata; fields that hold nothing are left out."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(
      model_spec=self._spec, metadata_field=['signature_def']
    )
    return _to_dict(self._call(self._predictions.GetModelMetadata, request))

  def _classify(self, rows):
    from tensorflow_serving.apis import classification_pb2

    request = classification_pb2.ClassificationRequest(model_spec=self._spec)
    request.model_spec.signature_name = 'classify'
    for row in rows:
      example = request.input.example_list.examples.add()
      example.ParseFromString(make_example(row))
    reply = self._call(self._predictions.Classify, request)
    found = [each.classes for each in reply.result.classifications]
    _check_count(len(found), len(rows), where=self._address)
    return [
      {'classes': [c.label for c in row], 'scores': [c.score for c in row]}
      for row in found
    ]

  def _call(self, method, request):
    try:
      return method(request, timeout=self._timeout)
    except self._error as e:
      raise _explain(e.code().name, e.details(), where=self._address) from e


def make_example(encoded: bytes) -> bytes:
  """Serializes a tf.train.Example with an encoded image, by hand."""

  def field(number: int, content: bytes) -> bytes:
    size, length = len(content), b''
    while size > 127:  # Seven bits a byte, the lowest first.
      length += bytes([size & 127 | 128])
      size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content

  # Example.features.feature[key].bytes_list.value
  feature = field(1, field(1, encoded))
  entry = field(1, ENCODED_KEY.encode()) + field(2, feature)
  return field(1, field(1, entry))


def _to_json(row: Any) -> Any:
  is_bytes = isinstance(row, bytes)
  return {'b64': base64.b64encode(row).decode()} if is_bytes else row.tolist()


def _to_dict(message: Any) -> dict[str, Any]:
  from google.protobuf import json_format

  return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _decode(value: Any) -> Any:
  """Turns all bytes within lists of lists into strings."""
  if isinstance(value, list):
    return [_decode(each) for each in value]
  return value.decode(errors='replace') if isinstance(value, bytes) else value


def _check_count(found: int | str, wanted: int, *, where: str):
  if found != wanted:
    raise QueryError(
      f'{where} answered {found} rows instead of {wanted}; was the model '
      'exported by tools/export.py?'
    )


def _explain(code: str, text: str | None, *, where: str) -> QueryError:
  """Makes an error of a gRPC code and of what the server says."""
  # Without where in the graph it happened.
  text = re.sub(r'\[\[.*?\]\]|\{\{.*?\}\}', ' ', text or '')
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
    'DEADLINE_EXCEEDED': f'{where} did not answer in time ({text}).',
    'RESOURCE_EXHAUSTED': f'The message is too large ({text}). Send fewer or '
    'smaller images in a request; over gRPC the limit can be raised.',
    'INVALID_ARGUMENT': text,
  }
  fatal = code not in _CODES_OF_ONE_REQUEST or 'version label' in text
  return QueryError(messages.get(code, f'{where}: {code}: {text}'), fatal=fatal)
