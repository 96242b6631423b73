"""Two workers on the loopback, of which one is killed."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator

from tests.faults import bench as bench_lib, ledger, small_run
from tests.fixtures import workers

_ARGUMENTS = (
  f'--gin_bindings=TRAIN_STEPS = {small_run.TOTAL_STEPS}',
  '--gin_bindings=RunConfig.eval_interval_steps = 8',
)
# How the one that was not killed may end: it asks to be started again, or waits
# for the other to come, if that was killed before they had met.
_SURVIVOR = (workers.WORKER_LOST, 0, None)
# What it says while it waits, and seconds after which that is what it does.
_WAITS = re.compile(r'waiting for all of them|Still waiting for')
_PATIENCE = 30.0


def cases(*, count: int, seed: int) -> Iterator[ledger.Case]:
  """Makes `count` kills of one of two workers."""
  for number in range(count):
    chance = random.Random(f'{seed} workers {number}')
    index = chance.randrange(2)
    which = chance.choice((signal.SIGKILL, signal.SIGTERM))
    step = chance.choice((0, 2, 6, 14, 30))
    yield ledger.Case(
      f'workers: {which.name} of worker {index} after step {step}, {number}',
      _check(index, which, step, chance.random()),
      seconds=90.0,
    )


def _check(index: int, number: signal.Signals, step: int, delay: float):
  def check(bench: bench_lib.Bench) -> list[str]:
    expected = bench.shared.get('whole_pair', _run_to_the_end)
    problems = []
    with bench.folder() as folder:
      run = os.path.join(folder, 'run')
      both = workers.start(run, *_ARGUMENTS)
      try:
        if step:
          workers.wait_for_checkpoint(run, step, both)
        time.sleep(delay)
        both[index].send_signal(number)
        other = _end(both[1 - index], run, index=1 - index)
        killed = both[index].wait(workers.TIMEOUT)
      finally:
        workers.stop(both)
      if other not in _SURVIVOR:
        problems.append(
          f'the other worker ended with {other}:\n'
          f'{small_run.tail(workers.words(run, 1 - index))}'
        )
      if killed not in (-number, 128 + number, workers.WORKER_LOST, 0):
        problems.append(f'the killed worker ended with {killed}')
      _run_to_the_end(run)
      return problems + small_run.differences(run, expected)

  return check


def _end(worker: subprocess.Popen, run: str, *, index: int) -> int | None:
  """Returns how a worker ends; None if it waits for the other one."""
  now = time.monotonic()
  end, patience = now + workers.TIMEOUT, now + _PATIENCE
  while worker.poll() is None and time.monotonic() < end:
    last = workers.words(run, index).splitlines()[-1:]
    if not (last and _WAITS.search(last[0])):
      patience = time.monotonic() + _PATIENCE
    elif time.monotonic() > patience:
      return None
    time.sleep(0.1)
  return worker.wait(0)


def _run_to_the_end(run: str) -> None:
  both = workers.start(run, *_ARGUMENTS)
  try:
    workers.finish(run, both)
  finally:
    workers.stop(both)
