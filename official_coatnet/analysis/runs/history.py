"""What a run has left behind, read as far as it is there.

`summary` wants a whole run; a report is also of one that has just begun, was
cut off, or has lost a file, and says what is missing.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

# A line of a loop without it: the first loop of a process, which compiles.
SPEED = 'train/images_per_second'
# Seconds of wall time by what they went into, from the run's first start.
GOODPUT = 'goodput/'
ALL_TIME, _STEPS_TIME = f'{GOODPUT}total', f'{GOODPUT}step'
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
      if not _is_training(line):
        continue
      if before is not None and SPEED not in line:
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
  for line in lines:
    # Evaluations have the time, too, but are no points of this curve.
    has_time = line.get(ALL_TIME) and line.get(_STEPS_TIME) is not None
    if has_time and _is_training(line):
      line['train/goodput'] = line[_STEPS_TIME] / line[ALL_TIME]
  return History(name, model_dir, experiment, tuple(lines), tuple(missing))


def _is_training(line: Mapping[str, Any]) -> bool:
  return 'train/loss' in line


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
