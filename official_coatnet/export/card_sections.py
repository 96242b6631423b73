"""What the cards of exports and of weights for others have in common."""

import os
from collections.abc import Mapping
from typing import Any

from official_coatnet.data import config as data_config
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)


def table(rows: Mapping[str, Any]) -> str:
  """Returns rows of a name and a value as a table of Markdown."""
  lines = [f'| {name} | {value} |' for name, value in rows.items()]
  return '\n'.join(['| | |', '|---|---|', *lines])


def crop(data: data_config.DataConfig) -> str:
  """Says what of an image evaluation takes."""
  if data.center_crop:
    return f'the middle {data.eval_crop_fraction:g} of each side'
  return 'the whole image, squeezed'


def normalization(data: data_config.DataConfig) -> str:
  """Says by what pixels are normalised."""
  mean, deviation = (
    ', '.join(f'{value:g}' for value in values)
    for values in (data.mean, data.deviation)
  )
  return f'red, green and blue in 0..1 less {mean}, divided by {deviation}'


def image_size(experiment: experiment_lib.Experiment) -> str:
  """Returns height and width of the images as text."""
  return ' x '.join(map(str, experiment.model.height_width))


def find_evaluation(model_dir: str, *, step: int) -> dict[str, Any] | None:
  """Returns the run's own evaluation of a checkpoint, or else its last one.

  Returns:
    A line of metrics.jsonl, or None if the run has evaluated nothing.
  """
  metrics = model_dir_lib.read_metrics(model_dir)
  lines = model_dir_lib.own_evaluations(metrics)
  same = [m for m in lines if m['step'] == step]
  found = same or lines
  return found[-1] if found else None


def metrics(
  experiment: experiment_lib.Experiment,
  line: Mapping[str, Any] | None,
  *,
  stored: checkpoints.StoredWeights,
  source: str = "From the run's own evaluation",
  weights: str = 'The exported weights',
) -> str:
  """Writes what an evaluation said, and of which weights it did.

  Args:
    experiment: What was run.
    line: Of `find_evaluation`.
    stored: The weights that the card is about.
    source: Where the numbers are from.
    weights: What the card calls its weights.
  """
  title = '## Metrics'
  if line is None:
    return f'{title}\n\nThe run did not evaluate itself.'
  rows = {
    key.removeprefix('eval/'): f'{value:,.6g}'
    for key, value in line.items()
    if key.startswith('eval/') and value is not None
  }
  step = model_dir_lib.checkpoint_step(stored.prefix)
  text = f'{source}, at step {line["step"]:,}.'
  if line['step'] != step:
    text += f' {weights} are of step {step:,}.'
  evaluated = 'ema' if experiment.uses_ema else 'raw'
  if stored.group != evaluated:
    text += (
      f' It evaluated the weights `{evaluated}`; these here are '
      f'`{stored.group}`.'
    )
  return f'{title}\n\n{text}\n\n{table(rows)}'


def start_origin(
  experiment: experiment_lib.Experiment,
) -> model_dir_lib.Origin | None:
  """Returns where the weights are from that a run has started from."""
  path = experiment.run.init_checkpoint
  if path is None:
    return None
  # It may be gone, or on another machine.
  found = model_dir_lib.read_origin(path)
  return found or model_dir_lib.read_origin(os.path.dirname(path))
