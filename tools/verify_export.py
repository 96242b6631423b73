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

import sys

import tensorflow as tf
from absl import app, flags, logging

from official_coatnet.export import batching, versions
from official_coatnet.export.verify import (
  c_api,
  comparison,
  contents,
  fuzzing,
  runners,
  samples,
  verification,
)
from official_coatnet.training import model_dir
from tools import path_flags, progress

_MODEL_DIR = path_flags.DEFINE_path(
  'model_dir', None, 'Folder of the run, if it is no longer where it was.'
)
_IMAGES = path_flags.DEFINE_path(
  'images',
  None,
  "Pattern of image files to use, such as 'photos/*.jpg'. By default samples "
  'of every format, made for it.',
)
_BATCHING_CONFIG = path_flags.DEFINE_path(
  'batching_config',
  None,
  "The server's --batching_parameters_file, to check that it goes with the "
  'export.',
)
_FUZZ = flags.DEFINE_integer(
  'fuzz',
  0,
  'Damaged images to send as well, and files made to cost much; none may take '
  'over 2 s of CPU. 10000 take some minutes.',
  lower_bound=0,
)
# Before and after `verification.STEPS`, and measured as they were.
_LOAD = {'loading the export': 1.2}
_BOMBS = {'sending files made to cost much': 30.0}


def _read_images(pattern: str) -> list[bytes]:
  """Reads images, and repeats them if they are few."""
  encoded, count = samples.read_images(pattern), max(comparison.BATCH_SIZES)
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
  path = versions.find_export(*path_flags.expand(argv[1:]))
  steps = {**_LOAD, **verification.STEPS, **(_BOMBS if _FUZZ.value else {})}
  scale = progress.depth(model_dir.read_experiment(path).model)
  with progress.Steps(f'Verifying {path}', steps, scale=scale) as show:
    show(*_LOAD)
    checks = verification.verify(
      path,
      runners={
        'Python': runners.run_in_python(path),
        'C++': lambda requests: runners.run_in_cpp(path, requests)[0],
      },
      model_dir=_MODEL_DIR.value,
      encoded=_IMAGES.value and _read_images(_IMAGES.value),
      on_step=show,
    )
    if _FUZZ.value:
      show(*_BOMBS)
      checks += fuzzing.send_bombs(path)
  if _BATCHING_CONFIG.value:
    config = batching.read(_BATCHING_CONFIG.value)
    checks.append(contents.check_batching(path, config))
  if _FUZZ.value:
    with progress.Progress('damaged images') as count:
      count(0, _FUZZ.value)
      checks.append(
        fuzzing.send_damaged(path, count=_FUZZ.value, progress=count)
      )
  for check in checks:
    print(format_check(check))
  failed = sum(bool(check.problems) for check in checks)
  if failed:
    print(f'{path}: {failed} of {len(checks)} checks failed.')
    sys.exit(1)
  print(f'{path}: all {len(checks)} checks passed.')


if __name__ == '__main__':
  tools.prologue.run(main, mendable=(c_api.LoadError,))
