"""A server on a real socket that answers as TensorFlow Serving 2.15 does.

It says what is recorded in serving_replies.py, or what a function says: a
signature of an export, for example. What is asked of it is kept.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
  classification_pb2,
  get_model_metadata_pb2,
  get_model_status_pb2,
  model_service_pb2_grpc,
  predict_pb2,
  prediction_service_pb2_grpc,
)

# By path: status and body, as the server lays its JSON out.
from tests import serving_replies


def error(text: str) -> str:
  """Returns the body of an error."""
  return json.dumps({'error': text}, indent=4)


@contextlib.contextmanager
def rest(answer: Callable[[str, dict | None], tuple[int, str]]) -> Iterator:
  """Serves REST.

  Args:
    answer: From the path and the JSON that came, None for GET, to status and
      body.

  Yields:
    The URL, and a list that takes up (path, type of the content, JSON).
  """
  asked = []

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
      self._answer(None)

    def do_POST(self):  # noqa: N802
      size = int(self.headers['Content-Length'])
      self._answer(json.loads(self.rfile.read(size)))

    def log_message(self, *args):
      pass

    def _answer(self, body):
      asked.append((self.path, self.headers['Content-Type'], body))
      status, reply = answer(self.path, body)
      content = reply.encode()
      # The client may have lost its patience.
      with contextlib.suppress(OSError):
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}', asked
    server.shutdown()
    thread.join()


def recorded(signature: str, name: str, rows: list) -> dict[str, np.ndarray]:
  """Says the same of every row."""
  del name
  if signature == 'features':
    outputs = {
      'features': json.loads(serving_replies.FEATURES)['predictions'][0]
    }
  else:
    outputs = json.loads(serving_replies.PREDICT)['predictions'][0]
  if signature == 'classify':
    outputs = {name: outputs[name] for name in ('classes', 'scores')}
  return {
    name: np.array(
      [value] * len(rows),
      object if isinstance(value[0], str) else np.float32,
    )
    for name, value in outputs.items()
  }


def answer_by(run: Callable[[str, str, list], dict[str, np.ndarray]]):
  """Makes an `answer` of `rest` from a function such as `recorded`."""

  def answer(path: str, body: dict) -> tuple[int, str]:
    signature = body['signature_name']
    if path.endswith(':classify'):
      rows = [_make_example(example) for example in body['examples']]
      outputs = _as_json(run(signature, 'inputs', rows))
      pairs = zip(outputs['classes'], outputs['scores'], strict=True)
      reply = {'results': [list(zip(*pair, strict=True)) for pair in pairs]}
      return 200, json.dumps(reply)
    (name,) = body['instances'][0]
    rows = [_from_json(row[name]) for row in body['instances']]
    outputs = _as_json(run(signature, name, rows))
    if len(outputs) == 1:
      ((_, predictions),) = outputs.items()
    else:
      columns = zip(*outputs.values(), strict=True)
      predictions = [dict(zip(outputs, row, strict=True)) for row in columns]
    return 200, json.dumps({'predictions': predictions})

  return answer


def _from_json(value: Any) -> Any:
  is_bytes = isinstance(value, dict)
  return base64.b64decode(value['b64'], validate=True) if is_bytes else value


def _make_example(features: dict[str, Any]) -> bytes:
  example = tf.train.Example()
  for name, value in features.items():
    feature = example.features.feature[name]
    feature.bytes_list.value.append(_from_json(value))
  return example.SerializeToString()


def _as_json(outputs: dict[str, np.ndarray]) -> dict[str, list]:
  return {
    name: np.char.decode(value.astype(bytes)).tolist()
    if value.dtype == object
    else value.tolist()
    for name, value in outputs.items()
  }


class _Services(
  prediction_service_pb2_grpc.PredictionServiceServicer,
  model_service_pb2_grpc.ModelServiceServicer,
):
  """Answers by a function, or fails every request."""

  def __init__(self, asked, *, run, failure, delay):
    self._asked = asked
    self._run = run
    self._failure = failure
    self._delay = delay

  def _receive(self, request, context):
    self._asked.append(request)
    time.sleep(self._delay)
    if self._failure:
      context.abort(*self._failure)

  def Predict(self, request, context):  # noqa: N802
    self._receive(request, context)
    ((name, tensor),) = request.inputs.items()
    signature = request.model_spec.signature_name
    reply = predict_pb2.PredictResponse(model_spec=request.model_spec)
    outputs = self._run(signature, name, tf.make_ndarray(tensor).tolist())
    for output, value in outputs.items():
      reply.outputs[output].CopyFrom(tf.make_tensor_proto(value))
    return reply

  def Classify(self, request, context):  # noqa: N802
    self._receive(request, context)
    examples = request.input.example_list.examples
    outputs = self._run(
      request.model_spec.signature_name,
      'inputs',
      [example.SerializeToString() for example in examples],
    )
    reply = classification_pb2.ClassificationResponse()
    for names, scores in zip(
      outputs['classes'], outputs['scores'], strict=True
    ):
      classes = reply.result.classifications.add().classes
      for name, score in zip(names, scores, strict=True):
        classes.add(label=name, score=score)
    return reply

  def GetModelStatus(self, request, context):  # noqa: N802
    self._receive(request, context)
    return json_format.Parse(
      serving_replies.STATUS, get_model_status_pb2.GetModelStatusResponse()
    )

  def GetModelMetadata(self, request, context):  # noqa: N802
    self._receive(request, context)
    recorded = json.loads(serving_replies.METADATA)
    signatures = json_format.ParseDict(
      recorded['metadata']['signature_def'],
      get_model_metadata_pb2.SignatureDefMap(),
    )
    reply = get_model_metadata_pb2.GetModelMetadataResponse()
    json_format.ParseDict(recorded['model_spec'], reply.model_spec)
    reply.metadata['signature_def'].Pack(signatures)
    return reply


@contextlib.contextmanager
def grpc_server(
  *,
  run: Callable[[str, str, list], dict[str, np.ndarray]] = recorded,
  failure: tuple[grpc.StatusCode, str] | None = None,
  delay: float = 0.0,
) -> Iterator:
  """Serves gRPC.

  Args:
    run: From the names of a signature and its input, and rows, to outputs.
    failure: What every request fails with.
    delay: Seconds before each answer.

  Yields:
    The address, and a list that takes up the requests.
  """
  asked = []
  services = _Services(asked, run=run, failure=failure, delay=delay)
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    server = grpc.server(
      # As TF Serving, which takes messages of any size.
      pool,
      options=[('grpc.max_receive_message_length', -1)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
      services, server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, server)
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    yield f'127.0.0.1:{port}', asked
    server.stop(None).wait()
