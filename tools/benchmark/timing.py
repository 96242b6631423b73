"""The timer that all benchmarks share.

A machine is rarely as fast at noon as it was at eleven, and never alone. So a
figure here is a ratio between variants that took turns within one run, and the
median over the rounds: what slows one variant down slows its neighbour in the
same round.
"""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Mapping

from tools import progress

_IDLE_SECONDS = 0.02
_IDLE_SHARE = 0.1


def idle_cpu_seconds() -> float:
  """Waits until the process is idle; returns the CPU seconds it has used.

  As a clock it counts all threads, and charges what a pipeline prepares in the
  background to the variant that asked for it. On one thread it is the time of
  an idle machine, even on a busy one.
  """
  while True:
    before = time.process_time()
    time.sleep(_IDLE_SECONDS)
    now = time.process_time()
    if now - before < _IDLE_SHARE * _IDLE_SECONDS:
      return now


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Times of variants that took turns.

  Attributes:
    seconds: for each variant, its seconds an item in each round.
  """

  seconds: Mapping[str, tuple[float, ...]]

  def rate(self, name: str) -> float:
    """Items a second: the median over the rounds."""
    return 1.0 / statistics.median(self.seconds[name])

  def ratio(self, name: str, *, to: str) -> float:
    """How many times as fast `name` is as `to`: the median of the rounds'."""
    return statistics.median(
      theirs / ours
      for ours, theirs in zip(self.seconds[name], self.seconds[to])
    )

  def extra(self, name: str, *, over: str, share_of: str) -> float:
    """What `name` takes longer than `over`, as a share of a third's time."""
    return statistics.median(
      (more - less) / whole
      for more, less, whole in zip(
        self.seconds[name], self.seconds[over], self.seconds[share_of]
      )
    )


def compare(
  variants: Mapping[str, Callable[[], int]],
  *,
  rounds: int,
  clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
  """Runs variants in turn, round after round, and times them.

  Args:
    variants: functions that do the work and return the number of items done. A
      first round, which traces and fills caches, is not counted.
    rounds: number of rounds that count.
    clock: returns seconds; `idle_cpu_seconds` for work on this machine's
      processor, the default where an accelerator or a server does it.

  Returns:
    Their times.

  Raises:
    ValueError: if there are no rounds, or a variant did nothing.
  """
  if rounds < 1:
    raise ValueError(f'compare: rounds is {rounds}, but must be 1 or more.')
  seconds: dict[str, list[float]] = {name: [] for name in variants}
  turns = itertools.product((False, *[True] * rounds), variants.items())
  total = (1 + rounds) * len(variants)
  for counts, (name, run) in progress.counted(
    turns, total=total, what='turns', is_still=True
  ):
    start = clock()
    items = run()
    elapsed = clock() - start
    if items < 1:
      raise ValueError(
        f'compare: {name!r} did {items} items, but must do at least one.'
      )
    if counts:
      seconds[name].append(elapsed / items)
  return Comparison({name: tuple(each) for name, each in seconds.items()})
