"""Runs a SavedModel as a server does: by TensorFlow's C++, without its Python.

    python -P official_coatnet/export/verify/c_api.py EXPORT REQUESTS REPLIES

A reload in Python hides what a server trips over: an asset that is missing
beside the graph, an operation that Python registers. Here the shared libraries
of the installed wheel load and run the export, through the C API and ctypes.
`runners.run_in_cpp` runs this file as a process of its own: nothing in it
imports TensorFlow or anything else that is not in Python's own library.

REQUESTS is a JSON file, a list of {"signature", "inputs": {name: tensor}}; what
is written to REPLIES is {"replies", "peak_memory", "load_seconds"}: a list of
{"outputs": {name: tensor}} or {"error": why there are none}, with "seconds"
and "cpu_seconds"; and bytes. A tensor is {"dtype", "shape", "data"}: base64 of
its bytes, or a list of these for strings.
"""

import base64
import ctypes
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_STRING = 7
# Names of the types by their number in TensorFlow's DataType.
_TYPES = {1: 'float32', 3: 'int32', 4: 'uint8', 9: 'int64', 10: 'bool'}
_TYPES[_STRING] = 'string'
_STRING_SIZE = 24  # sizeof(TF_TString).
# Field numbers of the protocol buffers that are read here.
_SIGNATURES_IN_META_GRAPH = 5
_INPUTS_IN_SIGNATURE, _OUTPUTS_IN_SIGNATURE = 1, 2
_NAME_IN_TENSOR_INFO = 1


class Tensor(NamedTuple):
  """A tensor as bytes.

  Attributes:
    dtype: 'float32', 'int32', 'int64', 'uint8', 'bool' or 'string'.
    shape: Its sides.
    data: Its bytes in row-major order; of strings a list of bytes.
  """

  dtype: str
  shape: tuple[int, ...]
  data: bytes | list[bytes]


class LoadError(Exception):
  """What TensorFlow's C++ says against an export or a request."""


class _Output(ctypes.Structure):
  _fields_ = [('operation', ctypes.c_void_p), ('index', ctypes.c_int)]


class _Buffer(ctypes.Structure):
  _fields_ = [
    ('data', ctypes.c_void_p),
    ('length', ctypes.c_size_t),
    ('deallocator', ctypes.c_void_p),
  ]


# What is called of TensorFlow's C API: type of the result, and of arguments.
_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_STRINGS, _POINTERS = map(ctypes.POINTER, (ctypes.c_char_p, _POINTER))
_OUTPUTS, _BUFFER = ctypes.POINTER(_Output), ctypes.POINTER(_Buffer)
_FUNCTIONS = {
  'TF_NewStatus': (_POINTER,),
  'TF_GetCode': (_INT, _POINTER),
  'TF_Message': (ctypes.c_char_p, _POINTER),
  'TF_NewGraph': (_POINTER,),
  'TF_NewSessionOptions': (_POINTER,),
  'TF_NewBuffer': (_BUFFER,),
  # Options, run options, folder, tags, their number, graph, meta graph, status.
  'TF_LoadSessionFromSavedModel': (
    *(_POINTER, _POINTER, _POINTER, ctypes.c_char_p, _STRINGS, _INT),
    *(_POINTER, _BUFFER, _POINTER),
  ),
  'TF_GraphOperationByName': (_POINTER, _POINTER, ctypes.c_char_p),
  # Session, options, inputs, their values and number, likewise outputs, target
  # operations and their number, metadata, status.
  'TF_SessionRun': (
    *(None, _POINTER, _POINTER, _OUTPUTS, _POINTERS, _INT),
    *(_OUTPUTS, _POINTERS, _INT, _POINTER, _INT, _POINTER, _POINTER),
  ),
  'TF_AllocateTensor': (_POINTER, _INT, _POINTER, _INT, _SIZE),
  'TF_DeleteTensor': (None, _POINTER),
  'TF_TensorData': (_POINTER, _POINTER),
  'TF_TensorType': (_INT, _POINTER),
  'TF_TensorByteSize': (_SIZE, _POINTER),
  'TF_NumDims': (_INT, _POINTER),
  'TF_Dim': (ctypes.c_int64, _POINTER, _INT),
  'TF_StringInit': (None, _POINTER),
  'TF_StringCopy': (None, _POINTER, ctypes.c_char_p, _SIZE),
  'TF_StringGetDataPointer': (_POINTER, _POINTER),
  'TF_StringGetSize': (_SIZE, _POINTER),
}


class SavedModel:
  """An export, loaded by the C++ loader.

  Attributes:
    signatures: Name to (inputs, outputs), each from name to tensor.
  """

  def __init__(self, path: str):
    """Loads the export in the folder `path`.

    Raises:
      LoadError: If it does not load.
    """
    self._tf = _load_library()
    self._status = self._tf.TF_NewStatus()
    self._graph = self._tf.TF_NewGraph()
    options = self._tf.TF_NewSessionOptions()
    meta_graph = self._tf.TF_NewBuffer()
    tags = (ctypes.c_char_p * 1)(b'serve')
    self._session = self._tf.TF_LoadSessionFromSavedModel(
      options, None, os.fsencode(path), tags, 1, self._graph, meta_graph,
      self._status,
    )  # fmt: skip
    self._check()
    buffer = meta_graph.contents
    self.signatures = _read_signatures(
      ctypes.string_at(buffer.data, buffer.length)
    )

  def _check(self):
    if self._tf.TF_GetCode(self._status):
      raise LoadError(self._tf.TF_Message(self._status).decode())

  def run(
    self, signature: str, inputs: Mapping[str, Tensor]
  ) -> dict[str, Tensor]:
    """Calls a signature.

    Raises:
      LoadError: If there is no such signature, input or operation, or it fails.
    """
    if signature not in self.signatures:
      raise LoadError(
        f'No signature {signature!r}; there are {sorted(self.signatures)}.'
      )
    names_in, names_out = self.signatures[signature]
    if set(inputs) != set(names_in):
      raise LoadError(
        f'Signature {signature!r} takes {sorted(names_in)}, not '
        f'{sorted(inputs)}.'
      )
    feeds = [self._find(names_in[name]) for name in inputs]
    fetches = [self._find(name) for name in names_out.values()]
    given = [self._make(tensor) for tensor in inputs.values()]
    taken = (ctypes.c_void_p * len(fetches))()
    self._tf.TF_SessionRun(
      self._session, None,
      (_Output * len(feeds))(*feeds), (ctypes.c_void_p * len(given))(*given),
      len(feeds),
      (_Output * len(fetches))(*fetches), taken, len(fetches),
      None, 0, None, self._status,
    )  # fmt: skip
    for tensor in given:
      self._tf.TF_DeleteTensor(tensor)
    self._check()
    return {name: self._take(value) for name, value in zip(names_out, taken)}

  def _find(self, tensor_name: str) -> _Output:
    operation, _, index = tensor_name.partition(':')
    found = self._tf.TF_GraphOperationByName(self._graph, operation.encode())
    if not found:
      raise LoadError(f'The graph has no operation {operation!r}.')
    return _Output(found, int(index or 0))

  def _make(self, tensor: Tensor) -> int:
    """Makes a TF_Tensor."""
    number = {name: number for number, name in _TYPES.items()}[tensor.dtype]
    shape = (ctypes.c_int64 * max(len(tensor.shape), 1))(*tensor.shape)
    data = tensor.data
    size = len(data) * (_STRING_SIZE if isinstance(data, list) else 1)
    made = self._tf.TF_AllocateTensor(number, shape, len(tensor.shape), size)
    start = self._tf.TF_TensorData(made)
    if isinstance(data, bytes):
      ctypes.memmove(start, data, size)
      return made
    for i, value in enumerate(data):
      string = start + i * _STRING_SIZE
      self._tf.TF_StringInit(string)
      self._tf.TF_StringCopy(string, value, len(value))
    return made

  def _take(self, tensor: int) -> Tensor:
    """Reads a TF_Tensor and deletes it."""
    number = self._tf.TF_TensorType(tensor)
    rank = self._tf.TF_NumDims(tensor)
    shape = tuple(self._tf.TF_Dim(tensor, i) for i in range(rank))
    size = self._tf.TF_TensorByteSize(tensor)
    start = self._tf.TF_TensorData(tensor)
    if number == _STRING:
      strings = range(start or 0, (start or 0) + size, _STRING_SIZE)
      at, length = self._tf.TF_StringGetDataPointer, self._tf.TF_StringGetSize
      data: bytes | list[bytes] = [
        ctypes.string_at(at(each), length(each)) for each in strings
      ]
    else:
      data = ctypes.string_at(start, size) if size else b''
    self._tf.TF_DeleteTensor(tensor)
    return Tensor(_TYPES.get(number, f'type {number}'), shape, data)


def _load_library() -> ctypes.CDLL:
  """Loads TensorFlow's C++ from the installed wheel."""
  # Finds the folder; the module itself is not run.
  spec = importlib.util.find_spec('tensorflow')
  if spec is None or not spec.submodule_search_locations:
    raise LoadError('TensorFlow is not installed.')
  folder = spec.submodule_search_locations[0]
  try:
    framework = os.path.join(folder, 'libtensorflow_framework.so.2')
    ctypes.CDLL(framework, mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(os.path.join(folder, 'libtensorflow_cc.so.2'))
  except OSError as e:
    raise LoadError(
      f'The C++ libraries of TensorFlow cannot be loaded ({e}); this check '
      'takes the Linux wheel of TensorFlow 2.15.'
    ) from e
  for name, (result, *arguments) in _FUNCTIONS.items():
    function = getattr(library, name)
    function.argtypes, function.restype = arguments, result
  return library


def _read_signatures(
  meta_graph: bytes,
) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
  """Reads the signatures of a serialized MetaGraphDef."""
  signatures = {}
  for field, entry in _read_fields(meta_graph):
    if field != _SIGNATURES_IN_META_GRAPH:
      continue
    name, definition = _read_entry(entry)
    kinds = (_INPUTS_IN_SIGNATURE, _OUTPUTS_IN_SIGNATURE)
    tensors: dict[int, dict[str, str]] = {kind: {} for kind in kinds}
    for kind, item in _read_fields(definition):
      if kind in tensors:
        argument, info = _read_entry(item)
        tensor_name = dict(_read_fields(info))[_NAME_IN_TENSOR_INFO]
        tensors[kind][argument] = tensor_name.decode()
    signatures[name] = (
      tensors[_INPUTS_IN_SIGNATURE],
      tensors[_OUTPUTS_IN_SIGNATURE],
    )
  return signatures


def _read_entry(message: bytes) -> tuple[str, bytes]:
  """Reads an entry of a protobuf map: key and value."""
  fields = dict(_read_fields(message))
  return fields[1].decode(), fields.get(2, b'')


def _read_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
  """Goes over the fields of a protobuf message that have a length."""
  at = 0

  def varint() -> int:
    nonlocal at
    value = shift = 0
    while True:
      byte = message[at]
      at += 1
      value |= (byte & 0x7F) << shift
      shift += 7
      if byte < 0x80:
        return value

  while at < len(message):
    field, wire = divmod(varint(), 8)
    if wire == 0:
      varint()
      continue
    length = {1: 8, 5: 4}.get(wire)
    if length is None:
      length = varint()
    at += length
    if wire == 2:
      yield field, message[at - length : at]


def from_json(value: dict) -> Tensor:
  """Makes a tensor of what JSON says."""
  decode, data = base64.b64decode, value['data']
  data = [*map(decode, data)] if isinstance(data, list) else decode(data)
  return Tensor(value['dtype'], tuple(value['shape']), data)


def to_json(tensor: Tensor) -> dict:
  """Inverse of `from_json`."""
  parts = tensor.data if isinstance(tensor.data, list) else [tensor.data]
  encoded = [base64.b64encode(part).decode() for part in parts]
  data = encoded if isinstance(tensor.data, list) else encoded[0]
  return {'dtype': tensor.dtype, 'shape': list(tensor.shape), 'data': data}


def _answer(model: SavedModel, request: dict) -> dict:
  """Answers one request."""
  inputs = {n: from_json(v) for n, v in request['inputs'].items()}
  clocks = (time.perf_counter, time.process_time)
  starts = [clock() for clock in clocks]
  try:
    outputs, error = model.run(request['signature'], inputs), ''
  except LoadError as e:
    outputs, error = {}, str(e)
  seconds, cpu = (clock() - start for clock, start in zip(clocks, starts))
  tensors = {n: to_json(v) for n, v in outputs.items()}
  answer = {'error': error} if error else {'outputs': tensors}
  return {**answer, 'seconds': seconds, 'cpu_seconds': cpu}


def main(argv: list[str]) -> None:
  """Runs the requests."""
  program = os.path.basename(argv[0])
  if len(argv) != 4:
    sys.exit(f'usage: {program} EXPORT REQUESTS REPLIES')
  path, requests_file, replies_file = argv[1:]
  with open(requests_file) as f:
    requests = json.load(f)
  start = time.perf_counter()
  try:
    model = SavedModel(path)
  except LoadError as e:
    sys.exit(f'{program}: {e}')
  seconds = time.perf_counter() - start
  replies = [_answer(model, request) for request in requests]
  if 'tensorflow' in sys.modules:
    sys.exit(f'{program}: TensorFlow was imported; this proves nothing.')
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  result = {'replies': replies, 'load_seconds': seconds}
  with open(replies_file, 'w') as f:
    json.dump(result | {'peak_memory': peak}, f)


if __name__ == '__main__':
  main(sys.argv)
