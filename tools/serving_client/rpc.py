"""GRPC. TensorFlow and the rest are imported when something is asked."""

import re
from collections.abc import Sequence
from typing import Any

from . import protocol
from .errors import QueryError, explain, persist

# What gRPC itself says, in the place of a server, with UNAVAILABLE.
_SILENCE = re.compile('connect|resol|socket|transport|GOAWAY|reset', re.I)


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
    import grpc
    from tensorflow_serving.apis import (
      model_pb2,
      model_service_pb2_grpc,
      prediction_service_pb2_grpc as service_pb2_grpc,
    )

    if not re.fullmatch(r'(unix|dns|ipv[46]):.+|[^/]+:\d+', address):
      raise QueryError(
        f'The server is {address!r}; for gRPC it must be a host and a port, '
        'without http://, such as localhost:8500.'
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
    if len(rows) == 0:
      return []
    if signature == 'classify':
      answers = self._classify(rows)
    else:
      answers = self._predict(signature, rows)
    return [
      protocol.check_answer(signature, answer, where=self._address)
      for answer in answers
    ]

  def status(self) -> dict[str, Any]:
    """As RestClient.status, without empty fields."""
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec)
    return self._show(self._models.GetModelStatus, request, protocol.STATUS)

  def metadata(self) -> dict[str, Any]:
    """As RestClient.metadata; fields that hold nothing are left out."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(
      model_spec=self._spec, metadata_field=['signature_def']
    )
    method = self._predictions.GetModelMetadata
    return self._show(method, request, protocol.METADATA)

  def _show(self, method, request, form) -> dict[str, Any]:
    from google.protobuf import json_format

    reply = self._call(method, request)
    try:
      shown = json_format.MessageToDict(reply, preserving_proto_field_name=True)
    except (TypeError, ValueError) as e:  # Of an Any of another type.
      raise self._unreadable(e) from e
    return protocol.check_form(shown, form, where=self._address)

  def _predict(self, signature, rows):
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    if signature == 'serving_tf_example':
      rows = [protocol.make_example(row) for row in rows]
    # An object, so that NumPy does not cut zeros off the ends of bytes.
    dtype = np.uint8 if signature == 'serving_image_tensor' else object
    request = predict_pb2.PredictRequest(model_spec=self._spec)
    request.model_spec.signature_name = signature
    tensor = tf.make_tensor_proto(np.array(rows, dtype))
    request.inputs[protocol.INPUTS[signature]].CopyFrom(tensor)
    reply = self._call(self._predictions.Predict, request)
    outputs = {}
    for name, value in reply.outputs.items():
      try:
        array = tf.make_ndarray(value)
      # Of a type that is none, or of fewer values than its shape has.
      except (TypeError, ValueError, KeyError) as e:
        raise self._unreadable(e) from e
      count = len(array) if array.ndim else 0
      protocol.check_count(count, len(rows), where=self._address)
      outputs[name] = _decode(array.tolist())
    return [
      {name: value[i] for name, value in outputs.items()}
      for i in range(len(rows))
    ]

  def _classify(self, rows):
    from tensorflow_serving.apis import classification_pb2

    request = classification_pb2.ClassificationRequest(model_spec=self._spec)
    request.model_spec.signature_name = 'classify'
    for row in rows:
      example = request.input.example_list.examples.add()
      example.ParseFromString(protocol.make_example(row))
    reply = self._call(self._predictions.Classify, request)
    found = [each.classes for each in reply.result.classifications]
    protocol.check_count(len(found), len(rows), where=self._address)
    return [
      {'classes': [c.label for c in row], 'scores': [c.score for c in row]}
      for row in found
    ]

  def _unreadable(self, error: Exception) -> QueryError:
    return QueryError(
      f'{self._address} answered what cannot be read ({error}); is it TF '
      'Serving?'
    )

  def _call(self, method, request):
    def call_once(timeout):
      try:
        return method(request, timeout=timeout)
      except self._error as e:
        raise self._explain(e.code().name, e.details() or '') from e

    return persist(call_once, timeout=self._timeout)

  def _explain(self, code: str, text: str) -> QueryError:
    wait = None
    said = text
    # gRPC has words of its own around those of the system.
    text = re.sub(r'^failed to connect .*; last error: .*: ', '', text)
    if code == 'RESOURCE_EXHAUSTED' and 'larger than max' in text:
      code = 'TOO_LARGE'
    elif code == 'RESOURCE_EXHAUSTED' or (
      code == 'UNAVAILABLE' and not _SILENCE.search(said)
    ):
      code, text, wait = 'BUSY', f'{code}: {text}', 0.0
    return explain(code, text, where=self._address, retry_after=wait)


def _decode(value: Any) -> Any:
  """Turns all bytes within lists of lists into strings."""
  if isinstance(value, list):
    return [_decode(each) for each in value]
  return value.decode(errors='replace') if isinstance(value, bytes) else value
