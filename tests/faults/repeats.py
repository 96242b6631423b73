"""The same command twice comes to the same bits."""

import os
from collections.abc import Iterator

from tests.faults import bench as bench_lib, ledger, small_run

_STEPS = 300


def cases() -> Iterator[ledger.Case]:
  """One case: sha256 over all variables after 300 steps, of two runs."""
  yield ledger.Case('repeat: two runs of 300 steps', _check, seconds=60.0)


def _check(bench: bench_lib.Bench) -> list[str]:
  found = set()
  settings = {
    'TRAIN_STEPS': str(_STEPS),
    'RunConfig__steps_per_loop': '50',
    'RunConfig__checkpoint_interval_steps': '300',
    'RunConfig__eval_interval_steps': '300',
  }
  for _ in range(2):
    with bench.folder() as folder:
      run = os.path.join(folder, 'run')
      result = bench.run('train', small_run.arguments(run, **settings))
      if result.code:
        return [small_run.tail(result.errors)]
      values = small_run.variables(run, step=_STEPS)
      found.add(small_run.digest([values[name] for name in sorted(values)]))
  return [] if len(found) == 1 else [f'two runs differ: {sorted(found)}']
