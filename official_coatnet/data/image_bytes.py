"""What bytes are that stand where an image file should.

Tutorials write pixels, serialized tensors or names of files into records, and
all of these are byte strings to a parser.
"""

import math
import re

import tensorflow as tf
from google.protobuf import message
from tensorflow.core.framework import tensor_pb2

from official_coatnet.data import file_kinds, images

# How JPEG, PNG and GIF begin in base64.
_BASE64 = ('/9j/', 'iVBORw0KGgo', 'R0lGOD')
_FIX = 'store image files instead, made by tf.io.encode_png'


def fault(data: bytes, *, height: int = 0, width: int = 0) -> str | None:
  """Says what bytes are that are no image file, or None.

  Args:
    data: the bytes.
    height: of the image, in pixels, as far as is known; 0 if it is not.
    width: likewise.

  Returns:
    What they are, and mostly what to do; None for an image that a graph
    decodes, as far as its beginning tells.
  """
  form = file_kinds.image_format(data)
  if form in images.DECODED:
    return None
  if form is not None:
    return (
      f'a {form} image, which TensorFlow does not decode; build the records '
      'again with JPEG or PNG'
    )
  line = file_kinds.text_line(data[: file_kinds.HEAD_BYTES])
  if line is not None:
    if line.startswith(_BASE64):
      return 'an image file as base64 text; store the bytes themselves'
    if re.fullmatch(r'\S+\.\w{1,5}', line):
      return f'{line!r}, the name of a file; store what is in the file'
    return f'text such as {line!r}'
  shape = _shape_of_pixels(len(data), height=height, width=width)
  if shape is not None:
    return (
      f'{len(data):,} bytes that are no image file, as many as {shape} have; '
      f'{_FIX}'
    )
  tensor = _tensor_in(data)
  if tensor is not None:
    return f'a serialized tensor, {tensor}; {_FIX}'
  return f'{len(data):,} bytes that are no image file'


def _shape_of_pixels(length: int, *, height: int, width: int) -> str | None:
  """Says which pixels have so many bytes, or None."""
  shapes = [(height, width, channels) for channels in (3, 1, 4)]
  for channels in (3, 1):  # A square, where nobody says.
    side = math.isqrt(length // channels)
    shapes.append((side, side, channels))
  for size, dtype in ((1, 'uint8'), (4, 'float32')):
    for shape in shapes:
      if math.prod(shape) * size == length and length >= 64:
        return f'{" x ".join(map(str, shape))} pixels of type {dtype}'
  return None


def _tensor_in(data: bytes) -> str | None:
  """Returns type and shape of what tf.io.serialize_tensor has written."""
  try:
    tensor = tensor_pb2.TensorProto.FromString(data)
    if not tensor.tensor_content:
      return None
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    return f'{tf.as_dtype(tensor.dtype).name} {shape}'
  except (message.DecodeError, TypeError):
    return None
