"""What a run has left behind, read as far as it is there.

`summary` wants a whole run; a report is also of one that has just begun, was
cut off, or has lost a file, and says what is missing.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_coatnet import files
from official_coatnet.analysis.paper import runs as paper_runs, tables
from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

# A line of a loop without it: the first loop of a process, which compiles.
_SPEED = 'train/images_per_second'
# What evaluations are judged by: the first that there is.
CRITERIA = ('top1', 'precision_at_1', 'loss')


@dataclasses.dataclass(frozen=True)
class History:
  """A run, as its folder tells it.

  Attributes:
    name: What it is called beside others.
    model_dir: Its folder.
    experiment: What it is, or None if that cannot be read.
    lines: Of metrics.jsonl, but for evaluations on other data.
    missing: Sentences on what is not there.
  """

  name: str
  model_dir: str
  experiment: experiment_lib.Experiment | None
  lines: tuple[dict[str, Any], ...]
  missing: tuple[str, ...]

  def metrics(self) -> list[str]:
    """Returns the names of its metrics, such as 'train/loss', in order."""
    found: dict[str, None] = {}
    for line in self.lines:
      found.update((k, None) for k in line if '/' in k and line[k] is not None)
    return list(found)

  def points(self, key: str) -> list[tuple[int, float | None, float]]:
    """Returns (step, epoch, value) of a metric, by step."""
    # An evaluation of the best checkpoint comes after those of later steps.
    return sorted(
      (line['step'], line.get('epoch'), line[key])
      for line in self.lines
      if isinstance(line.get(key), (int, float))
    )

  def last(self, key: str) -> float | None:
    """Returns the last value of a metric; None if there is none."""
    points = self.points(key)
    return points[-1][2] if points else None

  def restarts(self) -> list[int]:
    """Returns the steps from which it has gone on in a new process."""
    found = []
    before: int | None = None
    for line in self.lines:
      if not any(key.startswith('train/') for key in line):
        continue
      if before is not None and _SPEED not in line:
        found.append(before)
      before = line['step']
    return found

  def evaluations(self) -> list[dict[str, Any]]:
    """Returns its lines of evaluations, by step."""
    lines = [line for line in self.lines if line.get('eval/loss') is not None]
    return sorted(lines, key=lambda line: line['step'])

  def criterion(self) -> str | None:
    """Returns what its evaluations are judged by; None without any."""
    lines = self.evaluations()
    return next(
      (c for c in CRITERIA if lines and f'eval/{c}' in lines[-1]), None
    )

  def best(self) -> dict[str, Any] | None:
    """Returns the line of its best evaluation; None without any."""
    criterion = self.criterion()
    if criterion is None:
      return None
    sign = -1 if criterion == 'loss' else 1
    key = f'eval/{criterion}'
    known = [e for e in self.evaluations() if e.get(key) is not None]
    return max(known, key=lambda line: sign * line[key], default=None)


def read(model_dirs: Sequence[str]) -> list[History]:
  """Reads runs, to be shown side by side.

  Args:
    model_dirs: Their folders, each once.

  Raises:
    ValueError: If a folder is named twice, or holds nothing of a run.
    FileNotFoundError: If there is no such folder.
  """
  whole = [path.rstrip('/') for path in model_dirs]
  for place, path in enumerate(whole):
    if path in whole[:place]:
      raise ValueError(f'{path!r} is named twice; name each run once.')
  return [_read(path, name) for path, name in zip(whole, _short(whole))]


def _short(paths: Sequence[str]) -> list[str]:
  """Returns the ends of paths, as long as it takes to tell them apart."""
  parts = [path.split('/') for path in paths]
  for length in range(1, max(map(len, parts)) + 1):
    names = ['/'.join(part[-length:]) for part in parts]
    if len(set(names)) == len(names):
      return names
  return list(paths)


def _read(model_dir: str, name: str) -> History:
  if not tf.io.gfile.exists(model_dir):
    raise FileNotFoundError(
      f'{model_dir!r} does not exist; give the model_dir of a run.'
    )
  if not tf.io.gfile.isdir(model_dir):
    raise ValueError(f'{model_dir!r} is a file; give the model_dir of a run.')
  missing = []
  experiment = None
  try:
    experiment = model_dir_lib.read_experiment(model_dir)
  except (FileNotFoundError, ValueError) as e:
    missing.append(str(e))
  lines = [
    line
    for line in model_dir_lib.read_metrics(model_dir)
    if not line.get(model_dir_lib.OTHER_EVALUATION)
  ]
  if experiment is None and not lines:
    raise ValueError(
      f'{model_dir!r} holds no run of this package: '
      f'{model_dir_lib.EXPERIMENT_FILE} is not there or cannot be read, and '
      f'{model_dir_lib.METRICS_FILE} has no line of ours.'
    )
  if not lines:
    missing.append(
      f'{model_dir_lib.METRICS_FILE} is missing or empty: the run has not '
      'finished its first loop of training, so there are no curves yet.'
    )
  elif _is_cut(model_dir):
    missing.append(
      f'The last line of {model_dir_lib.METRICS_FILE} is cut short, and left '
      'out.'
    )
  if lines and not any('eval/loss' in line for line in lines):
    missing.append('The run has not been evaluated.')
  return History(name, model_dir, experiment, tuple(lines), tuple(missing))


def _is_cut(model_dir: str) -> bool:
  path = os.path.join(model_dir, model_dir_lib.METRICS_FILE)
  with tf.io.gfile.GFile(path, 'rb') as f:
    f.seek(max(0, f.size() - 1))
    return f.read() != b'\n'


def settings(history: History) -> dict[str, Any]:
  """Returns all settings of a run by name, such as 'optimizer.decay'."""
  if history.experiment is None:
    return {}
  return {
    f'{part}.{field}': value
    for part, fields in history.experiment.to_dict().items()
    for field, value in fields.items()
  }


def differences(histories: Sequence[History]) -> dict[str, list[Any]]:
  """Returns the settings that are not the same in all runs.

  Returns:
    Name to a value for each run, in their order; '-' for those whose settings
    cannot be read.
  """
  of_runs = [settings(h) for h in histories]
  known = [each for each in of_runs if each]
  return {
    name: [each.get(name, '-') for each in of_runs]
    for name in (known[0] if known else ())
    if any(each[name] != known[0][name] for each in known)
  }


def in_common(histories: Sequence[History]) -> Iterator[str]:
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


def paper_number(history: History) -> PaperNumber | None:
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


def _gin_files(history: History) -> list[str]:
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


def overview(histories: Sequence[History]) -> dict[str, list[str]]:
  """Returns what there is to say of each run in a word or two, row by row."""
  rows: Mapping[str, Any] = {
    'network': _network,
    'steps': _steps,
    'last evaluation': lambda h: _evaluation(h, h.evaluations()[-1:]),
    'best evaluation': lambda h: _evaluation(h, [h.best()] if h.best() else []),
    'paper': _paper,
    'speed': _speed,
    'core-hours': lambda h: _number(h.last('train/core_hours'), '.3g'),
    'goodput': lambda h: _number(
      _percent(h.last('train/goodput')), '.1f', ' %'
    ),
    'restarts': _restarts,
    'bad steps': _bad_steps,
  }
  found = {name: [row(h) for h in histories] for name, row in rows.items()}
  # Rows that say nothing of any run are left out.
  return {k: v for k, v in found.items() if any(each != '-' for each in v)}


def _network(history: History) -> str:
  if history.experiment is None:
    return '-'
  model = history.experiment.model
  size = ' x '.join(map(str, model.height_width))
  return f'{model.name}, {size} pixels, {model.num_classes} classes'


def _steps(history: History) -> str:
  if not history.lines:
    return '-'
  last = max(history.lines, key=lambda line: line['step'])
  epoch = last.get('epoch')
  return f'{last["step"]:,}' + (f' ({epoch:.2f} epochs)' if epoch else '')


def _evaluation(history: History, lines: Sequence[Mapping[str, Any]]) -> str:
  criterion = history.criterion()
  if not lines or criterion is None:
    return '-'
  value = lines[0].get(f'eval/{criterion}')
  if value is None:
    return '-'
  shown = f'{value:.4f}' if criterion == 'loss' else f'{100 * value:.2f} %'
  return f'{criterion} {shown} at step {lines[0]["step"]:,}'


def _paper(history: History) -> str:
  number = paper_number(history)
  if number is None:
    return '-'
  return f'{number.metric} {number.accuracy} % ({number.where})'


def _speed(history: History) -> str:
  values = [v for _, _, v in history.points(f'{_SPEED}_per_core')]
  if not values:
    return '-'
  return f'{sorted(values)[len(values) // 2]:.1f} images/s/core'


def _number(value: float | None, form: str, unit: str = '') -> str:
  return '-' if value is None else f'{value:{form}}{unit}'


def _percent(value: float | None) -> float | None:
  return None if value is None else 100 * value


def _restarts(history: History) -> str:
  steps = history.restarts()
  if not history.lines:
    return '-'
  return ', '.join(f'step {step:,}' for step in steps) or 'none'


def _bad_steps(history: History) -> str:
  values = [v for _, _, v in history.points('train/bad_steps')]
  return f'{sum(values):.0f}' if values else '-'


def format_text(histories: Sequence[History]) -> str:
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
