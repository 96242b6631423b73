"""What exports are sent and what they answer, over REST and gRPC alike."""

import math
from typing import Any

from .errors import QueryError

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

# Of `fits`: whatever names a dict has.
_ANY = '*'
_TENSOR = {
  'dtype': (str, int),
  'tensor_shape': {'dim': [{'size': (str, int), 'name': str}]},
}
_SIGNATURE = {'inputs': {_ANY: _TENSOR}, 'outputs': {_ANY: _TENSOR}}
# GetModelStatusResponse and GetModelMetadataResponse, as JSON has them. A field
# may be left out.
STATUS = {
  'model_version_status': [
    {'version': (str, int), 'state': str, 'status': {'error_message': str}}
  ]
}
METADATA = {
  'model_spec': {'name': str, 'version': (str, int)},
  'metadata': {'signature_def': {'signature_def': {_ANY: _SIGNATURE}}},
}


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


def check_count(found: int | str, wanted: int, *, where: str):
  """Raises QueryError unless there is a row for each image."""
  if found != wanted:
    raise _unexpected(f'{found} rows instead of {wanted}', where=where)


def check_answer(signature: str, answer: Any, *, where: str) -> dict[str, Any]:
  """Returns what a server says of an image, as `RestClient.ask` promises it.

  Args:
    signature: What was asked.
    answer: Outputs by name, or whatever came in their place.
    where: The server.

  Raises:
    QueryError: If it is not what an export answers.
  """
  if not isinstance(answer, dict) or not answer:
    raise _unexpected(f'{str(answer)[:80]!r} for an image', where=where)
  if signature == 'features':
    return answer
  for name in ('classes', 'scores'):
    if not isinstance(answer.get(name), list):
      raise _unexpected(f'no list of {name}', where=where)
  classes, scores = answer['classes'], answer['scores']
  if len(classes) != len(scores):
    counts = f'{len(classes)} classes and {len(scores)} scores'
    raise _unexpected(counts, where=where)
  if not all(isinstance(name, str) for name in classes):
    raise _unexpected('classes that are no strings', where=where)
  return {**answer, 'scores': [_to_number(score) for score in scores]}


def check_form(reply: Any, form: Any, *, where: str) -> Any:
  """Returns a reply that has the form of `STATUS` or `METADATA`.

  Raises:
    QueryError: If it has not.
  """
  if not _fits(reply, form):
    what = f'{str(reply)[:80]!r} about the model'
    raise QueryError(f'{where} answered {what}; is it TF Serving?')
  return reply


def _fits(value: Any, form: Any) -> bool:
  if isinstance(form, list):
    return isinstance(value, list) and all(_fits(v, form[0]) for v in value)
  if not isinstance(form, dict):
    return isinstance(value, form)
  return isinstance(value, dict) and all(
    _fits(part, form.get(_ANY, form.get(name, object)))
    for name, part in value.items()
  )


def _unexpected(what: str, *, where: str) -> QueryError:
  return QueryError(
    f'{where} answered {what}; was the model exported by tools/export.py?'
  )


def _to_number(score: Any) -> float:
  try:
    return float('nan' if isinstance(score, str | bool) else score)
  except (TypeError, OverflowError):  # Of null, and of 400 digits.
    return math.nan
