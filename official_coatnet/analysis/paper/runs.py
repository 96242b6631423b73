"""The runs that give the paper's results: their gin files and commands.

A run is one gin file. `all_runs` has those of every row of the paper and of
Figure 1, pre-trainings included; `chain` says which commands lead to a result;
`all_rows` and what follows list them all, for people and as JSON. Rows that the
paper prints twice with two numbers show both.
"""

import dataclasses
from typing import Any

from official_coatnet.analysis.paper import tables

_METRICS = {'top1': 'top-1', 'precision_at_1': 'precision@1'}
_DATA = {
  tables.IMAGENET1K: 'ImageNet-1K',
  tables.IMAGENET21K: 'ImageNet-21K',
  tables.JFT: 'JFT',
}


@dataclasses.dataclass(frozen=True)
class Run:
  """What one gin file does.

  Attributes:
    gin_file: Its path in the repository.
    column: Of Table 10, such as 'jft_finetune'.
    model: Row of the size table.
    image_size: Side of the images, in pixels.
    variant: As in `tables.Result`; 'Figure 1' for the runs of that figure.
    settings: As in `tables.Result`.
    results: What the paper prints of it, possibly nothing.
  """

  gin_file: str
  column: str
  model: str
  image_size: int
  variant: str
  settings: tuple[tuple[str, Any], ...]
  results: tuple[tables.Result, ...] = ()

  @property
  def fine_tunes(self) -> bool:
    """Whether it starts from the weights of another run."""
    return self.column.endswith('_finetune')

  @property
  def name(self) -> str:
    """The name of the file, without folder and ending."""
    return self.gin_file.rsplit('/', 1)[1].removesuffix('.gin')


def all_runs() -> dict[str, Run]:
  """Returns the runs by gin file: those of all results, then of Figure 1."""
  runs = {}
  for result in tables.RESULTS:
    data = result.pretrained_on.removesuffix('300m')
    variant = result.variant if result.tables != ('2',) else 'Figure 1'
    pretraining = Run(
      result.pretraining_file,
      f'{data}_pretrain',
      result.model,
      224,
      variant,
      result.settings,
    )
    runs.setdefault(pretraining.gin_file, pretraining)
    if result.fine_tuned:
      fine_tuning = dataclasses.replace(
        pretraining,
        gin_file=result.gin_file,
        column=f'{data}_finetune',
        image_size=result.image_size,
      )
      runs.setdefault(fine_tuning.gin_file, fine_tuning)
    run = runs[result.gin_file]
    runs[run.gin_file] = dataclasses.replace(
      run, results=(*run.results, result)
    )
  for data in ('imagenet1k', 'jft'):
    for layout, model in tables.FIGURE_1.items():
      path = tables.figure_1_file(layout, data=data)
      run = Run(path, f'{data}_pretrain', model, 224, 'Figure 1', ())
      runs.setdefault(path, run)
  return runs


def chain(run: Run) -> list[tuple[str, str]]:
  """Returns (step, command) for each step that leads to the run's numbers.

  DATA and RUNS stand for folders; data sets are in DATA/imagenet1k,
  DATA/imagenet21k and DATA/jft.
  """
  steps = []
  data = run.column.split('_')[0]
  if run.fine_tunes:
    pretraining = all_runs()[run.results[0].pretraining_file]
    steps.append(('pre-train', _command(pretraining, data=data)))
    init = f' --gin_bindings="INIT_CHECKPOINT=\'RUNS/{pretraining.name}\'"'
    tune = _command(run, data='imagenet1k') + init
    steps.append(('fine-tune', tune))
    data = 'imagenet1k'
  else:
    steps.append(('pre-train', _command(run, data=data)))
  steps.append(('evaluate', f'{_command(run, data=data)} --mode=eval'))
  return steps


def _command(run: Run, *, data: str) -> str:
  return (
    f'python tools/train.py --gin_file={run.gin_file} '
    f'--model_dir=RUNS/{run.name} --gin_bindings="DATA_DIR=\'DATA/{data}\'"'
  )


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


def all_rows() -> list[Row]:
  """Returns a row for each result, then for each curve of Figure 1."""
  runs = all_runs()
  rows = [_row_of(result, runs) for result in tables.RESULTS]
  for data in ('imagenet1k', 'jft'):
    for layout in tables.FIGURE_1:
      run = runs[tables.figure_1_file(layout, data=data)]
      title = f'{layout} at 224, {_DATA[tables.JFT if data == "jft" else data]}'
      metric = 'precision_at_1' if data == 'jft' else 'top1'
      commands = tuple(chain(run))
      rows.append(
        Row(('Figure 1',), title, metric, None, (), run.gin_file, commands)
      )
  return rows


def _row_of(result: tables.Result, runs: dict[str, Run]) -> Row:
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
    commands=tuple(chain(run)),
  )


def format_text(rows: list[Row]) -> str:
  """Writes each row with its number, file and commands."""
  lines = [
    'DATA and RUNS stand for folders of yours; --tpu and the rest are in the',
    "head of each gin file. The numbers are the paper's: none was run here.",
  ]
  for row in rows:
    lines += ['', f'{_name_tables(row.tables)}: {row.title}']
    lines.append(f'  expected   {_expected(row)}')
    lines.append(f'  gin file   {row.gin_file}')
    lines += [f'  {step:9}  {command}' for step, command in row.commands]
  return '\n'.join(lines)


def _expected(row: Row) -> str:
  if row.expected is None:
    return 'no number, an order: see the head of the gin file'
  text = f'{_METRICS[row.metric]} {row.expected} %'
  for names, number in row.elsewhere:
    text += f', but {number} % in {_name_tables(names)}: the paper has both'
  return text


def _name_tables(names: tuple[str, ...]) -> str:
  if names == ('Figure 1',):
    return names[0]
  *first, last = names
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
  runs = all_runs()
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
    names = [_name_tables(row.tables) for row in by_file.get(path, [])]
    lines.append(
      f'| `{path.removeprefix("gin/")}` | {start} | '
      f'{"; ".join(dict.fromkeys(names)) or "pre-training alone"} | '
      f'{"; ".join(dict.fromkeys(numbers)) or "-"} |'
    )
  return '\n'.join(lines) + '\n'


def _number(row: Row) -> str:
  if row.expected is None:
    return 'an order'
  return f'{_METRICS[row.metric]} {row.expected}'
