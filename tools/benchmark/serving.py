"""How fast an export answers, against the network as it was trained.

    python tools/benchmark/serving.py

exports a network with random weights in two ways, folded (the default of
tools/export.py) and with --nofold, and prints, from one run in which all took
turns:

*   latency of one encoded image, images a second of 8 and 32 at once, and the
    ratios of the folded export to the other.
*   the share of each measure: relative bias looked up once, BatchNorms folded,
    operations for oneDNN, variables frozen to constants, XLA.
*   the first request after the start with and without warm-up requests, over
    the median request.
*   the size of a request in JSON, as encoded bytes and as a list of pixels, and
    the time to write and read it.

On one thread times are CPU seconds, those of an idle machine; with more threads
they are seconds of the clock, and the machine has to be idle.
"""

import tools.prologue

import base64
import json
import os
import statistics
import tempfile
import time

import tensorflow as tf
from absl import app, flags, logging

from official_coatnet.export import saved_model
from tools.benchmark import serving_variants, timing

_MODEL = flags.DEFINE_string('model', 'coatnet_0', 'Row of the size table.')
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 224, 'In pixels.', lower_bound=32
)
_BATCH_SIZES = flags.DEFINE_list(
  'batch_sizes', ['1', '8', '32'], 'Images a request.'
)
_SHARES_BATCH = flags.DEFINE_integer(
  'shares_batch',
  8,
  'Images a request of the table of shares; 0 for no table.',
  lower_bound=0,
)
_THREADS = flags.DEFINE_integer('threads', 1, 'Threads.', lower_bound=1)
_ROUNDS = flags.DEFINE_integer(
  'rounds', 7, 'Rounds in which the variants take turns.', lower_bound=1
)
_XLA = flags.DEFINE_bool('xla', True, 'Whether to measure XLA too.')

# Images a second of 8 at once, folded over not folded.
_TARGET = 1.15
_TARGET_BATCH = 8
_FIRST_REQUEST_TARGET = 1.5


def _print_first_requests(path: str, *, batch_size: int):
  """Starts a server's worth of state anew, and times its requests."""
  for warm_up in (True, False):
    request = serving_variants.load_request(path, batch_size=batch_size)
    if warm_up:
      request()
      request()  # TensorFlow optimises a graph once, and oneDNN its kernels.
    seconds = []
    for _ in range(6):
      start = time.process_time() if _THREADS.value == 1 else time.time()
      request()
      end = time.process_time() if _THREADS.value == 1 else time.time()
      seconds.append(end - start)
    ratio = seconds[0] / statistics.median(seconds[1:])
    print(
      f'first request of {batch_size} {"after" if warm_up else "without"} '
      f'warm-up: {ratio:.2f} times the median of the next five'
      + (f'  (at most {_FIRST_REQUEST_TARGET})' if warm_up else '')
    )


def _print_exports(paths: dict[str, str], *, clock):
  print(f'\n{"images a request":>17s} {"--nofold":>18s} {"folded":>18s}  ratio')
  for size in (int(each) for each in _BATCH_SIZES.value):
    comparison = timing.compare(
      {
        name: serving_variants.load_request(path, batch_size=size)
        for name, path in paths.items()
      },
      rounds=_ROUNDS.value,
      clock=clock,
    )
    cells = [
      f'{1e3 * size / rate:7.0f} ms {rate:5.1f}/s'
      for rate in (comparison.rate('nofold'), comparison.rate('folded'))
    ]
    ratio = comparison.ratio('folded', to='nofold')
    verdict = ''
    if size == _TARGET_BATCH:
      verdict = f'  (at least {_TARGET})'
      verdict += '' if ratio >= _TARGET else '  BELOW'
    print(f'{size:17d} {cells[0]:>18s} {cells[1]:>18s}  {ratio:5.3f}{verdict}')


def _print_shares(config, *, clock):
  variants = serving_variants.make_networks(
    config, batch_size=_SHARES_BATCH.value, xla=_XLA.value
  )
  comparison = timing.compare(variants, rounds=_ROUNDS.value, clock=clock)
  print(
    f'\n{"network alone":32s} images/s  over as trained  '
    f'({_SHARES_BATCH.value} at once)'
  )
  for name in variants:
    ratio = comparison.ratio(name, to='as trained')
    print(f'{name:32s} {comparison.rate(name):8.2f} {ratio:16.3f}')


def _print_payloads():
  print('\none image in JSON')
  image = serving_variants.photograph(_IMAGE_SIZE.value)
  encoded = tf.io.encode_jpeg(image, quality=90).numpy()
  bodies = {
    'encoded bytes': {'b64': base64.b64encode(encoded).decode()},
    'list of pixels': image.tolist(),
  }
  for name, body in bodies.items():
    seconds = []
    for _ in range(9):
      start = time.process_time()
      text = json.dumps({'instances': [body]})
      json.loads(text)
      seconds.append(time.process_time() - start)
    elapsed = statistics.median(seconds)
    print(f'{name:16s} {len(text):9,d} bytes {1e3 * elapsed:7.2f} ms')


def _check_batch_sizes():
  sizes = _BATCH_SIZES.value
  if not sizes or not all(size.isdecimal() and int(size) for size in sizes):
    raise app.UsageError(
      f'--batch_sizes is {",".join(sizes)!r}; it must be numbers from 1 with '
      'commas between them, such as 1,8,32.'
    )


def main(argv):
  """Runs the benchmark."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  _check_batch_sizes()
  logging.set_verbosity(logging.WARNING)
  tf.get_logger().setLevel('ERROR')
  tf.config.threading.set_inter_op_parallelism_threads(1)
  tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
  clock = time.perf_counter
  if _THREADS.value == 1:
    clock = timing.idle_cpu_seconds
  with tempfile.TemporaryDirectory() as folder:
    experiment = serving_variants.make_run(
      folder, model=_MODEL.value, image_size=_IMAGE_SIZE.value
    )
    exports = os.path.join(folder, 'exports')
    paths = {
      'nofold': saved_model.export(folder, exports, fold=False),
      'folded': saved_model.export(folder, exports),
    }
    # Before anything has filled a cache of the process.
    _print_first_requests(paths['folded'], batch_size=1)
    _print_exports(paths, clock=clock)
  if _SHARES_BATCH.value:
    _print_shares(experiment.model, clock=clock)
  _print_payloads()


if __name__ == '__main__':
  tools.prologue.run(main)
