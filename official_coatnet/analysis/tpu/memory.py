"""The memory of a run's training step on a TPU, and the batch that fits.

The whole step is compiled as one, which takes the compiler minutes; or, of a
network too deep for that, the steps of a few shallower ones.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from official_coatnet.analysis.tpu import compiler, report, step as step_lib
from official_coatnet.training import experiment as experiment_lib

_GIB = 2**30
# A stage of two blocks has one that changes the shape and one that does not.
_SHALLOW = 2
# How many more a deeper one has. Two, so that the end of a stage, where the
# compiler overlaps it with what follows, weighs less.
_MORE = 2

Blocks = tuple[int, ...]


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
    topology: One of `compiler.TOPOLOGIES`.
    batch_per_core: Images of a step on one core.
    cache_dir: As in `compiler.compile_modules`.

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


def shallow_depths(blocks: Blocks) -> tuple[Blocks, ...]:
  """Returns the depths to compile in place of a network's.

  Args:
    blocks: Blocks of each stage, the stem first, which stays as it is.

  Returns:
    Blocks with at most two a stage; and then, for each stage that has more, the
    same with up to two more in that stage.
  """
  base = (blocks[0], *(min(n, _SHALLOW) for n in blocks[1:]))
  return base, *(
    (*base[:i], min(n, base[i] + _MORE), *base[i + 1 :])
    for i, n in enumerate(blocks)
    if n > base[i]
  )


def measure_by_depths(
  experiment: experiment_lib.Experiment,
  *,
  topology: str,
  batch_per_core: int,
  cache_dir: str | os.PathLike | None = compiler.DEFAULT_CACHE,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
  """Predicts what `measure` returns, from shallower networks.

  Compiling a whole training step takes time and memory of this machine with
  each block. But the blocks of a stage, after its first, are equal: with each
  of them the step needs as much more as with the one before. So the step is
  compiled with few blocks in all stages, then with a few more in one stage at a
  time, and what that adds is multiplied.

  Two errors, of opposite sign. What a step needs is the most of any moment of
  it, and which moment that is may change with the depth: the prediction is then
  too low. And a compiler that runs out of memory begins to compute things twice
  and to store less, for which a shallow network gives it no reason: near the
  limit the prediction is above what a whole compilation would find.

  Args:
    experiment: The run.
    topology: One of `compiler.TOPOLOGIES`.
    batch_per_core: Images of a step on one core.
    cache_dir: As in `compiler.compile_modules`.
    progress: Called with how many networks are compiled, of how many.

  Returns:
    As `measure`, which it also raises the errors of, and
    `extrapolated_from`, the depths.
  """
  blocks = experiment.model.blocks
  depths = shallow_depths(blocks)
  measured = {}
  for shallow in depths:
    measured[shallow] = measure(
      dataclasses.replace(
        experiment,
        model=dataclasses.replace(experiment.model, blocks=shallow),
      ),
      topology=topology,
      batch_per_core=batch_per_core,
      cache_dir=cache_dir,
    )
    if progress is not None:
      progress(len(measured), len(depths))
  return extrapolate(measured, blocks)


def extrapolate(
  measured: Mapping[Blocks, Mapping[str, Any]], blocks: Blocks
) -> dict[str, Any]:
  """Extends what is known of shallow networks, linearly in each stage's depth.

  Args:
    measured: Blocks to a result of `measure`, for all of
      `shallow_depths(blocks)`.
    blocks: Of the network in question.

  Returns:
    As `measure_by_depths`. A network of which a part does not fit does not fit;
    there is then no `cycles` and no `memory`, and what it needs may be more
    than said.
  """
  base, *deeper = shallow_depths(blocks)

  def extend(value):
    first = value(measured[base])
    total = float(first)
    for depths in deeper:
      ((more, all_of_them),) = [
        (d - b, n - b) for d, b, n in zip(depths, base, blocks) if d != b
      ]
      total += (value(measured[depths]) - first) * all_of_them / more
    return round(total)

  available = min(result['available'] for result in measured.values())
  needed = extend(lambda result: result['needed'])
  predicted = {
    'batch_per_core': measured[base]['batch_per_core'],
    'needed': needed,
    'available': available,
    'extrapolated_from': [list(depths) for depths in measured],
  }
  if not all(result['fits'] for result in measured.values()):
    # The compiler says what is missing after it has done what it can.
    return predicted | {
      'fits': False,
      'needed': max(needed, *(r['needed'] for r in measured.values())),
    }
  return predicted | {
    'fits': needed <= available,
    'cycles': extend(lambda result: result['cycles']),
    'memory': {
      kind: extend(lambda result, kind=kind: result['memory'][kind])
      for kind in measured[base]['memory']
    },
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
  """Writes a result that fits, of `measure` or `measure_by_depths`."""
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
