"""Runs side by side: what differs, what does not compare, and where each is."""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_coatnet import files
from official_coatnet.analysis.paper import runs as paper_runs, tables
from official_coatnet.analysis.runs import history as history_lib
from official_coatnet.training import model_dir as model_dir_lib


def differences(
  histories: Sequence[history_lib.History],
) -> dict[str, list[Any]]:
  """Returns the settings that are not the same in all runs.

  Returns:
    Name to a value for each run, in their order; '-' for those whose settings
    cannot be read.
  """
  of_runs = [history_lib.settings(h) for h in histories]
  known = [each for each in of_runs if each]
  return {
    name: [each.get(name, '-') for each in of_runs]
    for name in (known[0] if known else ())
    if any(each[name] != known[0][name] for each in known)
  }


def in_common(histories: Sequence[history_lib.History]) -> Iterator[str]:
  """Yields sentences on why runs do not compare; none where they do."""
  if len(histories) < 2:
    return
  drawn = [h for h in histories if h.lines]
  names = [set(h.metrics()) for h in drawn]
  if len(names) > 1 and not set.intersection(*names) - {'train/core_hours'}:
    yield 'The runs have no metric in common.'
  known = [h.experiment for h in histories if h.experiment is not None]
  data = {
    (
      e.eval_data.source,
      e.eval_data.tfds_name,
      e.eval_data.data_dir,
      e.eval_data.split,
      e.eval_data.num_examples,
    )
    for e in known
  }
  if len({e.model.num_classes for e in known}) > 1:
    yield 'The runs have other classes: their accuracies do not compare.'
  elif len(data) > 1:
    yield (
      'The runs are evaluated on data of other names (eval_data below): see '
      'that they are the same before you compare accuracies.'
    )
  if len({e.loss.name for e in known}) > 1:
    yield 'The runs have other losses: their values do not compare.'


@dataclasses.dataclass(frozen=True)
class PaperNumber:
  """What the paper prints of a run's gin file.

  Attributes:
    metric: 'top1' or 'precision_at_1'.
    accuracy: In per cent.
    where: Such as 'Table 4'.
  """

  metric: str
  accuracy: float
  where: str


def paper_number(history: history_lib.History) -> PaperNumber | None:
  """Returns the paper's number for a run; None if there is none for it.

  The run has to be of the network and the image size of the paper's row still:
  bindings may have changed them.
  """
  known = paper_runs.all_runs()
  gin_file = next((g for g in _gin_files(history) if g in known), None)
  if gin_file is None or history.experiment is None:
    return None
  model = history.experiment.model
  results = [
    result
    for result in known[gin_file].results
    if result.model == model.name
    and model.height_width == (result.image_size, result.image_size)
  ]
  return _printed(results[0]) if results else None


def _printed(result: tables.Result) -> PaperNumber:
  where = ' and '.join(result.tables)
  word = 'Table' if len(result.tables) == 1 else 'Tables'
  return PaperNumber(result.metric, result.accuracy, f'{word} {where}')


def _gin_files(history: history_lib.History) -> list[str]:
  """Returns gin files of the repository that config.gin says it was made of."""
  path = os.path.join(history.model_dir, model_dir_lib.CONFIG_FILE)
  if not tf.io.gfile.exists(path):
    return []
  try:
    text = files.read_text(path)
  except ValueError:  # No text: `missing` is for what a report is made of.
    return []
  pattern = rf'^{re.escape(model_dir_lib.CONFIG_ORIGIN)}(.*)$'
  named = re.findall(pattern, text, re.MULTILINE)
  return [
    found.group(1)
    for name in named
    if (found := re.search(r'(?:^|/)(gin/.*)$', name.strip()))
  ]


def overview(histories: Sequence[history_lib.History]) -> dict[str, list[str]]:
  """Returns what there is to say of each run in a word or two, row by row."""
  rows: Mapping[str, Any] = {
    'network': _network,
    'steps': _steps,
    'last evaluation': lambda h: _evaluation(h, h.evaluations()[-1:]),
    'best evaluation': lambda h: _evaluation(h, [h.best()] if h.best() else []),
    'paper': _paper,
    'speed': _speed,
    'core-hours': lambda h: _number(h.last('train/core_hours'), '.3g'),
    'wall time': _wall_time,
    'restarts': _restarts,
    'bad steps': _bad_steps,
  }
  found = {name: [row(h) for h in histories] for name, row in rows.items()}
  # Rows that say nothing of any run are left out.
  return {k: v for k, v in found.items() if any(each != '-' for each in v)}


def _network(history: history_lib.History) -> str:
  if history.experiment is None:
    return '-'
  model = history.experiment.model
  size = ' x '.join(map(str, model.height_width))
  return f'{model.name}, {size} pixels, {model.num_classes} classes'


def _steps(history: history_lib.History) -> str:
  if not history.lines:
    return '-'
  last = max(history.lines, key=lambda line: line['step'])
  epoch = last.get('epoch')
  return f'{last["step"]:,}' + (f' ({epoch:.2f} epochs)' if epoch else '')


def _evaluation(
  history: history_lib.History, lines: Sequence[Mapping[str, Any]]
) -> str:
  criterion = history.criterion()
  if not lines or criterion is None:
    return '-'
  value = lines[0].get(f'eval/{criterion}')
  if value is None:
    return '-'
  shown = f'{value:.4f}' if criterion == 'loss' else f'{100 * value:.2f} %'
  return f'{criterion} {shown} at step {lines[0]["step"]:,}'


def _paper(history: history_lib.History) -> str:
  number = paper_number(history)
  if number is None:
    return '-'
  return f'{number.metric} {number.accuracy} % ({number.where})'


def _speed(history: history_lib.History) -> str:
  values = [v for _, _, v in history.points(f'{history_lib.SPEED}_per_core')]
  if not values:
    return '-'
  return f'{sorted(values)[len(values) // 2]:.1f} images/s/core'


def _number(value: float | None, form: str, unit: str = '') -> str:
  return '-' if value is None else f'{value:{form}}{unit}'


def _wall_time(history: history_lib.History) -> str:
  """Says what the time went into, largest first."""
  line = next(
    (e for e in history.lines[::-1] if e.get(history_lib.ALL_TIME)), None
  )
  if line is None:
    return '-'
  shares = {
    key.removeprefix(history_lib.GOODPUT).replace('_', ' '): value
    / line[history_lib.ALL_TIME]
    for key, value in line.items()
    if key in _parts(line)
  }
  shown = sorted(shares.items(), key=lambda item: -item[1])
  parts = [f'{name} {100 * share:.0f} %' for name, share in shown[:5]]
  return f'{line[history_lib.ALL_TIME] / 3600:.3g} h: {", ".join(parts)}'


def _parts(line: Mapping[str, Any]) -> list[str]:
  """Returns the keys of a line that are seconds, and parts of all."""
  others = (
    history_lib.ALL_TIME,
    f'{history_lib.GOODPUT}time',
    f'{history_lib.GOODPUT}cores',
  )
  return [
    key
    for key, value in line.items()
    if key.startswith(history_lib.GOODPUT)
    and key not in others
    and not key.startswith(f'{history_lib.GOODPUT}tpu')
    and value
  ]


def _restarts(history: history_lib.History) -> str:
  steps = history.restarts()
  if not history.lines:
    return '-'
  return ', '.join(f'step {step:,}' for step in steps) or 'none'


def _bad_steps(history: history_lib.History) -> str:
  values = [v for _, _, v in history.points('train/bad_steps')]
  return f'{sum(values):.0f}' if values else '-'


def format_text(histories: Sequence[history_lib.History]) -> str:
  """Writes overview, differences and what is missing as text."""
  rows = {'': [h.name for h in histories], **overview(histories)}
  lines = _align(rows)
  changed = differences(histories)
  if changed:
    lines += ['', 'Settings that differ:']
    lines += _align(
      {name: [str(v) for v in values] for name, values in changed.items()}
    )
  notes = [*in_common(histories)]
  for history in histories:
    prefix = f'{history.name}: ' if len(histories) > 1 else ''
    notes += [prefix + sentence for sentence in history.missing]
  return '\n'.join([*lines, *([''] if notes else []), *notes])


def _align(rows: Mapping[str, Sequence[str]]) -> list[str]:
  table = [(name, *values) for name, values in rows.items()]
  widths = [max(map(len, column)) for column in zip(*table)]
  return [
    '  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in table
  ]
