"""Verifies an export: does it answer what the trained network answers?

    python tools/verify_export.py runs/exports/1

It runs the network from the run's checkpoint, step by step, on images that go
through the run's evaluation pipeline; the export reloaded in Python; and the
export loaded by TensorFlow's C++ in a process without TensorFlow's Python, as a
server does; in all signatures and in batches of 1, 2, 3, 8 and 17. It replays
the warm-up file, sends an empty batch and an image that is cut off. The exit
code is 1 if anything differs, otherwise 0.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# So that the tool runs from a clone, from any folder, without installation.
sys.path.insert(0, _ROOT)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags, logging  # noqa: E402

from official_coatnet.export import c_api, verification, versions  # noqa: E402
from tools import c_loader  # noqa: E402

_MODEL_DIR = flags.DEFINE_string(
  'model_dir', None, 'Folder of the run, if it is no longer where it was.'
)
_IMAGES = flags.DEFINE_string(
  'images',
  None,
  "Pattern of image files to use, such as 'photos/*.jpg'. By default samples "
  'of every format, made for it.',
)


def run_in_cpp(path: str) -> verification.Runner:
  """Returns what answers requests in a process of its own, by C++ alone."""

  def run(
    requests: list[verification.Request],
  ) -> list[verification.Reply]:
    with tempfile.TemporaryDirectory() as folder:
      files = [os.path.join(folder, name) for name in ('requests', 'replies')]
      with open(files[0], 'w') as f:
        json.dump([_to_json(request) for request in requests], f)
      process = subprocess.run(
        [sys.executable, c_loader.__file__, path, *files],
        capture_output=True,
        text=True,
        check=False,
      )
      if process.returncode:
        raise c_api.LoadError(process.stderr.strip())
      with open(files[1]) as f:
        replies = json.load(f)
    return [
      {name: _to_array(c_loader.from_json(v)) for name, v in reply.items()}
      for reply in replies
    ]

  return run


def _to_json(request: verification.Request) -> dict:
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
  count = max(verification.BATCH_SIZES)
  encoded = []
  for file in files[:count]:
    with open(file, 'rb') as f:
      encoded.append(f.read())
  return (encoded * count)[:count]


def format_check(check: verification.Check) -> str:
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
        'C++': run_in_cpp(os.path.abspath(path)),
      },
      model_dir=_MODEL_DIR.value,
      encoded=_IMAGES.value and _read_images(_IMAGES.value),
    )
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
