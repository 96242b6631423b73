"""Steps that are not finite, at every position of a loop."""

import os
from collections.abc import Iterator

import numpy as np

from tests.faults import bench as bench_lib, ledger, small_run
from tests.fixtures import bad_steps

_TOTAL = 12
# The first step, and both of a loop of two: in the first loop, in the middle,
# before and behind a checkpoint and an evaluation, and in the last one.
_STEPS = (1, 2, 3, 4, 8, 9, 11, 12)
# A finite loss is none of them without `RunConfig.max_loss`.
_KINDS = tuple(kind for kind in bad_steps.KINDS if kind != 'spike')


def cases() -> Iterator[ledger.Case]:
  """Each kind of bad step at each position, stopped at and left out."""
  for kind in _KINDS:
    for step in _STEPS:
      for length in (1, 2) if step in (1, 4, _TOTAL) else (2,):
        yield ledger.Case(
          f'non-finite: {kind} in step {step}, loops of {length}',
          _check(kind, step, length),
          count=2,
          seconds=30.0,
        )


def _check(kind: str, step: int, length: int):
  settings = {
    'TRAIN_STEPS': str(_TOTAL),
    'RunConfig__steps_per_loop': str(length),
  }

  def run(bench, folder, *, allowed):
    arguments = small_run.arguments(
      folder, **settings, RunConfig__max_bad_steps=str(allowed)
    )
    return bench.tools.run(
      'tests/faults/faulty_train.py',
      [kind, str(step), *arguments],
      folder=os.path.dirname(folder),
    )

  def check(bench: bench_lib.Bench) -> list[str]:
    with bench.folder() as folder:
      stops, skips = (os.path.join(folder, each) for each in ('0', '1'))
      stopped = run(bench, stops, allowed=0)
      skipped = run(bench, skips, allowed=1)
      problems = []
      if stopped.code != 1 or 'Traceback' in stopped.errors:
        problems.append(
          f'stopped with {stopped.code}:\n{small_run.tail(stopped.errors)}'
        )
      if f'Step {step} ' not in stopped.errors:
        problems.append(f'the step is not named: {stopped.errors[-500:]}')
      if skipped.code:
        problems.append(
          f'not left out, {skipped.code}:\n{small_run.tail(skipped.errors)}'
        )
      elif small_run.whole_checkpoint_steps(skips)[-1] != _TOTAL:
        problems.append('not at its last step')
      for each in (stops, skips):
        problems += _not_finite(each)
      return problems

  return check


def _not_finite(folder: str) -> list[str]:
  """Names what checkpoints hold that is not finite."""
  return [
    f'ckpt-{step} holds {name} that is not finite'
    for step in small_run.whole_checkpoint_steps(folder)
    for name, value in small_run.variables(folder, step=step).items()
    if value.dtype.kind == 'f' and not np.isfinite(value).all()
  ]
