"""Summaries of a network and of a run, as dicts and as text."""

import os
import statistics
from typing import Any

from official_coatnet.analysis.runs import time_use
from official_coatnet.modeling import complexity, config as config_lib
from official_coatnet.training import (
  checkpoint_files,
  model_dir as model_dir_lib,
)

_KINDS = {
  'conv_stem': 'convolution',
  'patch_stem': 'patches',
  'C': 'MBConv',
  'T': 'transformer',
}
# What an evaluation is judged by: the first that it has.
_CRITERIA = ('eval/top1', 'eval/precision_at_1')


def summarize_model(config: config_lib.ModelConfig) -> dict[str, Any]:
  """Counts parameters and multiply-adds of a network, stage by stage.

  Args:
    config: The network. It is built without values for its weights, so that the
      largest takes seconds and no memory to speak of.

  Returns:
    `model`, `image_size` [height, width], `num_classes`, and the totals
    `params` and `multiply_adds` (of one image, without
    `lookup_multiply_adds`, those of the relative bias, which do not depend on
    the image); and `stages`: a list of dicts with these three counts and
    `stage`, `block`, `blocks`, `width` and `output_size` [height, width].
  """
  *counts, total = complexity.count(config)
  kinds = [_KINDS[stage.kind] for stage in config.stages]
  stages = []
  for i, count in enumerate(counts):
    is_head = i == len(kinds)
    stages.append(
      {
        'stage': count.name,
        'block': 'head' if is_head else kinds[i],
        'blocks': 1 if is_head else config.blocks[i],
        'width': count.output_shape[-1],
        'output_size': list(count.output_shape[:-1]),
        **_counts(count),
      }
    )
  return {
    'model': config.name,
    'image_size': list(config.height_width),
    'num_classes': config.num_classes,
    **_counts(total),
    'stages': stages,
  }


def _counts(count: complexity.Count) -> dict[str, int]:
  fields = ('params', 'multiply_adds', 'lookup_multiply_adds')
  return {field: getattr(count, field) for field in fields}


def format_model(summary: dict[str, Any]) -> str:
  """Writes a summary of `summarize_model` as a table."""
  total = max(summary['multiply_adds'], 1)
  rows = [
    (
      stage['stage'].upper() if stage['stage'] != 'head' else 'head',
      stage['block'] if stage['block'] != 'head' else '',
      str(stage['blocks']) if stage['block'] != 'head' else '',
      str(stage['width']),
      'x'.join(map(str, stage['output_size'])),
      f'{stage["params"]:,}',
      f'{stage["multiply_adds"]:,}',
      f'{100 * stage["multiply_adds"] / total:.1f} %',
    )
    for stage in summary['stages']
  ]
  header = (
    'stage',
    'block type',
    'blocks',
    'width',
    'output',
    'parameters',
    'multiply-adds',
    'share',
  )
  totals = ('total', *[''] * 4, f'{summary["params"]:,}')
  totals += (f'{summary["multiply_adds"]:,}', '100.0 %')
  lines = _table([header, *rows, totals], left=2)
  size = 'x'.join(map(str, summary['image_size']))
  lookup = summary['lookup_multiply_adds']
  notes = [
    f'{summary["params"] / 1e6:.2f} M parameters, '
    f'{summary["multiply_adds"] / 1e9:.2f} G multiply-adds an image: what the '
    'paper calls FLOPs.'
  ]
  if lookup:
    notes.append(
      f'Not counted: {lookup / 1e9:.3g} G of the relative-bias look-ups, the '
      'same whatever the image.'
    )
  title = f'{summary["model"]}, {size} pixels, {summary["num_classes"]} classes'
  return '\n'.join([title, '', *lines, '', *notes])


def _table(rows: list[tuple[str, ...]], *, left: int) -> list[str]:
  """Aligns columns, the first `left` to the left; rules off head and total."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    '  '.join(
      cell.ljust(width) if i < left else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths))
    ).rstrip()
    for row in rows
  ]
  rule = '-' * max(map(len, lines))
  return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def summarize_run(model_dir: str) -> dict[str, Any]:
  """Summarises what a run has left in its folder.

  Args:
    model_dir: Folder of a run that has reported at least once.

  Returns:
    `model_dir`, `model`, `image_size` [height, width], `num_classes`, the last
    `step` and `epoch` reported, `checkpoint` (the newest that is whole, or
    None);
    `last_evaluation` and `best_evaluation` (lines of metrics.jsonl, or None;
    best by accuracy, or by the loss if there is none) and `best_by`;
    `images_per_second_per_core` (median over the loops, or None) and
    `core_hours` (of training, or None), and `time`, as of
    `time_use.summarize`.

  Raises:
    FileNotFoundError: If the folder is not one of a run.
    ValueError: If the run has reported nothing yet.
  """
  experiment = model_dir_lib.read_experiment(model_dir)
  metrics = read_metrics(model_dir)
  evaluations = [
    m
    for m in model_dir_lib.own_evaluations(metrics)
    if m['eval/loss'] is not None
  ]
  best_by = next(
    (name for name in _CRITERIA if evaluations and name in evaluations[-1]),
    'eval/loss',
  )
  sign = -1 if best_by == 'eval/loss' else 1
  best = max(evaluations, key=lambda m: sign * m[best_by], default=None)
  speeds = _values(metrics, 'train/images_per_second_per_core')
  core_hours = _values(metrics, 'train/core_hours')
  last = max(metrics, key=lambda m: m['step'])
  return {
    'model_dir': model_dir,
    'model': experiment.model.name,
    'image_size': list(experiment.model.height_width),
    'num_classes': experiment.model.num_classes,
    'step': last['step'],
    'epoch': last.get('epoch'),
    'checkpoint': _checkpoint(model_dir),
    'last_evaluation': evaluations[-1] if evaluations else None,
    'best_evaluation': best,
    'best_by': best_by,
    'images_per_second_per_core': statistics.median(speeds) if speeds else None,
    'core_hours': core_hours[-1] if core_hours else None,
    'time': time_use.summarize(metrics),
  }


def _checkpoint(model_dir: str) -> str | None:
  found = checkpoint_files.examine(model_dir)
  checkpoint_files.warn(found)
  return found.prefix


def compare_runs(model_dir: str, baseline_dir: str) -> dict[str, Any]:
  """Compares where two runs have ended, one of which is the baseline.

  The last evaluations are compared and not the best ones: choosing a step by
  what is evaluated would flatter both.

  Args:
    model_dir: Folder of a run that has been evaluated.
    baseline_dir: Folder of another, evaluated at the same step.

  Returns:
    `metric` (such as 'top1'), its `value` and `baseline`, the `gain` of the
    former over the latter, and of both runs `step`, `examples`, `model_dir` and
    `baseline_dir`.

  Raises:
    FileNotFoundError: If a folder is not one of a run.
    ValueError: If the runs cannot be compared: they have no accuracy in common,
      or were evaluated at other steps or on other numbers of images.
  """
  lines = [
    summarize_run(folder)['last_evaluation'] or {}
    for folder in (model_dir, baseline_dir)
  ]
  key = next((k for k in _CRITERIA if all(k in each for each in lines)), None)
  if key is None:
    raise ValueError(
      f'{model_dir!r} and {baseline_dir!r} have no accuracy in common; compare '
      'runs of one kind, both of which have been evaluated.'
    )
  for field in ('step', 'eval/examples'):
    ours, theirs = (each.get(field) for each in lines)
    if ours != theirs:
      raise ValueError(
        f'The last evaluation of {model_dir!r} has {field} {ours}, that of '
        f'{baseline_dir!r} {theirs}; compare runs of as many steps, evaluated '
        'on the same images.'
      )
  value, baseline = (each[key] for each in lines)
  return {
    'model_dir': model_dir,
    'baseline_dir': baseline_dir,
    'metric': key.removeprefix('eval/'),
    'value': value,
    'baseline': baseline,
    'gain': value - baseline,
    'step': lines[0]['step'],
    'examples': lines[0].get('eval/examples'),
  }


def format_comparison(comparison: dict[str, Any]) -> str:
  """Writes a comparison of `compare_runs` as a line."""
  return (
    f'{comparison["metric"]} {100 * comparison["value"]:.1f} %, '
    f'{100 * comparison["gain"]:+.1f} points over the '
    f'{100 * comparison["baseline"]:.1f} % of {comparison["baseline_dir"]}, '
    f'both after {comparison["step"]} steps'
  )


def read_metrics(model_dir: str) -> list[dict[str, Any]]:
  """Returns the metrics of a run.

  Raises:
    ValueError: If it has reported nothing yet.
  """
  metrics = model_dir_lib.read_metrics(model_dir)
  if not metrics:
    path = os.path.join(model_dir, model_dir_lib.METRICS_FILE)
    raise ValueError(
      f'{path} is missing or empty: the run has not finished its first loop of '
      'training or its first evaluation. Try again later.'
    )
  return metrics


def _values(metrics: list[dict[str, Any]], key: str) -> list[float]:
  return [m[key] for m in metrics if m.get(key) is not None]


def format_run(summary: dict[str, Any]) -> str:
  """Writes a summary of `summarize_run` as text."""
  size = 'x'.join(map(str, summary['image_size']))
  checkpoint = summary['checkpoint']
  speed, hours = summary['images_per_second_per_core'], summary['core_hours']
  rows = {
    'run': summary['model_dir'],
    'model': f'{summary["model"]}, {size} pixels, {summary["num_classes"]} '
    'classes',
    'trained': f'{summary["step"]} steps, {summary["epoch"]:.2f} epochs',
    'checkpoint': os.path.basename(checkpoint) if checkpoint else 'none yet',
    'best evaluation': _format_evaluation(summary['best_evaluation']),
    'last evaluation': _format_evaluation(summary['last_evaluation']),
    'speed': 'not known' if speed is None else f'{speed:.1f} images/s/core',
    'core-hours': 'not known' if hours is None else f'{hours:.3g}',
  }
  width = max(map(len, rows))
  lines = [f'{k.ljust(width)}  {v}' for k, v in rows.items()]
  if summary['time'] is not None:
    lines += ['', time_use.format_text(summary['time'])]
  return '\n'.join(lines)


def _format_evaluation(line: dict[str, Any] | None) -> str:
  if line is None:
    return 'none yet'
  values = {
    key.removeprefix('eval/'): value
    for key, value in line.items()
    if key.startswith('eval/') and value is not None
  }
  examples = values.pop('examples', None)
  parts = [f'{name} {value:.4f}' for name, value in values.items()]
  on = '' if examples is None else f' on {examples:.0f} images'
  return f'{", ".join(parts)}{on}, at step {line["step"]}'
