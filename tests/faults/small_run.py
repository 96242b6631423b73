"""A run that takes seconds, and what it has to come to, whatever befalls it."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tests.faults import bench as bench_lib
from tests.fixtures import tool_calls

TOTAL_STEPS = 48
_SETTINGS = {
  'MODEL': "'coatnet_test'",
  'ModelConfig.blocks': '(1, 1, 1, 1, 1)',
  'IMAGE_SIZE': '32',
  'BATCH_SIZE': '4',
  'DataConfig.source': "'synthetic'",
  'DataConfig.num_examples': '22',
  'train/DataConfig.randaugment': 'None',
  'WARMUP_EPOCHS': '0',
  'TRAIN_STEPS': str(TOTAL_STEPS),
  'RunConfig.eval_interval_epochs': 'None',
  'RunConfig.eval_interval_steps': '8',
  'RunConfig.checkpoint_interval_steps': '4',
  'RunConfig.steps_per_loop': '2',
}
# What depends on the clock and not on the run.
_OF_TIME = re.compile(r'images_per_second|core_hours|seconds|^goodput/')
# What a checkpoint holds of the clock.
_CLOCK = re.compile(r'^(clock|save_counter)/|/?\.ATTRIBUTES/.*clock')


def arguments(model_dir: str, **settings: str) -> list[str]:
  """Returns the command line of a run, behind the tool's name.

  Args:
    model_dir: Its folder.
    **settings: Other values of gin keys, as text; a dot is two underscores, and
      a scope goes before three.
  """
  values = dict(_SETTINGS)
  for name, value in settings.items():
    key = name.replace('___', '/').replace('__', '.')
    values[key] = value
  bindings = [f'--gin_bindings={key} = {v}' for key, v in values.items()]
  return ['--gin_file=gin/demo.gin', *bindings, f'--model_dir={model_dir}']


def whole(bench: bench_lib.Bench) -> str:
  """Returns the folder of the run that nothing has disturbed."""

  def make(folder: str) -> None:
    finish(bench, folder)

  return bench.shared.get('whole_run', make)


def finish(bench: bench_lib.Bench, model_dir: str) -> tool_calls.Result:
  """Runs it to its end.

  Raises:
    AssertionError: If it does not come to one.
  """
  result = bench.run('train', arguments(model_dir))
  if result.code:
    raise AssertionError(
      f'train.py ended with {result.code}:\n{tail(result.errors)}'
    )
  return result


def tail(words: str, lines: int = 12) -> str:
  """Returns the last lines of what a tool said."""
  return '\n'.join(words.splitlines()[-lines:])


def differences(model_dir: str, expected: str) -> list[str]:
  """Compares what two runs have come to.

  Args:
    model_dir: The folder of one.
    expected: That of one which was not disturbed.

  Returns:
    What differs: variables of the last checkpoint, by a single bit; lines of
    metrics.jsonl, but for figures of time; steps of evaluations; files that
    are left over.
  """
  problems = []
  ours, theirs = (variables(each) for each in (model_dir, expected))
  if set(ours) != set(theirs):
    problems.append(f'other variables: {sorted(set(ours) ^ set(theirs))[:5]}')
  others = [
    name
    for name in ours
    if name in theirs and ours[name].tobytes() != theirs[name].tobytes()
  ]
  if others:
    problems.append(f'{len(others)} variables differ, such as {others[0]}')
  try:
    lines, expected_lines = (metrics(each) for each in (model_dir, expected))
  except ValueError as e:
    return [*problems, str(e)]
  if lines != expected_lines:
    problems.append(_first_difference(lines, expected_lines))
  left = sorted(_files(model_dir) - _files(expected))
  if left:
    problems.append(f'left over: {", ".join(left[:5])}')
  return problems


def metrics(model_dir: str) -> list[dict[str, Any]]:
  """Returns the lines of metrics.jsonl without what depends on the clock.

  Raises:
    ValueError: If a line is none.
  """
  lines = []
  with open(os.path.join(model_dir, 'metrics.jsonl')) as f:
    for number, line in enumerate(f, 1):
      try:
        values = json.loads(line)
      except ValueError as e:
        raise ValueError(f'metrics.jsonl, line {number}: {line!r}') from e
      lines.append({k: v for k, v in values.items() if not _OF_TIME.search(k)})
  return lines


def _first_difference(lines, expected) -> str:
  for number, (ours, theirs) in enumerate(zip(lines, expected), 1):
    if ours != theirs:
      return f'metrics.jsonl, line {number}: {ours} instead of {theirs}'
  return f'metrics.jsonl has {len(lines)} lines instead of {len(expected)}'


def variables(
  model_dir: str, *, step: int = TOTAL_STEPS
) -> Mapping[str, np.ndarray]:
  """Returns the values of a checkpoint by their names in it."""
  prefix = os.path.join(model_dir, f'ckpt-{step}')
  reader = tf.train.load_checkpoint(prefix)
  return {
    name: np.asarray(reader.get_tensor(name))
    for name in reader.get_variable_to_shape_map()
    if name != '_CHECKPOINTABLE_OBJECT_GRAPH' and not _CLOCK.search(name)
  }


def digest(values: Iterable[np.ndarray]) -> str:
  """Returns the sha256 of the bytes of arrays, one after the other."""
  result = hashlib.sha256()
  for value in values:
    result.update(np.asarray(value).tobytes())
  return result.hexdigest()


def _files(model_dir: str) -> set[str]:
  """Returns the files of a run but for checkpoints and events.

  Events have the time in their names; a checkpoint more, which is saved where a
  run is stopped, shifts those that follow.
  """
  found = set()
  for folder, _, names in os.walk(model_dir):
    for name in names:
      path = os.path.relpath(os.path.join(folder, name), model_dir)
      if not re.match(r'ckpt-\d+\.[^/]*$|.*events\.out\.', path):
        found.add(path)
  return found


def whole_checkpoint_steps(model_dir: str) -> list[int]:
  """Returns the steps of the checkpoints whose two files are there."""
  steps = []
  for name in os.listdir(model_dir) if os.path.isdir(model_dir) else ():
    found = re.fullmatch(r'ckpt-(\d+)\.index', name)
    data = f'{name.removesuffix(".index")}.data-00000-of-00001'
    if found and os.path.exists(os.path.join(model_dir, data)):
      steps.append(int(found[1]))
  return sorted(steps)
