"""What was tried and what came of it: one line a fault, and the last line."""

import collections
import dataclasses
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import IO

from tests.faults import bench as bench_lib


@dataclasses.dataclass(frozen=True)
class Case:
  """A fault, or several in a row.

  Attributes:
    name: The part of the suite and what is done, such as 'damage: data cut,
      resume'.
    check: Does it on a bench; returns what was not as promised, one sentence
      each; none where all was survived.
    count: How many faults it is.
    seconds: About how long it takes, for the time that is left.
  """

  name: str
  check: Callable[[bench_lib.Bench], Sequence[str]]
  count: int = 1
  seconds: float = 10.0

  @property
  def part(self) -> str:
    """The part of the suite."""
    return self.name.partition(':')[0]


class SkipError(Exception):
  """A case that cannot be tried here, with the reason."""


class Ledger:
  """Counts faults, and writes each down as soon as it is over."""

  def __init__(
    self, *, log: IO[str], total: float, say: Callable[[str], None]
  ) -> None:
    """Opens it.

    Args:
      log: Takes a line for each case.
      total: Seconds that all cases take together, as they are estimated.
      say: Takes lines on how far it is.
    """
    self.survived = collections.Counter[str]()
    self.lost = collections.Counter[str]()
    self.skipped: dict[str, str] = {}
    self._log, self._say = log, say
    self._total, self._done = total, 0.0
    self._start = time.monotonic()
    self._lock = threading.Lock()

  def run(self, case: Case, bench: bench_lib.Bench) -> None:
    """Tries a case and notes what came of it."""
    start = time.monotonic()
    try:
      problems = list(case.check(bench))
    except SkipError as e:
      self._note(case, start, skipped=str(e))
      return
    except Exception:  # A fault of the suite's own is a fault that is not seen.
      problems = [traceback.format_exc()]
    self._note(case, start, problems=problems)

  def _note(self, case, start, *, problems=(), skipped='') -> None:
    with self._lock:
      state = 'survived'
      if skipped:
        state = 'skipped'
        self.skipped[case.name] = skipped
      elif problems:
        state = 'LOST'
        self.lost[case.part] += case.count
      else:
        self.survived[case.part] += case.count
      taken = time.monotonic() - start
      lines = [f'{state:<9}{case.count:>5}  {taken:6.1f} s  {case.name}']
      lines += [
        f'    {line}'
        for p in (*problems, skipped)
        for line in p.split('\n')
        if line
      ]
      self._log.write('\n'.join(lines) + '\n')
      self._log.flush()
      self._done += case.seconds
      if problems or skipped:
        self._say('\n'.join(lines))
      self._say(self._progress())

  def _progress(self) -> str:
    now = time.monotonic() - self._start
    left = now * (self._total / max(self._done, 1e-9) - 1)
    count = self.survived.total() + self.lost.total()
    return (
      f'{count} faults, {self.lost.total()} lost, {now / 60:.0f} minutes; '
      f'about {max(left, 0) / 60:.0f} minutes to go'
    )

  def last_lines(self) -> list[str]:
    """Returns what came of each part, and of all of them in the last line."""
    parts = sorted({*self.survived, *self.lost})
    lines = [
      f'{part}: {self.survived[part] + self.lost[part]} tried, '
      f'{self.survived[part]} survived, {self.lost[part]} lost'
      for part in parts
    ]
    lines += [f'skipped: {name}: {why}' for name, why in self.skipped.items()]
    survived, lost = self.survived.total(), self.lost.total()
    lines.append(f'Tried {survived + lost}, survived {survived}, lost {lost}.')
    return lines


def run_all(
  cases: Iterable[Case], ledger: Ledger, *, benches: Sequence[bench_lib.Bench]
) -> None:
  """Tries all cases, as many at a time as there are benches."""
  free = list(benches)
  lock = threading.Lock()

  def run(case: Case) -> None:
    with lock:
      bench = free.pop()
    try:
      ledger.run(case, bench)
    finally:
      with lock:
        free.append(bench)

  with futures.ThreadPoolExecutor(len(free)) as pool:
    for done in [pool.submit(run, case) for case in cases]:
      done.result()
