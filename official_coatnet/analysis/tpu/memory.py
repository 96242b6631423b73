"""The memory of a run's training step on a TPU, and the batch that fits.

The whole step is compiled as one, which takes the compiler minutes.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from official_coatnet.analysis.tpu import compiler, report, step as step_lib
from official_coatnet.training import experiment as experiment_lib

_GIB = 2**30


def measure(
  experiment: experiment_lib.Experiment,
  *,
  topology: str,
  batch_per_core: int,
  cache_dir: str | os.PathLike | None = compiler.DEFAULT_CACHE,
) -> dict[str, Any]:
  """Compiles the whole training step of a run for one core.

  Args:
    experiment: The run.
    topology: One of `tpu_compile.TOPOLOGIES`.
    batch_per_core: Images of a step on one core.
    cache_dir: As in `tpu_compile.compile_modules`.

  Returns:
    `batch_per_core`, `fits`, `needed` and `available` (bytes of HBM); where it
    fits also `cycles` and `memory`, bytes by kind.

  Raises:
    ValueError: If the topology is unknown or the batch does not suit.
    FileNotFoundError: If the compiler is not installed.
    RuntimeError: If the compiler fails for another reason.
  """
  target = compiler.get_topology(topology)
  compiler.find_python()
  local = step_lib.with_batch(experiment, batch_per_core)
  result = compiler.compile_modules(
    {'step': step_lib.lower_step(local)},
    topology=topology,
    cache_dir=cache_dir,
  )['step']
  if result.error and (sizes := compiler.out_of_memory(result.error)):
    needed, available = sizes
    return {
      'batch_per_core': batch_per_core,
      'fits': False,
      'needed': needed,
      'available': available,
    }
  report.check(result, what='the training step')
  return {
    'batch_per_core': batch_per_core,
    'fits': True,
    'needed': result.memory_needed,
    'available': target.hbm,
    'cycles': result.cycles,
    'memory': dict(result.memory),
    'compile_seconds': result.seconds,
  }


def needed_and_available(measured: Mapping[str, Any]) -> tuple[float, float]:
  """Returns bytes of a result of `measure`, for `largest_batch`.

  Whether a step fits is for the compiler to say, which reserves some memory.
  """
  needed, available = measured['needed'], measured['available']
  return (min(needed, available) if measured['fits'] else needed), available


def largest_batch(
  sizes: Callable[[int], tuple[float, float]], start: int, *, step: int = 1
) -> tuple[int, dict[int, float]]:
  """Searches for the largest batch whose memory suffices.

  Memory grows almost linearly with the batch: each guess is on the line
  through the two nearest batches that are known, within what is still open.
  Near the limit it need not be, where the compiler stores less to make do:
  from the fifth on, every other guess halves what is open.

  Args:
    sizes: Batch to bytes needed and available; asked seldom, since it
      compiles for minutes.
    start: A batch to begin with.
    step: What the batch must be a multiple of.

  Returns:
    The batch, 0 if not even `step` fits, and the bytes needed of all that were
    measured, by batch. A batch above 128 is found to within one part in 128.
  """
  needs, fits, fails = {}, 0, None
  guess = max(start // step, 1) * step
  while True:
    needs[guess], available = sizes(guess)
    if needs[guess] <= available:
      fits = max(fits, guess)
    else:
      fails = guess if fails is None else min(fails, guess)
    if fails is not None and fails - fits <= max(step, fits // 128):
      return fits, needs
    if fails is not None and len(needs) > 4 and len(needs) % 2:
      guess = (fits + fails) // 2 // step * step
      guess = min(max(guess, fits + step), fails - step)
    else:
      guess = _guess(needs, available, open_between=(fits, fails), step=step)


def _guess(needs, available, *, open_between, step) -> int:
  fits, fails = open_between
  if len(needs) == 1:
    ((batch, need),) = needs.items()
    guess = batch * available / need
  else:
    # The two whose needs are nearest to what there is.
    (a, x), (b, y) = sorted(
      needs.items(), key=lambda item: abs(item[1] - available)
    )[:2]
    slope = (x - y) / (a - b)
    guess = a + (available - x) / slope if slope > 0 else 2 * max(a, b)
  guess = int(guess // step) * step
  highest = 2 * max(needs) if fails is None else fails - step
  return min(max(guess, fits + step), highest)


def out_of_memory_line(
  measured: Mapping[str, Any], *, largest: int, topology: str
) -> str:
  """Says in one line what is missing and which batch fits.

  Args:
    measured: Of `measure`, where it does not fit.
    largest: Of `largest_batch`.
    topology: Where.
  """
  advice = f'the largest batch that fits is {largest}.'
  if not largest:
    advice = 'not even the smallest batch fits.'
  how = ''
  if 'extrapolated_from' in measured:
    how = ' (extrapolated from shallower networks)'
  return (
    f'Out of memory on {topology}: {measured["batch_per_core"]} images a core '
    f'need {measured["needed"] / _GIB:.2f} GiB of HBM{how}, '
    f'{measured["available"] / _GIB:.2f} GiB are available; {advice}'
  )


def format_memory(measured: Mapping[str, Any]) -> str:
  """Writes a result that fits, of `measure` here or in `tpu_depths`."""
  sizes = ', '.join(
    f'{kind} {size / _GIB:.2f}' for kind, size in measured['memory'].items()
  )
  how = 'compiled as one.'
  if shallower := measured.get('extrapolated_from'):
    depths = ', '.join('-'.join(map(str, blocks)) for blocks in shallower)
    how = (
      'by extrapolation: not compiled at this depth, but with the blocks '
      f'{depths} in S0 to S4.'
    )
  return (
    f'Whole step: {measured["needed"] / _GIB:.2f} GiB of HBM of '
    f'{measured["available"] / _GIB:.2f} ({sizes}), '
    f'{measured["cycles"] / 1e6:.2f} M cycles {how}'
  )
