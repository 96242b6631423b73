"""Disks that are full, folders that are read-only or go away.

A run writes to a small disk in memory until that is full. It may end with a
sentence, or go on without its summaries; with more room the same command has to
come to the same end as on a large disk. Where nothing can be mounted, no file
may become longer than a limit, which strikes in other places.
"""

import contextlib
import os
import random
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator

from tests.faults import bench as bench_lib, ledger, small_run

# Bytes that a run needs in all, about.
_RUN_BYTES = 2_600_000
_PLENTY = 64_000_000


def cases(*, count: int, seed: int) -> Iterator[ledger.Case]:
  """Makes `count` disks of other sizes, a fifth by a limit of files."""
  chance = random.Random(f'{seed} disk')
  of_limit = count // 5
  for number in range(count - of_limit):
    # Of every part of the run, and by chance within it.
    size = int(_RUN_BYTES * (number + chance.random()) / (count - of_limit))
    yield ledger.Case(
      f'disk: full at {size:,} bytes', _full_disk(size), seconds=25.0
    )
  for number in range(of_limit):
    limit = int(600_000 * (number + chance.random()) / of_limit)
    yield ledger.Case(
      f'disk: no file above {limit:,} bytes', _short_files(limit), seconds=25.0
    )
  yield ledger.Case('disk: folder deleted while it runs', _deleted)


def _full_disk(size: int):
  def check(bench: bench_lib.Bench) -> list[str]:
    expected = small_run.whole(bench)
    with bench.folder() as folder, _small_disk(folder, size=size) as disk:
      run = os.path.join(disk, 'run')
      result = bench.run('train', small_run.arguments(run))
      problems = _sentence(result, run)
      _mount('-o', f'remount,size={_PLENTY}', disk)
      return problems + _again(bench, run, expected)

  return check


@contextlib.contextmanager
def _small_disk(folder: str, *, size: int) -> Iterator[str]:
  disk = os.path.join(folder, 'disk')
  os.mkdir(disk)
  _mount('-t', 'tmpfs', '-o', f'size={size}', 'none', disk)
  try:
    yield disk
  finally:
    subprocess.run(['umount', disk], check=True)


def _mount(*arguments: str) -> None:
  if shutil.which('mount') is None:
    raise ledger.SkipError('there is no command `mount`')
  result = subprocess.run(
    ['mount', *arguments], capture_output=True, text=True, check=False
  )
  if result.returncode:
    raise ledger.SkipError(f'cannot mount: {result.stderr.strip()}')


def _short_files(limit: int):
  def check(bench: bench_lib.Bench) -> list[str]:
    expected = small_run.whole(bench)
    with bench.folder() as folder:
      run = os.path.join(folder, 'run')
      call = bench.start('train', small_run.arguments(run))
      # What it says goes to a file, too, which stays short.
      limits = (max(limit, 20_000), resource.RLIM_INFINITY)
      with contextlib.suppress(ProcessLookupError):
        resource.prlimit(call.pid, resource.RLIMIT_FSIZE, limits)
      problems = _sentence(call.wait(), run)
      return problems + _again(bench, run, expected)

  return check


def _deleted(bench: bench_lib.Bench) -> list[str]:
  """Deletes the folder in the middle; the same command makes a new run."""
  expected = small_run.whole(bench)
  with bench.folder() as folder:
    run = os.path.join(folder, 'run')
    call = bench.start('train', small_run.arguments(run))
    bench_lib.wait_until(
      lambda: bool(re.search(r'step 10/', call.words()[1])), call, seconds=200
    )
    shutil.rmtree(run, ignore_errors=True)
    problems = _sentence(call.wait(), run)
    shutil.rmtree(run, ignore_errors=True)
    return problems + _again(bench, run, expected)


def _sentence(result, run: str) -> list[str]:
  """Checks how a run ends that could not write."""
  problems = []
  if 'Traceback' in result.errors:
    problems.append(f'a traceback:\n{small_run.tail(result.errors, 30)}')
  if result.code == 0:
    return problems
  if result.code != 1:
    problems.append(
      f'exit code {result.code}:\n{small_run.tail(result.errors)}'
    )
  last = [line for line in result.errors.splitlines() if line.strip()][-1:]
  if not last or run not in ' '.join(result.errors.splitlines()[-4:]):
    problems.append(f'the path is not named: {last}')
  return problems


def _again(bench, run: str, expected: str) -> list[str]:
  result = bench.run('train', small_run.arguments(run))
  if result.code:
    return [f'then exit code {result.code}:\n{small_run.tail(result.errors)}']
  return small_run.differences(run, expected)
