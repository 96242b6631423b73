"""The rows of the paper: the gin files and commands that give them, checked.

    python tools/paper.py
    python tools/paper.py --table=5
    python tools/paper.py --check
    python tools/paper.py --counts --format=json

Without --check and --counts it lists every row that names a CoAtNet, and the
curves of Figure 1: table, gin file, the commands from pre-training to
evaluation, the number to expect.

--check: resolves the gin file of each, pre-trainings included, and compares
every setting that has a bearing on the result: with Tables 3, 10 and 11 where
the paper prints it, and elsewhere with the reading that docs/recipes.md states.
The exit code is 1 if one differs, or if a file is missing.

--counts: parameters and multiply-adds of every row of Tables 4, 5, 9, 12 and 13
that names a CoAtNet, counted from the built networks, and the sizes of Tables 3
and 11. The exit code is 1 if a row that should fit the paper does not.
"""

import tools.prologue

import dataclasses
import json
import os
import sys

import tensorflow as tf
from absl import app, flags

from official_coatnet.analysis.paper import (
  checks,
  counts as counts_lib,
  runs,
)
from official_coatnet.modeling import complexity
from official_coatnet.training import gin_config
from tools import progress

_COUNTS = flags.DEFINE_bool(
  'counts', False, 'Compare parameters and multiply-adds.'
)
_CHECK = flags.DEFINE_bool(
  'check', False, 'Compare the gin files with the paper.'
)
_TABLE = flags.DEFINE_multi_string(
  'table', [], "List this table alone, such as 4, or 'Figure 1'."
)
_FORMAT = flags.DEFINE_enum(
  'format', 'text', ('text', 'json'), 'Of the output.'
)
# That counting CoAtNet-0 took on two cores.
_SECONDS = 2.5


def _count_networks() -> dict:
  """Counts all networks, and says on standard error how far it is."""
  networks, counts = counts_lib.networks(), {}
  names = [
    f'{config.name} at {config.image_size}'
    + (' with depthwise strides' if config.downsample == 'depthwise' else '')
    for config in networks
  ]
  seconds = [_SECONDS * progress.depth(config) for config in networks]
  with progress.Steps('Counting', dict(zip(names, seconds))) as show:
    for name, config in zip(names, networks):
      show(name)
      counts[config] = complexity.count(config)[-1]
  return counts


def _compare_counts() -> int:
  comparisons = counts_lib.compare_all(_count_networks())
  if _FORMAT.value == 'json':
    print(json.dumps(counts_lib.to_dict(comparisons), indent=2))
  else:
    print(counts_lib.format_text(comparisons))
  problems = counts_lib.problems(comparisons)
  for problem in problems:
    print(f'{os.path.basename(sys.argv[0])}: {problem}', file=sys.stderr)
  return 1 if problems else 0


def _list_rows() -> int:
  rows = runs.all_rows()
  known = {table for row in rows for table in row.tables}
  for table in _TABLE.value:
    if table not in known:
      numbers = sorted(known - {'Figure 1'}, key=int)
      raise app.UsageError(
        f'--table={table} has no row of ours; those that have: '
        f"{', '.join(numbers)}, 'Figure 1'."
      )
  if _TABLE.value:
    rows = [row for row in rows if set(row.tables) & set(_TABLE.value)]
  if _FORMAT.value == 'json':
    print(json.dumps(runs.to_list(rows), indent=2))
  else:
    print(runs.format_text(rows))
  return 0


def _check_files() -> int:
  program = os.path.basename(sys.argv[0])
  try:
    differences, compared = checks.check(tools.prologue.ROOT)
  except gin_config.ConfigError as error:
    print(f'{program}: {error}', file=sys.stderr)
    return 1
  for difference in differences:
    print(f'{program}: {difference}', file=sys.stderr)
  files = len(runs.all_runs())
  if _FORMAT.value == 'json':
    found = [dataclasses.asdict(difference) for difference in differences]
    result = {'files': files, 'compared': compared, 'differences': found}
    print(json.dumps(result, indent=2))
  else:
    print(
      f'{files} gin files, {compared} values: {len(differences)} differ from '
      'the paper or from our reading of it.'
    )
  return 1 if differences else 0


def main(argv):
  """Prints what the flags ask for; returns the exit code."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  if _COUNTS.value and _CHECK.value:
    raise app.UsageError('Give one of --counts and --check.')
  if _TABLE.value and (_COUNTS.value or _CHECK.value):
    raise app.UsageError('--table is for the list of rows alone.')
  tf.get_logger().setLevel('ERROR')
  if _COUNTS.value:
    return _compare_counts()
  return _check_files() if _CHECK.value else _list_rows()


if __name__ == '__main__':
  tools.prologue.run(main)
