"""Wrong settings: of every field, and of every name in every gin file.

Each is survived if it is refused by a sentence that names it; see
`tests.fixtures.wrong_settings`. A part of them is in the ordinary tests.
"""

import threading
from collections.abc import Iterator, Sequence

from tests.faults import bench as bench_lib, ledger
from tests.fixtures import wrong_settings

# Of one that gin loads, on one core.
_SECONDS = 0.02


def cases() -> Iterator[ledger.Case]:
  """Yields a case for all fields, and one for each gin file."""
  # gin has one configuration a process, and benches are threads.
  lock = threading.Lock()
  groups = {
    'every field': list(wrong_settings.values()),
    'every field, in gin': list(wrong_settings.gin_values()),
  }
  for path in wrong_settings.runs():
    groups[f'names of {path} mistyped'] = list(wrong_settings.typos(path))
  for name, group in groups.items():
    yield _case(name, group, lock)


def _case(
  name: str, group: Sequence[wrong_settings.Case], lock: threading.Lock
) -> ledger.Case:
  def check(bench: bench_lib.Bench) -> list[str]:
    del bench  # All is in memory.
    with lock:
      return [
        f'{each.name}: {why}' for each in group if (why := each.problem())
      ]

  return ledger.Case(
    f'setting: {name}',
    check,
    count=len(group),
    seconds=_SECONDS * len(group),
  )
