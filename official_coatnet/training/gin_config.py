"""From gin files and bindings to an `Experiment`, with errors that help.

gin itself refuses unknown names, undefined macros and unset %gin.REQUIRED. It
accepts a binding to a macro that nobody reads, which is what a misspelt macro
is: that is refused here.
"""

import dataclasses
import difflib
import glob
import inspect
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import gin
import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.data import config as data_config
from official_coatnet.modeling import config as model_config
from official_coatnet.training import (
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  optimizer,
)

# Everything that a gin file can configure: `@coatnet.ModelConfig()` in it
# (`@ModelConfig()` for short) makes a `ModelConfig`, whose attributes are the
# parameters to bind.
CONFIGURABLES = (
  experiment_lib.Experiment,
  experiment_lib.LossConfig,
  experiment_lib.RunConfig,
  optimizer.OptimizerConfig,
  data_config.DataConfig,
  model_config.ModelConfig,
)

# Those of an experiment's parts that are paths.
_PATHS = {
  'train_data': ('data_dir', 'file_pattern'),
  'eval_data': ('data_dir', 'file_pattern'),
  'run': ('init_checkpoint',),
}
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
_MACRO = re.compile(r'^(\w+) = ', re.MULTILINE)
_REFERENCE = re.compile(r'%(\w+)')


class ConfigError(ValueError):
  """A gin file or binding that does not make an experiment."""


def register() -> None:
  """Registers all of `CONFIGURABLES`; a second call changes nothing.

  The classes themselves are left alone: called from Python, they know nothing
  of gin.
  """
  for cls in CONFIGURABLES:
    try:
      gin.get_configurable(f'coatnet.{cls.__name__}')
    except ValueError:  # Not registered yet.
      gin.register(cls, module='coatnet')


def load(
  gin_files: Sequence[str],
  bindings: Sequence[str] = (),
  *,
  root: str,
  find_start: Callable[[str], str | None] = lambda path: path,
  model_dir: str | None = None,
) -> experiment_lib.Experiment:
  """Makes the experiment that gin files and bindings describe.

  Args:
    gin_files: Paths, relative to the working directory or to `root`.
    bindings: Such as "BATCH_SIZE = 128"; later than the files.
    root: Folder that holds gin/, for includes and for `gin_files`.
    find_start: From `RunConfig.init_checkpoint` to the model_dir or checkpoint
      that it means.
    model_dir: Of the run. Where the network is None, it is that of the run that
      is there already, or else that of the checkpoint to start from.

  Returns:
    The experiment.

  Raises:
    ConfigError: If a file, name, macro or value is wrong; with the nearest
      match.
  """
  register()
  gin.clear_config()
  gin.add_config_file_search_path(root)
  paths = [_find_file(path, root=root) for path in gin_files]
  # gin logs an error for each search path in which it does not find a file.
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    gin.parse_config_files_and_bindings(paths, list(bindings))
  except (ValueError, SyntaxError, OSError) as e:
    raise ConfigError(_explain(e)) from e
  finally:
    logging.set_verbosity(verbosity)
  _check_macros()
  try:
    run = _expand(gin.get_configurable('coatnet.RunConfig')(), 'run')
    start = run.init_checkpoint and find_start(run.init_checkpoint)
    _take_from_start(bindings, start=start, model_dir=model_dir)
    experiment = gin.get_configurable('coatnet.Experiment')()
    return _expand_paths(experiment, start=start)
  except (ValueError, TypeError) as e:
    # gin adds where a configurable was called; the first line is the reason.
    reason = str(e).split('\n  In call to configurable')[0]
    raise ConfigError(f'{reason} (from {", ".join(gin_files)})') from e


def _take_from_start(
  bindings: Sequence[str], *, start: str | None, model_dir: str | None
) -> None:
  """Binds what is None in the network to what it is where its weights are.

  With `ModelConfig.name` the rest of the network and how images are prepared
  come from there, too. Bindings of the command line win over that, and it over
  the files.
  """
  text = _joined(gin.config_str())
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


def _expand_paths(
  experiment: experiment_lib.Experiment, *, start: str | None
) -> experiment_lib.Experiment:
  """Replaces paths by what they mean, which gin leaves as they are."""
  changes = {part: _expand(getattr(experiment, part), part) for part in _PATHS}
  changes['run'] = dataclasses.replace(changes['run'], init_checkpoint=start)
  return dataclasses.replace(experiment, **changes)


def _expand(config: Any, part: str) -> Any:
  """Replaces `~` and `$HOME` in the paths of a part of an experiment."""
  paths = {}
  for name in _PATHS[part]:
    path = getattr(config, name)
    if path is not None:
      try:
        paths[name] = files.expand(path)
      except ValueError as e:
        raise ValueError(f'{type(config).__name__}.{name}: {e}') from e
  return dataclasses.replace(config, **paths)


def _find_file(path: str, *, root: str) -> str:
  for candidate in (path, os.path.join(root, path)):
    if tf.io.gfile.exists(candidate):
      return candidate
  known = [
    os.path.relpath(p, root)
    for p in glob.glob(os.path.join(root, 'gin', '**', '*.gin'), recursive=True)
  ]
  raise ConfigError(
    f'No gin file {path!r}, neither here nor in the repository.'
    f'{_did_you_mean(path, known)}'
  )


def _did_you_mean(word: str, known: Sequence[str]) -> str:
  near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
  return f' Did you mean {near[0]!r}?' if near else ''


def _configurables() -> dict[str, list[str]]:
  """Returns the names that gin files may use, each with its parameters."""
  return {
    cls.__name__: list(inspect.signature(cls).parameters)
    for cls in CONFIGURABLES
  }


def _explain(error: Exception) -> str:
  """Adds the nearest match to an error of gin's parser."""
  message = str(error)
  if isinstance(error, SyntaxError):
    place = f' of {error.filename}' if error.filename else ''
    line = (error.text or '').strip()
    return f'Line {error.lineno}{place}, {line!r}: {error.msg}'
  known = _configurables()
  if match := re.search(r"No configurable matching '([\w./]+)'", message):
    name = match.group(1).split('/')[-1].split('.')[0]
    return f'{message}{_did_you_mean(name, list(known))}'
  pattern = r"'([\w.]+)' doesn't have a parameter named '(\w+)'"
  if match := re.search(pattern, message):
    parameters = known.get(match.group(1).split('.')[-1], [])
    return f'{message}{_did_you_mean(match.group(2), parameters)}'
  if match := re.search(
    r"No bindings specified for '(\w+)/gin.macro'", message
  ):
    name = match.group(1)
    return (
      f'The macro %{name} is read, but never set.'
      f'{_did_you_mean(name, _defined_macros())}'
    )
  return message


def _defined_macros() -> list[str]:
  return _MACRO.findall(_joined(gin.config_str()))


def _joined(text: str) -> str:
  """Joins the lines that gin's printer has wrapped, and drops comments."""
  text = re.sub(r'\\\n\s*', ' ', text)
  return re.sub(r'^#.*$', '', text, flags=re.MULTILINE)


def _check_macros() -> None:
  """Refuses macros that nothing reads: misspelt ones."""
  text = _joined(gin.config_str())
  defined, read = _MACRO.findall(text), set(_REFERENCE.findall(text))
  unread = [name for name in defined if name not in read]
  if unread:
    name = unread[0]
    raise ConfigError(
      f'The macro {name!r} is set, but nothing reads it.'
      f'{_did_you_mean(name, sorted(read))} Macros of this file: '
      f'{", ".join(sorted(read))}.'
    )


def write_config(model_dir: str) -> None:
  """Writes config.gin: all that was set, readable by gin again."""
  model_dir_lib.write_config(model_dir, gin.config_str())


def write_operative_config(model_dir: str) -> None:
  """Writes operative_config.gin: what was used, Python's defaults included."""
  model_dir_lib.write_operative_config(model_dir, gin.operative_config_str())
