"""What None in a gin file means where a run starts from weights.

`MODEL = None` and `IMAGE_SIZE = None` are the network and the image size of the
weights to start from, and with the former goes how images are prepared.
"""

import dataclasses
import os
import re
from collections.abc import Sequence

import gin
import tensorflow as tf

from official_coatnet.modeling import config as model_config
from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir as model_dir_lib,
)

# Of a network: what a fine-tuning may change, and what is of no weight once
# there are weights.
_FREE = (
  'name',
  'image_size',
  'num_classes',
  'batch_norm_momentum',
  'kernel_stddev',
  'head_bias',
)


def joined(text: str) -> str:
  """Joins the lines that gin's printer has wrapped, and drops comments."""
  text = re.sub(r'\\\n\s*', ' ', text)
  return re.sub(r'^#.*$', '', text, flags=re.MULTILINE)


def take_from_start(
  bindings: Sequence[str], *, start: str | None, model_dir: str | None
) -> None:
  """Binds what is None in the network to what it is where its weights are.

  With `ModelConfig.name` the rest of the network and how images are prepared
  come from there, too. Bindings of the command line win over that, and it over
  the files.
  """
  text = joined(gin.config_str())
  missing = {}
  for field in ('name', 'image_size'):
    target = _find_unset(text, f'ModelConfig.{field}')
    if target is not None:
      missing[field] = target
  if not missing:
    return
  stored = _read_start(start, model_dir, missing=list(missing.values()))
  lines = [
    f'{target} = {getattr(stored.model, field)!r}'
    for field, target in missing.items()
  ]
  with gin.unlock_config():
    if 'name' in missing:
      gin.parse_config(_network_lines(stored) + _data_lines(stored, text))
      gin.parse_config(list(bindings))
    gin.parse_config(lines)


def _find_unset(text: str, parameter: str) -> str | None:
  """Returns what makes a parameter None: itself, or a macro."""
  bound = dict(re.findall(r'^([\w./]+) = (.*)$', text, re.MULTILINE))
  target = parameter
  while (value := bound.get(target, '')).startswith('%'):
    target = value[1:]
  return target if value == 'None' else None


def _read_start(
  start: str | None, model_dir: str | None, *, missing: list[str]
) -> experiment_lib.Experiment:
  """Returns the run that is in model_dir, or the one to start from."""
  folders = [model_dir] if model_dir else []
  if start:
    is_folder = tf.io.gfile.isdir(start)
    folders.append(start if is_folder else os.path.dirname(start))
  for folder in folders:
    path = os.path.join(folder, model_dir_lib.EXPERIMENT_FILE)
    if tf.io.gfile.exists(path):
      return model_dir_lib.read_experiment(folder)
  where = 'INIT_CHECKPOINT is None'
  if start:
    where = f'there is no {model_dir_lib.EXPERIMENT_FILE} beside {start!r}'
  names = ' and '.join(missing)
  raise ValueError(
    f'{names} is None, which means that of the weights to start from; but '
    f'{where}, which would say it. Set {names}, or INIT_CHECKPOINT to a '
    'model_dir or the name of published weights.'
  )


def _network_lines(stored: experiment_lib.Experiment) -> list[str]:
  """Returns what of a network is not as its row of the size table has it."""
  row = model_config.ModelConfig(stored.model.name)
  return [
    f'ModelConfig.{field.name} = {getattr(stored.model, field.name)!r}'
    for field in dataclasses.fields(row)
    if field.metadata.get('weights', True)
    and field.name not in _FREE
    and getattr(stored.model, field.name) != getattr(row, field.name)
  ]


def _data_lines(stored: experiment_lib.Experiment, text: str) -> list[str]:
  """Returns how images are prepared, for both splits."""
  crop = ('center_crop', 'eval_crop_fraction')
  lines = []
  for field in (*crop, *experiment_lib.PREPROCESSING):
    value = getattr(stored.eval_data, field)
    scopes = re.findall(rf'^(\w+/)DataConfig\.{field} = ', text, re.MULTILINE)
    lines += [
      f'{scope}DataConfig.{field} = {value!r}' for scope in ('', *scopes)
    ]
  return lines
