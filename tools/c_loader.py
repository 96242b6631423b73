"""Runs requests on an export by TensorFlow's C++ alone, as a server does.

    python tools/c_loader.py runs/exports/1 requests.json replies.json

tools/verify_export.py calls it. TensorFlow's Python is never imported. Requests
are a list of {"signature", "inputs": {name: tensor}}; what is written is
{"replies", "peak_memory"}: a list of {"outputs": {name: tensor}} or {"error":
why there are none}, and bytes. A tensor is {"dtype", "shape", "data"}: base64
of its bytes, or a list of these for strings.
"""

import tools.prologue

import base64
import json
import resource
import sys

from official_coatnet.export.verify import c_api


def from_json(value: dict) -> c_api.Tensor:
  """Makes a tensor of what JSON says."""
  data = value['data']
  if value['dtype'] == 'string':
    data = [base64.b64decode(each) for each in data]
  else:
    data = base64.b64decode(data)
  return c_api.Tensor(value['dtype'], tuple(value['shape']), data)


def to_json(tensor: c_api.Tensor) -> dict:
  """Inverse of `from_json`."""
  data = tensor.data
  if isinstance(data, list):
    data = [base64.b64encode(each).decode() for each in data]
  else:
    data = base64.b64encode(data).decode()
  return {'dtype': tensor.dtype, 'shape': list(tensor.shape), 'data': data}


def answer(model: c_api.SavedModel, request: dict) -> dict:
  """Answers one request."""
  inputs = {n: from_json(v) for n, v in request['inputs'].items()}
  try:
    outputs = model.run(request['signature'], inputs)
  except c_api.LoadError as e:
    return {'error': str(e)}
  return {'outputs': {n: to_json(v) for n, v in outputs.items()}}


def main(arguments: list[str]) -> None:
  """Runs the requests."""
  if len(arguments) != 3:
    sys.exit('usage: c_loader.py EXPORT REQUESTS REPLIES')
  path, requests_file, replies_file = arguments
  with open(requests_file) as f:
    requests = json.load(f)
  try:
    model = c_api.SavedModel(path)
  except c_api.LoadError as e:
    sys.exit(f'c_loader.py: {e}')
  replies = [answer(model, request) for request in requests]
  if 'tensorflow' in sys.modules:
    sys.exit('c_loader.py: TensorFlow was imported; this proves nothing.')
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  with open(replies_file, 'w') as f:
    json.dump({'replies': replies, 'peak_memory': peak}, f)


if __name__ == '__main__':
  main(sys.argv[1:])
