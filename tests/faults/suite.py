"""Does to runs, exports and records what machines and people do to them.

    make faults
    python -m tests.faults.suite --only=kill --kills=20 --seed=3

Each fault is survived if the same command, given again, ends as if nothing had
been: all variables equal to the last bit, the lines of metrics.jsonl equal,
evaluations on the same steps, nothing left over; or, where it is a person who
has to mend something, if that is said in a sentence and nothing is ruined.
The last line says how many were tried, survived and lost, and the exit code is
1 if any was lost. The log has a line for each, with what was wrong.
"""

import os
import tempfile
from collections.abc import Iterator

from absl import app, flags

from tests.faults import (
  bench as bench_lib,
  damages,
  disks,
  kills,
  ledger,
  non_finite,
  pairs,
  repeats,
  settings,
)

_SEED = flags.DEFINE_integer('seed', 0, 'Of all that is left to chance.')
_KILLS = flags.DEFINE_integer('kills', 200, 'Signals to send.', lower_bound=0)
_ONLY = flags.DEFINE_list(
  'only', None, 'Parts to try, such as kill,damage. All, if not set.'
)
_MATCH = flags.DEFINE_string(
  'match', '', 'Part of the names of cases to try; all by default.'
)
_LOG = flags.DEFINE_string('log', 'faults.log', 'File for a line a fault.')
_JOBS = flags.DEFINE_integer('jobs', 2, 'Cases at a time.', lower_bound=1)


def all_cases(
  *, seed: int, num_kills: int, num_disks: int = 50, num_pairs: int = 8
) -> Iterator[ledger.Case]:
  """Returns all cases of the suite."""
  yield from kills.cases(count=num_kills, seed=seed)
  yield from damages.cases(seed=seed)
  yield from disks.cases(count=num_disks, seed=seed)
  yield from pairs.cases(count=num_pairs, seed=seed)
  yield from repeats.cases()
  yield from non_finite.cases()
  yield from settings.cases()


def main(argv):
  """Tries them."""
  if len(argv) > 1:
    raise app.UsageError(f'There is no {argv[1]!r}; see --help.')
  chosen = [
    case
    for case in all_cases(seed=_SEED.value, num_kills=_KILLS.value)
    if _MATCH.value in case.name
    and (_ONLY.value is None or case.part in _ONLY.value)
  ]
  if not chosen:
    raise app.UsageError('No case is of --only and --match.')
  # Forked processes share the machine with each other.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  total = sum(case.seconds for case in chosen) / _JOBS.value
  with (
    open(_LOG.value, 'w') as log,
    tempfile.TemporaryDirectory(prefix='faults_') as folder,
  ):
    log.write(f'seed {_SEED.value}, {len(chosen)} cases\n')
    shared = bench_lib.Shared(folder)
    benches = [bench_lib.Bench(folder, shared) for _ in range(_JOBS.value)]
    book = ledger.Ledger(
      log=log, total=total, say=lambda line: print(line, flush=True)
    )
    try:
      ledger.run_all(chosen, book, benches=benches)
    finally:
      for bench in benches:
        bench.close()
    lines = book.last_lines()
    log.write('\n'.join(lines) + '\n')
  print('\n'.join(lines))
  return 1 if book.lost else 0


if __name__ == '__main__':
  app.run(main)
