"""What a run's training step costs on a TPU, by the compiler's own estimate.

Costing a network compiles each distinct part of its training step once
(`step`) and sums; the memory is that of the whole step, compiled as one.
Nothing here was measured on a TPU. Not in the figures: the sum of the gradients
over cores, and waiting for the host.
"""

import collections
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from official_coatnet.analysis.tpu import compiler, step
from official_coatnet.modeling import complexity
from official_coatnet.training import experiment as experiment_lib

ESTIMATE = (
  "Estimates of the TPU's compiler for one core, not measurements; without "
  'the sum of gradients over cores and without the input pipeline.'
)
MODES = ('train', 'forward', 'forward_cached')
_GIB = 2**30


def cost(
  experiment: experiment_lib.Experiment,
  *,
  topology: str,
  batch_per_core: int,
  mode: str = 'train',
  cache_dir: str | os.PathLike | None = compiler.DEFAULT_CACHE,
  on_lowered: Callable[[int, int], None] | None = None,
  on_compiled: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
  """Costs the training step of a run on one core, or its inference.

  Args:
    experiment: The run.
    topology: One of `compiler.TOPOLOGIES`.
    batch_per_core: Images of a step on one core.
    mode: One of `MODES`: the training step, or inference with or without
      cached relative biases.
    cache_dir: As in `compiler.compile_modules`.
    on_lowered: Called with how many parts are lowered, of how many.
    on_compiled: Called with how many are compiled, of how many.

  Returns:
    What `sum_up` returns, and `model`, `image_size`, `dtype`.

  Raises:
    ValueError: If the topology is unknown or the batch does not suit.
    FileNotFoundError: If the compiler is not installed.
    RuntimeError: If the compiler fails.
    MemoryError: If a part alone does not fit.
  """
  target = compiler.get_topology(topology)
  compiler.find_python()  # Before minutes of lowering.
  local = step.with_batch(experiment, batch_per_core)
  flops = model_flops(experiment)
  if mode != 'train':
    flops /= 3  # Without the backward pass.
  parts = _lower(local, mode=mode, progress=on_lowered)
  results = compiler.compile_modules(
    {part.name: part.module for part in parts},
    topology=topology,
    cache_dir=cache_dir,
    progress=on_compiled,
  )
  for name, result in results.items():
    check(result, what=f'{name} at {batch_per_core} images a core')
  sums = sum_up(
    parts,
    results,
    target=target,
    batch_per_core=batch_per_core,
    flops_per_image=flops,
  )
  return {
    'model': experiment.model.name,
    'image_size': list(experiment.model.height_width),
    'dtype': experiment.model.dtype,
    'topology': topology,
    **sums,
  }


def _lower(experiment, *, mode: str, progress) -> list[step.Part]:
  if mode == 'train':
    return step.lower_parts(experiment, progress=progress)
  cached = mode == 'forward_cached'
  return step.lower_forward(experiment, cache_bias=cached, progress=progress)


def model_flops(experiment: experiment_lib.Experiment) -> float:
  """Returns the operations of a step for one image that the model asks for.

  Two for each multiply-add of the forward pass, and twice as many for the
  backward pass; look-ups of the relative bias, recomputation and element-wise
  work are left out. This is the numerator of model FLOP utilisation.
  """
  return 6.0 * complexity.count(experiment.model)[-1].multiply_adds


def sum_up(
  parts: Sequence[step.Part],
  results: Mapping[str, compiler.Compiled],
  *,
  target: compiler.Topology,
  batch_per_core: int,
  flops_per_image: float,
) -> dict[str, Any]:
  """Adds up the parts of a step.

  Args:
    parts: Of `step.lower_parts`.
    results: By the parts' names.
    target: The core.
    batch_per_core: Images of a step.
    flops_per_image: Of `model_flops`.

  Returns:
    `estimate`, what the figures are; `batch_per_core`, `cycles`, `ms`,
    `images_per_second_per_core` and `model_flop_utilization` (0 to 1) of a
    step; `peak_flops` of a core; `uncosted`, opcodes without an estimate, which
    are not in the sum, and how many; `parts`, a list of `name`, `stage`,
    `count`, `cycles` (of one); and `stages`, a list of `stage`, `parts` (how
    many), `cycles`, `ms` and `share`; the stage 'optimizer' holds clip, AdamW
    and moving average.
  """
  total = sum(part.count * results[part.name].cycles for part in parts)
  uncosted = collections.Counter()
  for part in parts:
    for opcode, count in results[part.name].uncosted.items():
      uncosted[opcode] += part.count * count
  seconds = total / target.clock
  rate = batch_per_core / seconds
  return {
    'estimate': ESTIMATE,
    'batch_per_core': batch_per_core,
    'cycles': total,
    'ms': 1e3 * seconds,
    'images_per_second_per_core': rate,
    'model_flop_utilization': rate * flops_per_image / target.peak_flops,
    'peak_flops': target.peak_flops,
    'uncosted': dict(uncosted.most_common()),
    'stages': _sum_stages(parts, results, clock=target.clock),
    'parts': [
      {
        'name': part.name,
        'stage': part.stage,
        'count': part.count,
        'cycles': results[part.name].cycles,
      }
      for part in parts
    ],
  }


def _sum_stages(parts, results, *, clock: float) -> list[dict[str, Any]]:
  stages = {}
  for part in parts:
    entry = stages.setdefault(part.stage, {'parts': 0, 'cycles': 0})
    entry['parts'] += part.count
    entry['cycles'] += part.count * results[part.name].cycles
  total = sum(entry['cycles'] for entry in stages.values())
  return [
    {
      'stage': stage,
      **entry,
      'ms': 1e3 * entry['cycles'] / clock,
      'share': entry['cycles'] / total,
    }
    for stage, entry in stages.items()
  ]


def check(result: compiler.Compiled, *, what: str):
  """Raises MemoryError or RuntimeError if a compilation failed."""
  if result.error is None:
    return
  sizes = compiler.out_of_memory(result.error)
  if sizes:
    raise MemoryError(
      f'Out of memory: {what} needs {sizes[0] / _GIB:.2f} GiB of HBM, a core '
      f'has {sizes[1] / _GIB:.2f} GiB; lower --batch_per_core.'
    )
  raise RuntimeError(f'The compiler refuses {what}: {result.error}')


def format_cost(report: Mapping[str, Any]) -> str:
  """Writes a report of `cost` as a table."""
  rows = [('stage', 'parts', 'M cycles', 'ms', 'share')]
  for stage in report['stages']:
    rows.append(
      (
        stage['stage'],
        str(stage['parts']),
        f'{stage["cycles"] / 1e6:.2f}',
        f'{stage["ms"]:.2f}',
        f'{100 * stage["share"]:.1f} %',
      )
    )
  total = f'{report["cycles"] / 1e6:.2f}', f'{report["ms"]:.2f}', '100.0 %'
  rows.append(('step', '', *total))
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    '  '.join(
      [row[0].ljust(widths[0])]
      + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
    )
    for row in rows
  ]
  size = 'x'.join(map(str, report['image_size']))
  return '\n'.join(
    [
      f'{report["model"]} at {size}, {report["dtype"]}, '
      f'{report["batch_per_core"]} images a core, TPU {report["topology"]}',
      report['estimate'],
      '',
      *lines,
      '',
      f'{report["images_per_second_per_core"]:.1f} images/s/core, model FLOP '
      f'utilisation {100 * report["model_flop_utilization"]:.1f} % of '
      f'{report["peak_flops"] / 1e12:g} TFLOP/s.',
      _uncosted_line(report['uncosted']),
    ]
  )


def _uncosted_line(uncosted: Mapping[str, int]) -> str:
  if not uncosted:
    return 'The compiler gives an estimate for every operation.'
  counts = ', '.join(f'{n} x {opcode}' for opcode, n in uncosted.items())
  return f'Without an estimate, and not in the sum: {counts}.'
