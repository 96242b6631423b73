"""Settings that are mistyped or have wrong values: all are to be refused.

`wrong_settings` makes them: each key, macro, scope and reference of each gin
file that is shipped, mistyped; each field of each configuration with values of
a wrong type, not finite or out of range.
"""

from collections.abc import Callable, Iterable, Iterator

from tests.faults import bench as bench_lib, ledger
from tests.fixtures import wrong_settings

# One value takes a tenth of a millisecond; one binding a fiftieth of a second.
_SECONDS = 0.03


def cases() -> Iterator[ledger.Case]:
  """A case for each file and each way to set values."""
  yield _case('values of fields', list(wrong_settings.values()))
  yield _case('values in gin', list(wrong_settings.gin_values()))
  for path in wrong_settings.runs():
    yield _case(path, list(wrong_settings.typos(path)))


def _case(name: str, found: list[wrong_settings.Case]) -> ledger.Case:
  return ledger.Case(
    f'settings: {name}',
    _check(found),
    count=len(found),
    seconds=_SECONDS * len(found),
  )


def _check(
  found: Iterable[wrong_settings.Case],
) -> Callable[[bench_lib.Bench], list[str]]:
  def check(bench: bench_lib.Bench) -> list[str]:
    del bench
    # gin has one state for all of a process.
    with bench_lib.ONE_AT_A_TIME:
      return [
        f'{case.name}: {problem}'
        for case in found
        if (problem := case.problem()) is not None
      ]

  return check
