"""Requests that TF Serving answers for itself before it takes others'.

It replays assets.extra/tf_serving_warmup_requests when it loads an export, so
that the first client does not wait for what happens once: allocation, choice of
kernels, compilation. A record that fails keeps the export from being loaded,
and there may be 1000 at most.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet import extras
from official_coatnet.export import preprocessing, serving, versions
from official_coatnet.export.options import ExportOptions


def check_library() -> None:
  """Raises an ImportError, with what to install, where it is missing."""
  _messages('prediction_log_pb2')


def _messages(name: str) -> Any:
  """Returns a module of TF Serving's messages."""
  return extras.load(
    f'tensorflow_serving.apis.{name}',
    extra='serving',
    purpose='An export, for the requests that warm a server up,',
  )


def make_requests(
  options: ExportOptions, *, height: int, width: int
) -> Iterator[Any]:
  """Makes a request of every signature in every size of the options.

  Args:
    options: Its `batch_sizes` are run.
    height: Of the network's images in pixels, as `width`.
    width: See `height`.

  Yields:
    TF Serving's `PredictionLog`s.
  """
  encoded = make_jpeg(height, width)
  example = make_example(encoded)
  for size in options.batch_sizes:
    for signature, name in serving.INPUTS.items():
      if signature == 'classify':
        yield _classify_log(signature, [example] * size)
      elif signature == 'serving_image_tensor':
        tensor = _grey_pixels(size, height, width)
        yield _predict_log(signature, name=name, tensor=tensor)
      else:
        is_example = signature in serving.TAKE_EXAMPLES
        row = example.SerializeToString() if is_example else encoded
        tensor = tf.make_tensor_proto([row] * size, dtype=tf.string)
        yield _predict_log(signature, name=name, tensor=tensor)


def make_pixels(
  height: int, width: int, channels: int = 3, *, seed: int = 0
) -> np.ndarray:
  """Makes a smooth image, uint8 [height, width, channels]."""
  noise = np.random.default_rng(seed).uniform(0, 255, (4, 4, channels))
  smooth = tf.image.resize(noise, [height, width], method='bilinear')
  return np.round(smooth.numpy()).astype(np.uint8)


def make_jpeg(height: int, width: int, *, seed: int = 0) -> bytes:
  """Makes a JPEG in colour."""
  return tf.io.encode_jpeg(make_pixels(height, width, seed=seed)).numpy()


def make_example(encoded: bytes) -> tf.train.Example:
  """Puts an encoded image into a tf.train.Example."""
  feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
  return tf.train.Example(
    features=tf.train.Features(feature={preprocessing.ENCODED_KEY: feature})
  )


def _grey_pixels(size: int, height: int, width: int):
  """Returns a tensor of one value throughout, which then stands there once."""
  tensor = tf.make_tensor_proto(128, dtype=tf.uint8)
  for side in (size, height, width, 3):
    tensor.tensor_shape.dim.add(size=side)
  tensor.int_val[:] = [128]
  return tensor


def _predict_log(signature, *, name, tensor):
  prediction_log_pb2 = _messages('prediction_log_pb2')
  request = _messages('predict_pb2').PredictRequest()
  request.model_spec.signature_name = signature
  request.inputs[name].CopyFrom(tensor)
  log = prediction_log_pb2.PredictLog(request=request)
  return prediction_log_pb2.PredictionLog(predict_log=log)


def _classify_log(signature, examples):
  prediction_log_pb2 = _messages('prediction_log_pb2')
  request = _messages('classification_pb2').ClassificationRequest()
  request.model_spec.signature_name = signature
  request.input.example_list.examples.extend(examples)
  log = prediction_log_pb2.ClassifyLog(request=request)
  return prediction_log_pb2.PredictionLog(classify_log=log)


def write_requests(
  path: str, options: ExportOptions, *, height: int, width: int
):
  """Writes the requests of `make_requests` into the export at `path`."""
  file = os.path.join(path, versions.WARMUP_FILE)
  tf.io.gfile.makedirs(os.path.dirname(file))
  with tf.io.TFRecordWriter(file) as writer:
    for request in make_requests(options, height=height, width=width):
      writer.write(request.SerializeToString())


def read_requests(path: str) -> list[tuple[str, str, tf.Tensor]]:
  """Reads the requests of the export at `path`, as a server would call them.

  Returns:
    Of each the name of the signature, of its input, and the value of that.

  Raises:
    ValueError: If the file is missing, damaged, or holds other requests.
  """
  file = os.path.join(path, versions.WARMUP_FILE)
  prediction_log_pb2 = _messages('prediction_log_pb2')
  try:
    records = list(tf.data.TFRecordDataset(file).as_numpy_iterator())
    logs = [prediction_log_pb2.PredictionLog.FromString(r) for r in records]
  # The protobuf library's own error is no ValueError.
  except (tf.errors.OpError, Exception) as e:
    raise ValueError(
      f'The warm-up requests {file!r} cannot be read ({e}); TF Serving would '
      'not load this export. Export again.'
    ) from e
  return [_read_request(log, file=file) for log in logs]


def _read_request(log, *, file: str) -> tuple[str, str, tf.Tensor]:
  kind = log.WhichOneof('log_type')
  if kind == 'classify_log':
    request = log.classify_log.request
    examples = request.input.example_list.examples
    value = tf.constant([e.SerializeToString() for e in examples], tf.string)
    return request.model_spec.signature_name, 'inputs', value
  if kind == 'predict_log' and len(log.predict_log.request.inputs) == 1:
    request = log.predict_log.request
    ((name, tensor),) = request.inputs.items()
    value = tf.constant(tf.make_ndarray(tensor))
    return request.model_spec.signature_name, name, value
  raise ValueError(
    f'The warm-up requests {file!r} have one that is neither a prediction with '
    f'one input nor a classification, but {kind!r}; export again.'
  )
