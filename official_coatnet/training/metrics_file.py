"""metrics.jsonl of a model_dir: a line for each loop and each evaluation.

{"step": 400, "epoch": 4.0, "train/loss": 0.71, "train/top1": 0.83, ...}
{"step": 400, "epoch": 4.0, "eval/loss": 0.65, "eval/top1": 0.86, ...}

A process may be killed, and a disk be full, in the middle of a line. Such a
piece is left out wherever it stands, and nothing else with it.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from official_coatnet import files

FILE = 'metrics.jsonl'
# In a line: the evaluation is on other data, or with other settings, than those
# of the run.
OTHER_EVALUATION = 'eval/otherwise'
# How each line begins.
_START = '{"step"'


class MetricsFile:
  """Appends metrics to metrics.jsonl in a model_dir, local or not."""

  def __init__(self, model_dir: str, *, writes: bool = True):
    """Makes the file's name; the first line makes the file.

    Args:
      model_dir: Folder of the run.
      writes: Whether to write at all: of several workers, one does.
    """
    self._writes = writes
    self._model_dir = model_dir
    self._path = os.path.join(model_dir, FILE)
    # What could not be written yet.
    self._lines: list[dict[str, Any]] = []

  def rewind(self, step: int, *, evaluates: bool = False):
    """Drops what the run will write again when it resumes at `step`.

    Args:
      step: Step of the checkpoint; later lines go.
      evaluates: Whether the run evaluates at this step again: then its
        evaluation goes, too.
    """
    if not self._writes or not tf.io.gfile.exists(self._path):
      return
    kept = [
      line
      for line in read(self._model_dir)
      if line['step'] <= step
      and not (
        evaluates
        and line['step'] == step
        and 'eval/loss' in line
        and not line.get(OTHER_EVALUATION)
      )
    ]
    files.write_text(self._path, _join(kept))

  def write(self, step: int, values: dict[str, float]):
    """Appends one line. A value that JSON cannot hold is written as null.

    Where it cannot be written, as on a full disk, the log says so, and it comes
    with the next line that can.
    """
    if not self._writes:
      return
    line: dict[str, float | None] = {'step': step}
    for name, value in values.items():
      line[name] = value if math.isfinite(value) else None
    if self._lines:  # Some of them may have been written before the error.
      written = read(self._model_dir)
      self._lines = [each for each in self._lines if each not in written]
    self._lines.append(line)
    try:
      text = _join(self._lines)
      if self._ends_within_a_line():
        text = f'\n{text}'
      with tf.io.gfile.GFile(self._path, 'a') as f:
        f.write(text)
    except tf.errors.OpError as e:
      logging.warning(
        'The metrics of step %d cannot be written yet (%s).', step, e.message
      )
    else:
      self._lines = []

  def _ends_within_a_line(self) -> bool:
    try:
      length = tf.io.gfile.stat(self._path).length
    except tf.errors.NotFoundError:
      return False
    if not length:
      return False
    with tf.io.gfile.GFile(self._path, 'rb') as f:
      f.seek(length - 1)
      return f.read(1) != b'\n'


def _join(lines: Sequence[dict[str, Any]]) -> str:
  return ''.join(json.dumps(line) + '\n' for line in lines)


def read(model_dir: str) -> list[dict[str, Any]]:
  """Returns the lines of metrics.jsonl; none where there is no such file.

  A line that was cut short by the end of its process is left out.
  """
  path = os.path.join(model_dir, FILE)
  if not tf.io.gfile.exists(path):
    return []
  with tf.io.gfile.GFile(path, 'rb') as f:
    text = f.read().decode(errors='replace')
  return [line for part in text.split('\n') for line in _whole_lines(part)]


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
  """Yields what is whole of a line, at which others may have been glued."""
  decoder = json.JSONDecoder()
  start = text.find(_START)
  while start >= 0:
    try:
      line, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError:
      end = start + 1
    else:
      if isinstance(line['step'], int):
        yield line
    start = text.find(_START, end)


def own_evaluations(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """Returns those of a run's metrics that are its own evaluations, by step.

  Mode 'eval' takes the best checkpoint, of an earlier step than the last line.
  """
  own = [
    line
    for line in lines
    if 'eval/loss' in line and not line.get(OTHER_EVALUATION)
  ]
  return sorted(own, key=lambda line: line['step'])
