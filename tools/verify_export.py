"""Verifies an export: does it answer what the trained network answers?

    python tools/verify_export.py runs/exports/1

It runs the network from the run's checkpoint, step by step, on images that go
through the run's evaluation pipeline; the export reloaded in Python; and the
export loaded by TensorFlow's C++ in a process without TensorFlow's Python, as a
server does; in all signatures and in batches of 1, 2, 3, 8 and 17. It replays
the warm-up file, sends an empty batch and an image that is cut off. The exit
code is 1 if anything differs, otherwise 0.
"""

import tools.prologue

import glob
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from official_coatnet.export import versions
from official_coatnet.export.verify import (
  c_api,
  comparison,
  fuzzing,
  samples,
  verification,
)
from tools import c_loader, progress

_MODEL_DIR = flags.DEFINE_string(
  'model_dir', None, 'Folder of the run, if it is no longer where it was.'
)
_IMAGES = flags.DEFINE_string(
  'images',
  None,
  "Pattern of image files to use, such as 'photos/*.jpg'. By default samples "
  'of every format, made for it.',
)
_FUZZ = flags.DEFINE_integer(
  'fuzz', 0, 'Damaged images to send as well; 10000 take some minutes.'
)

# Damaged images that one process answers, and how many seconds and bytes of
# memory it may take for them, the network included.
_FUZZ_CHUNK = 500
_FUZZ_TIMEOUT = 1200
_FUZZ_MEMORY = 2e9


def call_cpp(
  path: str,
  requests: Sequence[comparison.Request],
  *,
  timeout: float | None = None,
) -> tuple[list[comparison.Reply | str], int]:
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
  with tempfile.TemporaryDirectory() as folder:
    files = [os.path.join(folder, name) for name in ('requests', 'replies')]
    with open(files[0], 'w') as f:
      json.dump([_to_json(request) for request in requests], f)
    process = subprocess.run(
      [sys.executable, c_loader.__file__, os.path.abspath(path), *files],
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
      answers = json.load(f)
  replies = [
    answer['error']
    if 'error' in answer
    else {
      name: _to_array(c_loader.from_json(value))
      for name, value in answer['outputs'].items()
    }
    for answer in answers['replies']
  ]
  return replies, answers['peak_memory']


def fuzz(path: str, *, count: int, seed: int = 0) -> comparison.Check:
  """Sends damaged images, each in a request of its own, to TensorFlow's C++.

  Args:
    path: The export.
    count: How many.
    seed: Of the damage.
  """
  originals = samples.images(16, side=64)
  show = progress.Progress('damaged images')
  problems, refused, peak = [], 0, 0
  for start in range(0, count, _FUZZ_CHUNK):
    numbers = range(start, min(start + _FUZZ_CHUNK, count))
    requests = []
    for i in numbers:
      value = np.empty([1], object)
      value[0] = fuzzing.make_image(i, originals, seed=seed)
      requests.append(
        comparison.Request('serving_default', 'image_bytes', value)
      )
    try:
      replies, memory = call_cpp(path, requests, timeout=_FUZZ_TIMEOUT)
    except (c_api.LoadError, subprocess.TimeoutExpired) as e:
      problems.append(f'images {numbers[0]} to {numbers[-1]}: {e}')
      continue
    peak = max(peak, memory)
    for i, reply in zip(numbers, replies):
      if isinstance(reply, str) or not reply.get('ok', np.ones(1)).all():
        refused += 1
      elif not np.isfinite(reply['logits']).all():
        problems.append(f'image {i}: the logits are not finite')
    show(numbers[-1] + 1, count)
  if peak > _FUZZ_MEMORY:
    problems.append(f'{peak / 1e9:.2f} GB of memory')
  name = f'C++: {count} damaged images, {refused} refused'
  return comparison.Check(f'{name}, at most {peak / 1e9:.2f} GB', problems)


def _to_json(request: comparison.Request) -> dict:
  value = request.value
  if value.dtype == object:
    tensor = c_api.Tensor('string', value.shape, value.reshape(-1).tolist())
  else:
    tensor = c_api.Tensor(value.dtype.name, value.shape, value.tobytes())
  inputs = {request.name: c_loader.to_json(tensor)}
  return {'signature': request.signature, 'inputs': inputs}


def _to_array(tensor: c_api.Tensor) -> np.ndarray:
  if tensor.dtype != 'string':
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
  values = np.empty([len(tensor.data)], object)
  values[:] = tensor.data
  return values.reshape(tensor.shape)


def _read_images(pattern: str) -> list[bytes]:
  """Reads images, and repeats them if they are few."""
  files = sorted(glob.glob(pattern))
  if not files:
    raise ValueError(f'--images={pattern} matches no file.')
  count = max(comparison.BATCH_SIZES)
  encoded = []
  for file in files[:count]:
    with open(file, 'rb') as f:
      encoded.append(f.read())
  return (encoded * count)[:count]


def format_check(check: comparison.Check) -> str:
  """Writes a check as one line, or more if there are problems."""
  difference = ''
  if check.difference is not None:
    difference = f'  largest difference {check.difference:.2g}'
  state = 'FAILED' if check.problems else 'ok'
  lines = [f'{state:<7} {check.name}{difference}']
  return '\n'.join([*lines, *(f'          {p}' for p in check.problems)])


def main(argv):
  """Verifies and prints."""
  if len(argv) != 2:
    raise app.UsageError('Name one export, such as runs/exports/1.')
  logging.set_verbosity(logging.ERROR)
  tf.get_logger().setLevel('ERROR')
  path = argv[1]
  try:
    if not tf.saved_model.contains_saved_model(path):
      path = versions.find_latest(path)
    checks = verification.verify(
      path,
      runners={
        'Python': verification.run_in_python(path),
        'C++': lambda requests: call_cpp(path, requests)[0],
      },
      model_dir=_MODEL_DIR.value,
      encoded=_IMAGES.value and _read_images(_IMAGES.value),
    )
    if _FUZZ.value:
      checks.append(fuzz(path, count=_FUZZ.value))
  except (
    ValueError,
    OSError,
    c_api.LoadError,
    tf.errors.OpError,
  ) as e:
    # What the user can mend, in one message and without a traceback.
    sys.exit(f'{os.path.basename(sys.argv[0])}: {e}')
  for check in checks:
    print(format_check(check))
  failed = sum(bool(check.problems) for check in checks)
  if failed:
    print(f'{path}: {failed} of {len(checks)} checks failed.')
    sys.exit(1)
  print(f'{path}: all {len(checks)} checks passed.')


if __name__ == '__main__':
  app.run(main)
