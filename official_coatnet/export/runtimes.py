"""The network for other runtimes than TensorFlow: TFLite and ONNX.

| File | Takes `image` | Answers `logits` |
|---|---|---|
| model.tflite | float32 [1, height, width, 3] | float32 [1, classes] |
| model.onnx | uint8 [batch, height, width, 3] | float32 [batch, classes] |

The image is RGB from 0 to 255, in both; centring and scaling are inside, so
that nobody can do them otherwise than they were trained with. What comes before
and after stays outside: neither runtime has operations that decode an image or
look up the name of a class.

TFLite's file holds built-in operations alone, and one image: its delegates,
which make it fast, want shapes that are known.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from official_coatnet import extras, files
from official_coatnet.export import versions
from official_coatnet.training import experiment as experiment_lib, objective

# How the weights of model.tflite are stored; what they are multiplied with is
# float32, but that of int8 is rounded to 8 bits, image by image ("dynamic
# range").
QUANTIZATIONS = ('none', 'float16', 'int8')
# The one network whose operations TFLite has as they are: a GELU is one there.
TFLITE_IMPLEMENTATION = 'reference'
# With 18 tf2onnx 1.17 converts the means of squeeze-and-excitation wrongly.
_OPSET = 17
# Largest |a - e| / max(1, |e|) of the logits of float32 weights.
TOLERANCE = 1e-4
# Of a protocol buffer, and of TFLite's files.
_LARGEST_FILE = 2**31

# From uint8 [images, height, width, 3] to float32 [images, classes].
Network = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Difference:
  """How another runtime's logits differ from TensorFlow's.

  Attributes:
    images: On how many.
    largest: Largest difference of a logit.
    relative: Largest difference as a multiple of max(1, |logit|).
    same_top1: Images whose likeliest class is the same.
  """

  images: int
  largest: float
  relative: float
  same_top1: int


def check(
  shapes: Mapping[str, tuple[int, ...]], *, file_format: str, quantize: str
) -> None:
  """Checks that a network can be written, before it is built.

  Args:
    shapes: Of its weights by name, as `checkpoints.StoredWeights` has them.
    file_format: One of `versions.FORMATS`.
    quantize: One of `QUANTIZATIONS`.

  Raises:
    ValueError: If it cannot.
  """
  if quantize not in QUANTIZATIONS:
    raise ValueError(
      f'`quantize` is {quantize!r}; it must be one of {list(QUANTIZATIONS)}.'
    )
  if quantize != 'none' and file_format != 'tflite':
    raise ValueError(
      f'`quantize` is {quantize!r}, and the format {file_format!r}; only '
      'tflite has it.'
    )
  if file_format == 'saved_model':
    return
  size = 4 * sum(math.prod(shape) for shape in shapes.values())
  if size >= _LARGEST_FILE:
    raise ValueError(
      f'The weights of the network are {size / 1e9:.2f} GB, and neither '
      f'{file_format} nor the way to it holds more than '
      f'{_LARGEST_FILE / 1e9:.2f} GB in a file. Export it as a saved_model.'
    )
  if file_format == 'onnx':
    _import('tf2onnx')
    _import('onnxruntime')


def write(
  model: tf.keras.Model,
  experiment: experiment_lib.Experiment,
  path: str,
  *,
  pixels: np.ndarray,
  file_format: str,
  quantize: str = 'none',
) -> Difference:
  """Writes the file of a format, and runs it.

  Args:
    model: From normalised images, float32 [batch, height, width, 3], to logits.
      For TFLite, of `TFLITE_IMPLEMENTATION`.
    experiment: What it was trained by.
    path: The folder.
    pixels: Images to compare with TensorFlow on, uint8 [images, height, width,
      3].
    file_format: 'tflite' or 'onnx'.
    quantize: One of `QUANTIZATIONS`.

  Returns:
    How what was written differs from `model`.

  Raises:
    ValueError: If it cannot be converted, or differs by more than rounding.
  """
  convert = {'tflite': _to_tflite, 'onnx': _to_onnx}[file_format]
  shape = model.input_shape[1:]

  def classify(image: tf.Tensor) -> tf.Tensor:
    normalized = objective.normalize(experiment, image)
    return tf.cast(model(normalized, training=False), tf.float32)

  content = convert(model, classify, shape=shape, quantize=quantize)
  files.write_bytes(os.path.join(path, versions.FORMATS[file_format]), content)
  found = _LOADERS[file_format](content)(pixels)
  # One by one: all stage maps of many images are much memory.
  expected = np.concatenate([classify(p[None]) for p in pixels])
  difference = compare(found, expected)
  limit = TOLERANCE if quantize == 'none' else np.inf
  # Also where it is no number.
  if not difference.relative <= limit or not np.isfinite(found).all():
    raise ValueError(
      f'The logits of {versions.FORMATS[file_format]} differ from '
      f"TensorFlow's by up to {difference.relative:.3g} x max(1, |logit|), "
      f'which is more than {limit:g} and no rounding: the conversion is wrong. '
      'Are the versions of its packages those of requirements.lock?'
    )
  return difference


def compare(found: np.ndarray, expected: np.ndarray) -> Difference:
  """Compares logits, [images, classes]."""
  error = np.abs(found.astype(np.float64) - expected)
  return Difference(
    images=len(expected),
    largest=float(error.max()),
    relative=float((error / np.maximum(1.0, np.abs(expected))).max()),
    same_top1=int((found.argmax(-1) == expected.argmax(-1)).sum()),
  )


def _function(classify: Callable[[tf.Tensor], tf.Tensor], spec: tf.TensorSpec):
  @tf.function(input_signature=[spec], autograph=False)
  def function(image):
    return {'logits': classify(image)}

  return function


def _to_tflite(model: tf.keras.Model, classify, *, shape, quantize) -> bytes:
  spec = tf.TensorSpec([1, *shape], tf.float32, name='image')
  function = _function(classify, spec).get_concrete_function()
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
  converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
  if quantize != 'none':
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if quantize == 'float16':
    converter.target_spec.supported_types = [tf.float16]
  try:
    return converter.convert()
  except Exception as e:  # The converter's own errors derive from it alone.
    reason = str(e).strip().splitlines()[0]
    raise ValueError(f'TFLite cannot take the network: {reason}') from e


def _load_tflite(content: bytes) -> Network:
  interpreter = tf.lite.Interpreter(model_content=content)
  # Without this line the delegate for CPUs is left out, and CoAtNet-0 takes 1.7
  # times as long: what is compared is what people will run.
  interpreter.allocate_tensors()
  run = interpreter.get_signature_runner()

  def network(pixels):
    rows = [run(image=p[None].astype(np.float32))['logits'] for p in pixels]
    return np.concatenate(rows)

  return network


def _to_onnx(model: tf.keras.Model, classify, *, shape, quantize) -> bytes:
  del model, quantize  # `check` lets none but 'none' pass.
  spec = tf.TensorSpec([None, *shape], tf.uint8, name='image')
  proto, _ = _import('tf2onnx').convert.from_function(
    _function(classify, spec), input_signature=[spec], opset=_OPSET
  )
  for value in (*proto.graph.input, *proto.graph.output):
    # The converter numbers it, as `unk__1234`.
    value.type.tensor_type.shape.dim[0].dim_param = 'batch'
  return proto.SerializeToString()


def _load_onnx(content: bytes) -> Network:
  session = _import('onnxruntime').InferenceSession(
    content, providers=['CPUExecutionProvider']
  )
  return lambda pixels: session.run(['logits'], {'image': pixels})[0]


_LOADERS = {'tflite': _load_tflite, 'onnx': _load_onnx}


def _import(name: str):
  return extras.load(name, extra='onnx', purpose='The format onnx')
