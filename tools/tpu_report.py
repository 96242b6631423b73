"""Says what a run's training step costs on a TPU, without a TPU.

    make tpu-report     # once: the TPU's compiler, in an environment of its own
    python tools/tpu_report.py --gin_file=gin/imagenet1k_coatnet0.gin \
      --topology=v3

The figures are estimates of the TPU's own compiler, for one core. With --memory
the whole step is compiled as one, which takes minutes, and its memory is said,
or the largest batch that fits; with --memory_by=depths shallower networks are
compiled in its place, where that would take too long. Results are kept, so that
a second report of the same blocks takes seconds. With --tables it writes the
tables of docs/tpu.md.
"""

import tools.prologue

import json
import math
import os
import sys

import tensorflow as tf
from absl import app, flags

from official_coatnet import files
from official_coatnet.analysis.tpu import (
  compiler,
  memory,
  report as report_lib,
  tables as tables_lib,
)
from official_coatnet.training import gin_config
from tools import gin_flags, path_flags, progress

_PAGE = os.path.join(tools.prologue.ROOT, 'docs', 'tpu.md')
_FIGURES = os.path.join(tools.prologue.ROOT, 'docs', 'tpu.json')

_GIN = gin_flags.DEFINE_gin(
  [],
  file_help='Gin file of the run.',
  bindings_help='Bindings over --gin_file, such as "IMAGE_SIZE = 384".',
)
_TOPOLOGY = flags.DEFINE_string(
  'topology', 'v3', f'One of {", ".join(compiler.TOPOLOGIES)}.'
)
_BATCH_PER_CORE = flags.DEFINE_integer(
  'batch_per_core', 16, 'Images of a step on one core.', lower_bound=1
)
_MEMORY = flags.DEFINE_bool(
  'memory', False, 'Whether to compile the whole step and say its memory.'
)
_MEMORY_BY = flags.DEFINE_enum(
  'memory_by',
  'whole',
  ('whole', 'depths'),
  'With --memory: whether to compile the network as it is, or a few shallower '
  'ones, and to extend what they need to its depth.',
)
_FORMAT = flags.DEFINE_enum(
  'format', 'table', ('table', 'json'), 'Of the output.'
)
_TABLES = flags.DEFINE_list(
  'tables',
  None,
  'Instead of --gin_file: tables of docs/tpu.md to cost and write, such as '
  '"table5,norm", "all", or "none", which writes the page from what is known.',
)
_CACHE_DIR = path_flags.DEFINE_path(
  'cache_dir', str(compiler.DEFAULT_CACHE), 'Where results are kept.'
)


def _report() -> str:
  experiment = _GIN.load()
  common = dict(topology=_TOPOLOGY.value, cache_dir=_CACHE_DIR.value)
  # First, since a part of a batch that does not fit may not fit either.
  measured = _memory(experiment, **common) if _MEMORY.value else None
  report = report_lib.cost(
    experiment,
    batch_per_core=_BATCH_PER_CORE.value,
    on_lowered=progress.Progress('parts lowered'),
    on_compiled=progress.Progress('parts compiled'),
    **common,
  )
  text = report_lib.format_cost(report)
  if measured:
    report['whole_step'] = measured
    ratio = report['cycles'] / measured['cycles']
    text += (
      f'\n{memory.format_memory(measured)} The sum of the parts is '
      f'{ratio:.3f} of that.'
    )
  return json.dumps(report, indent=2) if _FORMAT.value == 'json' else text


def _memory(experiment, **common):
  """Returns the whole step's figures, or says the largest batch that fits."""
  found, start = {}, _BATCH_PER_CORE.value

  def measure(batch):
    if _MEMORY_BY.value == 'depths':
      print(f'Compiling shallower steps of {batch} images.', file=sys.stderr)
      found[batch] = memory.measure_by_depths(
        experiment,
        batch_per_core=batch,
        progress=progress.Progress('depths compiled'),
        **common,
      )
    else:
      print(f'Compiling the step of {batch} images as one.', file=sys.stderr)
      found[batch] = memory.measure(experiment, batch_per_core=batch, **common)
    return found[batch]

  measured = measure(start)
  if not measured['fits']:
    largest, _ = memory.largest_batch(
      lambda batch: memory.needed_and_available(
        found.get(batch) or measure(batch)
      ),
      start,
      step=_batch_unit(experiment),
    )
    raise MemoryError(
      memory.out_of_memory_line(
        measured, largest=largest, topology=_TOPOLOGY.value
      )
    )
  return measured


def _batch_unit(experiment) -> int:
  """Returns what the batch of a core must be a multiple of."""
  microbatches = experiment.optimizer.microbatches
  # Mixup pairs the images of a core.
  pairs = 2 if experiment.train_data.mixup_alpha else 1
  return math.lcm(microbatches, pairs)


def _write_tables() -> str:
  """Costs rows that have no figures, and writes the page after each."""
  names = {'all': [], 'none': None}.get(_TABLES.value[0], _TABLES.value)
  figures = tables_lib.read_figures(_FIGURES)
  tables = [] if names is None else tables_lib.get_tables(names)
  rows = {row.key: row for table in tables for row in table.rows}
  missing = [row for key, row in rows.items() if key not in figures]
  done = progress.Progress('rows')
  _write_page(figures)
  for i, row in enumerate(missing, 1):
    print(f'{row.label}: {row.key}', file=sys.stderr)
    experiment = gin_config.load(
      [row.gin_file], row.bindings, root=tools.prologue.ROOT
    )
    report = report_lib.cost(
      experiment,
      topology=row.topology,
      batch_per_core=row.batch_per_core,
      mode=row.mode,
      cache_dir=_CACHE_DIR.value,
      on_compiled=progress.Progress('parts compiled'),
    )
    figures[row.key] = tables_lib.make_figures(
      report, compiler=compiler.compiler_version()
    )
    tables_lib.write_figures(_FIGURES, figures)
    _write_page(figures)
    done(i, len(missing))
  return f'{len(missing)} rows costed; written: {_PAGE}'


def _write_page(figures):
  with open(_PAGE) as f:
    page = f.read()
  page = tables_lib.put_into_page(page, tables_lib.render(figures))
  files.write_text(_PAGE, page)


def main(argv):
  """Prints a report, or writes the tables."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  if bool(_GIN.files.value) == bool(_TABLES.value):
    raise app.UsageError('Give --gin_file, the run to report on, or --tables.')
  tf.get_logger().setLevel('ERROR')
  print(_write_tables() if _TABLES.value else _report())


if __name__ == '__main__':
  # A block that the TPU's compiler refuses is a RuntimeError.
  tools.prologue.run(main, mendable=(RuntimeError,))
