"""The memory of a step that is too deep to compile, from shallower ones.

Compiling a whole training step takes time and memory of this machine with each
block. But the blocks of a stage, after its first, are equal: with each of them
the step needs as much more as with the one before. So the step is compiled with
few blocks in all stages, then with a few more in one stage at a time, and what
that adds is multiplied.

Two errors, of opposite sign. What a step needs is the most of any moment of it,
and which moment that is may change with the depth: the prediction is then too
low. And a compiler that runs out of memory begins to compute things twice and
to store less, for which a shallow network gives it no reason: near the limit
the prediction is above what a whole compilation would find.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from official_coatnet.analysis.tpu import compiler, memory
from official_coatnet.training import experiment as experiment_lib

# A stage of two blocks has one that changes the shape and one that does not.
_SHALLOW = 2
# How many more a deeper one has. Two, so that the end of a stage, where the
# compiler overlaps it with what follows, weighs less.
_MORE = 2

Blocks = tuple[int, ...]


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


def measure(
  experiment: experiment_lib.Experiment,
  *,
  topology: str,
  batch_per_core: int,
  cache_dir: str | os.PathLike | None = compiler.DEFAULT_CACHE,
  on_measured: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
  """Predicts what `tpu_memory.measure` returns, from shallower networks.

  Args:
    experiment: The run.
    topology: One of `tpu_compile.TOPOLOGIES`.
    batch_per_core: Images of a step on one core.
    cache_dir: As in `tpu_compile.compile_modules`.
    on_measured: Called with how many networks are compiled, of how many.

  Returns:
    As `tpu_memory.measure`, and `extrapolated_from`, the depths.

  Raises:
    As `tpu_memory.measure`.
  """
  blocks = experiment.model.blocks
  depths = shallow_depths(blocks)
  measured = {}
  for shallow in depths:
    measured[shallow] = memory.measure(
      dataclasses.replace(
        experiment,
        model=dataclasses.replace(experiment.model, blocks=shallow),
      ),
      topology=topology,
      batch_per_core=batch_per_core,
      cache_dir=cache_dir,
    )
    if on_measured is not None:
      on_measured(len(measured), len(depths))
  return extrapolate(measured, blocks)


def extrapolate(
  measured: Mapping[Blocks, Mapping[str, Any]], blocks: Blocks
) -> dict[str, Any]:
  """Extends what is known of shallow networks, linearly in each stage's depth.

  Args:
    measured: Blocks to a result of `tpu_memory.measure`, for all of
      `shallow_depths(blocks)`.
    blocks: Of the network in question.

  Returns:
    As `measure`. A network of which a part does not fit does not fit; there is
    then no `cycles` and no `memory`, and what it needs may be more than said.
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
