"""Runs an export in two ways: reloaded in Python, and by TensorFlow's C++."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet.export import versions
from official_coatnet.export.verify import c_api
from official_coatnet.export.verify.comparison import Reply, Request, Runner


def run_in_python(path: str) -> Runner:
  """Returns what answers requests by `tf.saved_model.load`."""
  loaded = versions.load(path)

  def answer(request: Request) -> Reply | str:
    # A type is needed where there are no strings.
    dtype = tf.string if request.value.dtype == object else None
    value = tf.constant(request.value, dtype)
    try:
      signature = loaded.signatures[request.signature]
      outputs = signature(**{request.name: value})
    except (KeyError, TypeError, tf.errors.OpError) as e:
      return str(e)
    return {name: value.numpy() for name, value in outputs.items()}

  return lambda requests: [answer(request) for request in requests]


def run_in_cpp(
  path: str,
  requests: Sequence[Request],
  *,
  timeout: float | None = None,
) -> tuple[list[Reply | str], int]:
  """Answers requests in a process of its own, by C++ alone.

  Args:
    path: The export.
    requests: The requests.
    timeout: Seconds it may take.

  Returns:
    A reply to each, or why there is none; and the process's largest memory in
    bytes.

  Raises:
    c_api.LoadError: If the export does not load, or the process dies.
    subprocess.TimeoutExpired: If it takes too long.
  """
  replies, memory, _ = cost_in_cpp(path, requests, timeout=timeout)
  return replies, memory


def cost_in_cpp(
  path: str,
  requests: Sequence[Request],
  *,
  timeout: float | None = None,
) -> tuple[list[Reply | str], int, list[float]]:
  """As `run_in_cpp`; returns the seconds of CPU that each request took, too."""
  answers = _run_c_api(path, requests, timeout=timeout)
  replies = [
    answer['error']
    if 'error' in answer
    else {
      name: _to_array(c_api.from_json(value))
      for name, value in answer['outputs'].items()
    }
    for answer in answers['replies']
  ]
  cpu = [answer['cpu_seconds'] for answer in answers['replies']]
  return replies, answers['peak_memory'], cpu


def time_in_cpp(
  path: str, requests: Sequence[Request]
) -> tuple[float, list[float]]:
  """Measures how long the export and requests take, as `run_in_cpp` runs them.

  Returns:
    Seconds until the export is loaded, and seconds of each request.

  Raises:
    c_api.LoadError: If the export does not load, a request fails, or the
      process dies.
  """
  answers = _run_c_api(path, requests)
  for answer in answers['replies']:
    if 'error' in answer:
      raise c_api.LoadError(answer['error'])
  return answers['load_seconds'], [a['seconds'] for a in answers['replies']]


def _run_c_api(
  path: str, requests: Sequence[Request], *, timeout: float | None = None
) -> dict[str, Any]:
  """Runs `c_api` as a process, and returns what it writes."""
  with tempfile.TemporaryDirectory() as folder:
    files = [os.path.join(folder, name) for name in ('requests', 'replies')]
    with open(files[0], 'w') as f:
      json.dump([_to_json(request) for request in requests], f)
    process = subprocess.run(
      # -P: without the folder of the file, whose modules are not for it.
      [sys.executable, '-P', c_api.__file__, os.path.abspath(path), *files],
      capture_output=True,
      text=True,
      errors='replace',
      timeout=timeout,
      check=False,
    )
    if process.returncode:
      reason = process.stderr.strip()[-1000:]
      raise c_api.LoadError(reason or f'exit code {process.returncode}')
    with open(files[1]) as f:
      return json.load(f)


def _to_json(request: Request) -> dict:
  value = request.value
  if value.dtype == object:
    tensor = c_api.Tensor('string', value.shape, value.reshape(-1).tolist())
  else:
    tensor = c_api.Tensor(value.dtype.name, value.shape, value.tobytes())
  inputs = {request.name: c_api.to_json(tensor)}
  return {'signature': request.signature, 'inputs': inputs}


def _to_array(tensor: c_api.Tensor) -> np.ndarray:
  if isinstance(tensor.data, bytes):
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
  values = np.empty([len(tensor.data)], object)
  values[:] = tensor.data
  return values.reshape(tensor.shape)
