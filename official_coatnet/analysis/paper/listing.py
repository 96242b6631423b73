"""All rows of the paper with their gin files and commands, for people and JSON.

Rows that the paper prints twice with two numbers show both.
"""

import dataclasses
from typing import Any

from official_coatnet.analysis.paper import (
  runs as runs_lib,
  tables as tables_lib,
)

_METRICS = {'top1': 'top-1', 'precision_at_1': 'precision@1'}


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of a table, or a curve of Figure 1, as it is listed.

  Attributes:
    tables: Where it is printed, such as ('4', '12') or ('Figure 1',).
    title: What it is, such as 'coatnet_4 PT-RA at 384, ImageNet-21K'.
    metric: 'top1' or 'precision_at_1'.
    expected: The printed number in per cent, or None if there is none.
    elsewhere: (tables, number) where the paper has another number for the same.
    gin_file: The run that gives it.
    commands: (step, command) pairs from pre-training to evaluation.
  """

  tables: tuple[str, ...]
  title: str
  metric: str
  expected: float | None
  elsewhere: tuple[tuple[tuple[str, ...], float], ...]
  gin_file: str
  commands: tuple[tuple[str, str], ...]


_DATA = {
  tables_lib.IMAGENET1K: 'ImageNet-1K',
  tables_lib.IMAGENET21K: 'ImageNet-21K',
  tables_lib.JFT: 'JFT',
}


def all_rows() -> list[Row]:
  """Returns a row for each result, then for each curve of Figure 1."""
  runs = runs_lib.all_runs()
  rows = [_row_of(result, runs) for result in tables_lib.RESULTS]
  for data in ('imagenet1k', 'jft'):
    for layout in tables_lib.FIGURE_1:
      run = runs[tables_lib.figure_1_file(layout, data=data)]
      title = (
        f'{layout} at 224, {_DATA[tables_lib.JFT if data == "jft" else data]}'
      )
      metric = 'precision_at_1' if data == 'jft' else 'top1'
      commands = tuple(runs_lib.chain(run))
      rows.append(
        Row(('Figure 1',), title, metric, None, (), run.gin_file, commands)
      )
  return rows


def _row_of(result: tables_lib.Result, runs: dict[str, runs_lib.Run]) -> Row:
  run = runs[result.gin_file]
  model = ' '.join(filter(None, (result.model, result.variant)))
  return Row(
    tables=result.tables,
    title=f'{model} at {result.image_size}, {_DATA[result.pretrained_on]}',
    metric=result.metric,
    expected=result.accuracy,
    elsewhere=tuple(
      (other.tables, other.accuracy)
      for other in run.results
      if other.metric == result.metric and other.accuracy != result.accuracy
    ),
    gin_file=result.gin_file,
    commands=tuple(runs_lib.chain(run)),
  )


def format_text(rows: list[Row]) -> str:
  """Writes each row with its number, file and commands."""
  lines = [
    'DATA and RUNS stand for folders of yours; --tpu and the rest are in the',
    "head of each gin file. The numbers are the paper's: none was run here.",
  ]
  for row in rows:
    lines += ['', f'{_tables(row.tables)}: {row.title}']
    lines.append(f'  expected   {_expected(row)}')
    lines.append(f'  gin file   {row.gin_file}')
    lines += [f'  {step:9}  {command}' for step, command in row.commands]
  return '\n'.join(lines)


def _expected(row: Row) -> str:
  if row.expected is None:
    return 'no number, an order: see the head of the gin file'
  text = f'{_METRICS[row.metric]} {row.expected} %'
  for tables, number in row.elsewhere:
    text += f', but {number} % in {_tables(tables)}: the paper has both'
  return text


def _tables(tables: tuple[str, ...]) -> str:
  if tables == ('Figure 1',):
    return tables[0]
  *first, last = tables
  if not first:
    return f'Table {last}'
  return f'Tables {", ".join(first)} and {last}'


def to_list(rows: list[Row]) -> list[dict[str, Any]]:
  """Returns the rows as what JSON can hold."""
  return [
    {**dataclasses.asdict(row), 'commands': dict(row.commands)} for row in rows
  ]


def format_markdown(rows: list[Row]) -> str:
  """Writes the table of docs/recipes.md: one line a gin file."""
  by_file = {}
  for row in rows:
    by_file.setdefault(row.gin_file, []).append(row)
  runs = runs_lib.all_runs()
  lines = [
    '| gin file | Starts from | Tables | The paper has |',
    '|---|---|---|---|',
  ]
  for path in sorted(runs):
    run = runs[path]
    start = '-'
    if run.fine_tunes:
      start = f'`{runs[run.results[0].pretraining_file].name}`'
    numbers = [_number(row) for row in by_file.get(path, [])]
    tables = [_tables(row.tables) for row in by_file.get(path, [])]
    lines.append(
      f'| `{path.removeprefix("gin/")}` | {start} | '
      f'{"; ".join(dict.fromkeys(tables)) or "pre-training alone"} | '
      f'{"; ".join(dict.fromkeys(numbers)) or "-"} |'
    )
  return '\n'.join(lines) + '\n'


def _number(row: Row) -> str:
  if row.expected is None:
    return 'an order'
  return f'{_METRICS[row.metric]} {row.expected}'
