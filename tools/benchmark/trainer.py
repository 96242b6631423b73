"""How fast a training run is, against its compiled step alone.

    python tools/benchmark/trainer.py --gin_file=gin/demo.gin --data=digits

runs what tools/train.py runs with --mode=train (input with its decoding,
orbit's loop, progress, metrics.jsonl, TensorBoard events, checkpoints), and
before each of its loops a bare one: the same compiled function for as many
steps, on a batch that stays in memory. It prints milliseconds a step of both
and of the input without the step, and last the ratio of their speeds.

Ratios are medians over the time between two checkpoints, each of which has its
share of everything; the first two loops are left out. CPU seconds count all
threads, until they are idle: on a busy machine they alone say something. What a
checkpoint costs is shared out over RunConfig.checkpoint_interval_steps: the
shorter it is bound for the benchmark, the lower is the ratio.
"""

import tools.prologue

import os
import tempfile

import tensorflow as tf
from absl import app, flags, logging

from official_coatnet.records import demo
from official_coatnet.training import (
  controller,
  devices,
  gin_config,
)
from tools import gin_flags
from tools.benchmark import trainer_variants

_GIN = gin_flags.DEFINE_gin(
  ['gin/demo.gin'],
  file_help='Gin file of the run.',
  bindings_help='Bindings over the file, such as "BATCH_SIZE = 8".',
)
_DATA = flags.DEFINE_enum(
  'data',
  None,
  ('digits', 'photographs'),
  'Records to make and to train on: those of the demo, or JPEG files as large '
  'as those of ImageNet. Without it, those that DATA_DIR names.',
)
_NUM_IMAGES = flags.DEFINE_integer(
  'num_images', 128, 'Different photographs.', lower_bound=1
)
_THREADS = flags.DEFINE_integer(
  'threads',
  0,
  'Threads, within and between operations; 0 for what tools/train.py takes, '
  "TensorFlow's choice.",
  lower_bound=0,
)

_TARGET = 0.95


def _write_data(folder: str):
  if _DATA.value == 'digits':
    demo.write_digits(folder)
  else:
    trainer_variants.write_photographs(folder, num_images=_NUM_IMAGES.value)


def _run(experiment, *, folder: str) -> trainer_variants.Pairs:
  pairs = trainer_variants.Pairs()
  with trainer_variants.paired_trainer(pairs):
    controller.run(
      experiment,
      mode='train',
      model_dir=folder,
      strategy=devices.make_strategy(),
      on_start=lambda: gin_config.write_config(folder),
      on_first_loop=lambda: gin_config.write_operative_config(folder),
    )
  return pairs


def main(argv):
  """Runs the benchmark."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)
  tf.get_logger().setLevel('ERROR')
  tf.config.threading.set_inter_op_parallelism_threads(_THREADS.value)
  tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
  bindings: tuple[str, ...] = ()
  with tempfile.TemporaryDirectory() as folder:
    if _DATA.value:
      data = os.path.join(folder, 'data')
      _write_data(data)
      bindings = (f'DATA_DIR = {data!r}',)
    experiment = _GIN.load(also=bindings)
    pairs = _run(experiment, folder=os.path.join(folder, 'run'))
    of_input = trainer_variants.input_seconds(experiment, num_batches=8)
  by_cpu, by_wall = (pairs.ratio(clock=clock) for clock in (0, 1))
  print(f'{len(pairs.loops)} loops, {pairs.period} to a checkpoint')
  print(f'{"ms a step":18s} {"CPU":>9s} {"wall":>9s}')
  for name, (cpu, wall) in {
    'whole': pairs.seconds('whole'),
    'bare': pairs.seconds('bare'),
    'input alone': of_input,
  }.items():
    print(f'{name:18s} {1e3 * cpu:9.2f} {1e3 * wall:9.2f}')
  print(f'whole trainer / bare loop, by wall time: {by_wall:.3f}')
  verdict = '' if by_cpu >= _TARGET else '  BELOW'
  print(
    f'whole trainer / bare loop, by CPU time: {by_cpu:.3f}  '
    f'(at least {_TARGET}){verdict}'
  )


if __name__ == '__main__':
  tools.prologue.run(main)
