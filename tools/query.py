"""Asks a TensorFlow Serving server about images.

    python tools/query.py --rest=http://localhost:8501 --model=coatnet IMAGE...
    python tools/query.py --grpc=localhost:8500 --model=coatnet IMAGE...
    python tools/query.py --rest=http://localhost:8501 --model=coatnet \
      --show=status

It prints the likeliest classes of each image with their scores, or with --json
one object a line, as tools/predict.py does:

    {"file": "x/1.jpg", "predictions": [{"class": "cat", "score": 0.93}, ...]}
    {"file": "x/notes.txt", "error": "no image of a known format"}

Images may be of all formats that records are built of: what the server does not
decode to the same pixels is sent as PNG (docs/formats.md). The exit code is 1
if there was an error with any image or with the server. Beside
serving_client/ and the library's data/image_files.py, which needs Pillow, it
needs tensorflow-serving-api and what that installs, and over REST absl-py
and rich alone. docs/serving.md says how to start a server.
"""

import tools.prologue

import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags

from tools import image_flags, path_flags, progress, serving_client

_REST = flags.DEFINE_string(
  'rest', None, 'The server for REST, such as http://localhost:8501.'
)
_GRPC = flags.DEFINE_string(
  'grpc', None, 'The server for gRPC, such as localhost:8500; not encrypted.'
)
_MODEL = flags.DEFINE_string('model', None, 'Name of the model on the server.')
_VERSION = flags.DEFINE_integer(
  'version', None, 'Version to ask. By default the latest.', lower_bound=0
)
_LABEL = flags.DEFINE_string(
  'label', None, 'Label of the version to ask, where the server has labels.'
)
_SIGNATURE = flags.DEFINE_enum(
  'signature',
  'serving_default',
  list(serving_client.INPUTS),
  'Signature to ask; `classify` by the Classify API. `serving_image_tensor` '
  "takes .npy files, uint8 [height, width, 3] of the network's size, all "
  'others encoded images.',
)
_SHOW = flags.DEFINE_enum(
  'show', None, ['status', 'metadata'], 'What to print of the model instead.'
)
_TOP_K = flags.DEFINE_integer(
  'top_k', 5, 'Classes an image, at most those exported.', lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size',
  1,
  'Images a request. One that the server cannot decode fails the request that '
  'it is in, unless the export answers bad images.',
  lower_bound=1,
)
_TIMEOUT = flags.DEFINE_float(
  'timeout',
  30.0,
  'Seconds until an answer is there, all of it; within them a server that is '
  'busy is asked again.',
  lower_bound=0.001,
)
_MAX_MESSAGE_MB = flags.DEFINE_integer(
  'max_message_mb',
  64,
  'Largest message over gRPC in MiB, either way.',
  lower_bound=1,
  upper_bound=2047,
)
_RAW = flags.DEFINE_bool(
  'raw', False, 'Send files as they are, whatever the server makes of them.'
)
_SAVED_MODEL = path_flags.DEFINE_path(
  'saved_model',
  None,
  'The export that is served, or the folder of its versions, where it can be '
  'read here: what it says of --exif_orientation is followed.',
)
_JSON = flags.DEFINE_bool('json', False, 'Print JSON, one object a line.')

Client = serving_client.RestClient | serving_client.GrpcClient
# From an image file to an image that a server decodes; ValueErrors say why not.
Convert = Callable[[bytes], bytes]


def read_row(
  file: str, signature: str, *, convert: Convert | None = None
) -> Any:
  """Reads what is sent of a file.

  Args:
    file: Its path.
    signature: Which signature is asked.
    convert: What is done with an image file; None for nothing.

  Returns:
    Its bytes, or for `serving_image_tensor` a uint8 array [height, width, 3].

  Raises:
    serving_client.QueryError: If it cannot be read.
  """
  try:
    if signature == 'serving_image_tensor':
      return _read_pixels(file)
    with open(file, 'rb') as f:
      content = f.read()
    if not content:
      raise ValueError('The file is empty.')
    return content if convert is None else convert(content)
  except (OSError, ValueError) as e:
    reason = getattr(e, 'strerror', None) or str(e)
    raise serving_client.QueryError(reason, fatal=False) from e


def _read_pixels(file: str):
  # Here, because REST does without it otherwise.
  import numpy as np

  pixels = np.load(file, allow_pickle=False)
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
    raise ValueError(
      f'The array is {pixels.dtype} {list(pixels.shape)}; it must be uint8 '
      '[height, width, 3].'
    )
  return pixels


def query(
  client: Client,
  files: Sequence[str],
  *,
  signature: str = 'serving_default',
  batch_size: int = 1,
  top_k: int = 5,
  convert: Convert | None = None,
) -> Iterator[dict[str, Any]]:
  """Asks about files, in their order; `convert` as of `read_row`.

  Yields:
    Of each a dict: `file`, and `predictions`, or the outputs of `features` by
    name, or `error`.

  Raises:
    serving_client.QueryError: If the server answers none of them.
  """
  for start in range(0, len(files), batch_size):
    batch = files[start : start + batch_size]
    rows, errors = {}, {}
    for i, file in enumerate(batch):
      try:
        rows[i] = read_row(file, signature, convert=convert)
      except serving_client.QueryError as e:
        errors[i] = {'error': str(e)}
    answers = _ask(client, list(rows.values()), signature, top_k=top_k)
    found = {**errors, **dict(zip(rows, answers))}
    for i, file in enumerate(batch):
      yield {'file': file, **found[i]}


def _ask(client, rows, signature, *, top_k) -> list[dict[str, Any]]:
  """Returns what one request says of each of its images."""
  if not rows:
    return []
  if len({getattr(row, 'shape', None) for row in rows}) > 1:
    error = 'The arrays of one request must have the same size.'
    return [{'error': error}] * len(rows)
  try:
    answers = client.ask(signature, rows)
  except serving_client.QueryError as e:
    if e.fatal:
      raise
    return [{'error': str(e)}] * len(rows)
  return [_summarize(answer, top_k=top_k) for answer in answers]


def _summarize(answer: dict[str, Any], *, top_k: int) -> dict[str, Any]:
  # What an export with answer_bad_images says; the Classify API has no flag.
  if not answer.get('ok', True) or not any(answer.get('classes', ['features'])):
    return {'error': 'The server cannot decode the image.'}
  if 'classes' not in answer:
    return {name: value for name, value in answer.items() if name != 'ok'}
  pairs = list(zip(answer['classes'], answer['scores']))[:top_k]
  if not all(math.isfinite(score) for _, score in pairs):
    return {'error': 'The server answered with scores that are no numbers.'}
  return {'predictions': [{'class': n, 'score': score} for n, score in pairs]}


def to_text(result: dict[str, Any]) -> str:
  """Writes a result of `query` for people."""
  lines = [result['file']]
  if 'error' in result:
    lines.append(f'  error: {result["error"]}')
  for each in result.get('predictions', ()):
    lines.append(f'  {each["score"]:.4f}  {each["class"]}')
  if len(result) > 1 and not {'error', 'predictions'} & set(result):
    for name, value in result.items():
      if name != 'file':
        lines.append(f'  {name}: {" x ".join(map(str, _shape(value)))} numbers')
  return _printable(lines)


def _shape(value: Any) -> list[int]:
  if not isinstance(value, list):
    return []
  return [len(value), *_shape(value[0] if value else None)]


def _printable(lines: list[str]) -> str:
  """Joins lines, in which a terminal finds nothing to obey."""
  return '\n'.join(map(serving_client.printable, lines))


def _to_json(value: dict[str, Any]) -> str:
  # Its own escapes leave out what comes after ASCII.
  return serving_client.printable(json.dumps(value, ensure_ascii=False))


def status_text(status: dict[str, Any]) -> str:
  """Writes a model's status, one version a line."""
  lines = []
  for version in status.get('model_version_status', ()):
    line = f'version {version.get("version")}: {version.get("state")}'
    message = version.get('status', {}).get('error_message')
    lines.append(f'{line} ({message})' if message else line)
  return _printable(lines)


def metadata_text(metadata: dict[str, Any]) -> str:
  """Writes a model's signatures, one a line."""
  spec = metadata.get('model_spec', {})
  lines = [f'{spec.get("name")}, version {spec.get("version")}']
  signatures = metadata.get('metadata', {}).get('signature_def', {})
  for name, signature in sorted(signatures.get('signature_def', {}).items()):
    # TensorFlow adds this one to every SavedModel; nobody asks it.
    if name != '__saved_model_init_op':
      inputs, outputs = (
        ', '.join(_tensor_text(*item) for item in sorted(tensors.items()))
        for tensors in (
          signature.get('inputs', {}),
          signature.get('outputs', {}),
        )
      )
      lines.append(f'{name}({inputs}) -> {outputs}')
  return _printable(lines)


def _tensor_text(name: str, info: dict[str, Any]) -> str:
  dims = info.get('tensor_shape', {}).get('dim', ())
  sizes = ', '.join(str(dim.get('size', 0)) for dim in dims)
  kind = str(info.get('dtype', '?')).removeprefix('DT_').lower()
  return f'{name} {kind} [{sizes}]'.replace('-1', '?')


def make_convert() -> Convert | None:
  """Returns what is done with image files, by the flags.

  Raises:
    serving_client.QueryError: If a flag is wrong.
  """
  if _RAW.value:
    return None
  try:
    from official_coatnet.data import image_files
  except ImportError as e:
    raise ImportError(
      f'{e}. Images are converted by Pillow (`pip install pillow`) and the '
      'library beside tools/; --raw sends files as they are.'
    ) from e
  try:
    options = image_files.Options(
      exif_orientation=image_flags.exif_orientation(_SAVED_MODEL.value),
      value_range=image_flags.value_range(),
    )
  except (OSError, ValueError) as e:
    raise serving_client.QueryError(str(e)) from e
  return functools.partial(image_files.to_graph, options=options)


def _make_client() -> Client:
  kwargs = {
    'model': _MODEL.value,
    'version': _VERSION.value,
    'label': _LABEL.value,
    'timeout': _TIMEOUT.value,
  }
  if _REST.value is not None:
    return serving_client.RestClient(_REST.value, **kwargs)
  size = _MAX_MESSAGE_MB.value << 20
  try:
    return serving_client.GrpcClient(
      _GRPC.value, **kwargs, max_message_bytes=size
    )
  except ImportError as e:
    raise ImportError(
      f'{e}. gRPC needs `pip install "official_coatnet[serving]"`; REST does '
      'not.'
    ) from e


def _show(client: Client):
  wants_status = _SHOW.value == 'status'
  reply = client.status() if wants_status else client.metadata()
  to_lines = status_text if wants_status else metadata_text
  print(_to_json(reply) if _JSON.value else to_lines(reply))


def main(argv):
  """Asks and prints."""
  if (len(argv) < 2) == (_SHOW.value is None):
    raise app.UsageError('Name one or more images, or else --show.')
  failed = False
  client = _make_client()
  if _SHOW.value:
    _show(client)
    return
  results = query(
    client,
    argv[1:],
    signature=_SIGNATURE.value,
    batch_size=_BATCH_SIZE.value,
    top_k=_TOP_K.value,
    convert=make_convert(),
  )
  with progress.Progress() as show:
    for done, result in enumerate(results, 1):
      failed |= 'error' in result
      # At once: whoever reads need not wait for the last image.
      print(_to_json(result) if _JSON.value else to_text(result), flush=True)
      if done < len(argv) - 1:
        show(done, len(argv) - 1)
  if failed:
    sys.exit(1)


if __name__ == '__main__':
  flags.mark_flag_as_required('model')
  flags.mark_flags_as_mutual_exclusive(['rest', 'grpc'], required=True)
  flags.mark_flags_as_mutual_exclusive(['version', 'label'])
  tools.prologue.run(main, mendable=(serving_client.QueryError,))
