"""From gin files and bindings to an `Experiment`, with errors that help.

gin itself refuses unknown names, undefined macros and unset %gin.REQUIRED. It
accepts a binding to a macro that nobody reads, which is what a misspelt macro
is, and macros that read each other: those are refused here.
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
  gin_start,
  gin_syntax,
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
# Where gin says that an error arose, for each file that led there.
_PLACE = re.compile(
  r'\n *In (?:file "(.*)",|bindings string) line (\d+)\n *(.*)(?:\n *\^)?'
)
# What is no text, if it stands in no quotes.
_NO_TEXT = re.compile(
  r'\s*([-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|True|False|None)\s*', re.IGNORECASE
)


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
  try:
    statements = gin_syntax.read(
      gin_files, bindings, read_file=lambda path: _read_file(path, root=root)
    )
  except gin_syntax.GinSyntaxError as e:
    raise ConfigError(str(e)) from e
  if not any('Experiment.' in each.name for each in statements):
    raise ConfigError(
      f'{", ".join(gin_files)}: there is no experiment; begin the file with '
      "include 'gin/recipes/base.gin', or with another gin file of a run."
    )
  _check_macros(statements)
  paths = [_find_file(path, root=root) for path in gin_files]
  # gin logs an error for each search path in which it does not find a file.
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    gin.parse_config_files_and_bindings(paths, list(bindings))
  except (ValueError, SyntaxError, OSError, ImportError) as e:
    raise ConfigError(_explain(e, statements)) from e
  finally:
    logging.set_verbosity(verbosity)
  try:
    run = _expand(gin.get_configurable('coatnet.RunConfig')(), 'run')
    start = run.init_checkpoint and find_start(run.init_checkpoint)
    gin_start.take_from_start(bindings, start=start, model_dir=model_dir)
    experiment = gin.get_configurable('coatnet.Experiment')()
    return _expand_paths(experiment, start=start)
  except (ValueError, TypeError) as e:
    # gin adds where a configurable was called; the first line is the reason.
    reason = str(e).split('\n  In call to configurable')[0]
    if quoted := _quoted_values(statements):
      reason += f' {quoted}'
    raise ConfigError(f'{reason} (from {", ".join(gin_files)})') from e


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
    if not isinstance(path, str | None):
      raise ValueError(
        f'{type(config).__name__}.{name} is {path!r}, but must be a path: a '
        "text in quotes, such as '/data'."
      )
    if path is not None:
      try:
        paths[name] = files.expand(path)
      except ValueError as e:
        raise ValueError(f'{type(config).__name__}.{name}: {e}') from e
  return dataclasses.replace(config, **paths)


def _find_file(path: str, *, root: str) -> str:
  if not path:
    raise ConfigError(
      'The name of the gin file is empty; name one, such as gin/demo.gin.'
    )
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


def _read_file(path: str, *, root: str) -> tuple[str, str]:
  """Returns where a gin file is, and what is in it."""
  path = _find_file(path, root=root)
  if tf.io.gfile.isdir(path):
    raise ConfigError(
      f'{path} is a folder; name a gin file, such as gin/demo.gin.'
    )
  try:
    with tf.io.gfile.GFile(path, 'rb') as file:
      text = file.read().decode('utf-8')
  except UnicodeDecodeError as e:
    raise ConfigError(
      f'{path} is no text in UTF-8; name a gin file, such as gin/demo.gin.'
    ) from e
  except tf.errors.OpError as e:
    raise ConfigError(f'{path} cannot be read; check its permissions.') from e
  if text.startswith('\ufeff'):
    raise ConfigError(
      f'{path} begins with a byte order mark; save it as UTF-8 without one.'
    )
  return path, text


def _did_you_mean(word: str, known: Sequence[str]) -> str:
  near = [each for each in known if each.lower() == word.lower()]
  near = near or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
  return f' Did you mean {near[0]!r}?' if near else ''


def _configurables() -> dict[str, list[str]]:
  """Returns the names that gin files may use, each with its parameters."""
  return {
    cls.__name__: list(inspect.signature(cls).parameters)
    for cls in CONFIGURABLES
  }


def _explain(
  error: Exception, statements: Sequence[gin_syntax.Statement]
) -> str:
  """Says what gin's parser says, the place first and the nearest match last."""
  message = str(error)
  # The first place is where it is; the others are what includes it.
  place = _PLACE.search(message)
  message = _PLACE.sub('', message)
  if place is None:
    return _with_nearest(message, statements)
  file, line, text = place.groups()
  where = f'{file}, line {line}, {text!r}' if file else f'Binding {text!r}'
  return f'{where}: {_with_nearest(message, statements)}'


def _with_nearest(
  message: str, statements: Sequence[gin_syntax.Statement]
) -> str:
  """Adds the nearest match to a message of gin's."""
  known = _configurables()
  pattern = r"No configurable matching (?:reference )?'@?([\w./]+)"
  if match := re.search(pattern, message):
    name = match.group(1).split('/')[-1].split('.')[0]
    return f'There is no {name!r} to set.{_did_you_mean(name, list(known))}'
  pattern = r"'([\w.]+)' doesn't have a parameter named '(\w+)'"
  if match := re.search(pattern, message):
    parameters = known.get(match.group(1).split('.')[-1], [])
    return (
      f'{match.group(1)} has no {match.group(2)!r}.'
      f'{_did_you_mean(match.group(2), parameters)}'
    )
  pattern = r"No bindings specified for '(\w+)/gin.macro'"
  if match := re.search(pattern, message):
    name, macros = match.group(1), _macros(statements)
    return (
      f'The macro %{name} is read, but never set.{_did_you_mean(name, macros)}'
    )
  if match := re.match(r'No module named .*', message):
    return f'{message}; nothing here needs an import: remove the line.'
  return message


def _quoted_values(statements: Sequence[gin_syntax.Statement]) -> str:
  """Names values that look like numbers, and are texts, by their quotes."""
  values = {each.name: each.value for each in statements}
  return ' '.join(
    f'{name} is set to {value!r}, a text; write {name} = {value.strip()}, '
    'without quotes.'
    for name, value in values.items()
    if isinstance(value, str) and _NO_TEXT.fullmatch(value)
  )


def _macros(statements: Sequence[gin_syntax.Statement]) -> list[str]:
  """Returns the macros that are set."""
  return sorted({each.name for each in statements if '.' not in each.name})


def _check_macros(statements: Sequence[gin_syntax.Statement]) -> None:
  """Refuses macros that nothing reads, and those that read each other.

  A macro whose reader was set to something else later is left alone.
  """
  last = {each.name: i for i, each in enumerate(statements)}
  now_read = {name for i in last.values() for name in statements[i].reads}
  readers: dict[str, list[str]] = {}
  for each in statements:
    for name in each.reads:
      readers.setdefault(name, []).append(each.name)
  known = sorted(name for name in readers if '.' not in name)
  for name in _macros(statements):
    if name in now_read:
      continue
    if name not in readers:
      raise ConfigError(
        f'The macro {name!r} is set, but nothing reads it.'
        f'{_did_you_mean(name, known)} Macros of this file: '
        f'{", ".join(known)}.'
      )
    direct = readers[name][-1]
    if last[name] > max(last[reader] for reader in readers[name]):
      raise ConfigError(
        f'The macro {name!r} is set, but {direct}, which would read it, was '
        'set before to a value of its own; remove one of the two.'
      )
  _check_no_circle({name: statements[i].reads for name, i in last.items()})


def _check_no_circle(reads: dict[str, frozenset[str]]) -> None:
  """Refuses macros that read themselves, perhaps by others."""

  def visit(name: str, path: tuple[str, ...]) -> None:
    if name in path:
      circle = ' = '.join(f'%{each}' for each in (*path, name))
      raise ConfigError(
        f'The macro {name!r} is set to itself: {circle}; give it a value.'
      )
    for other in sorted(reads.get(name, ())):
      visit(other, (*path, name))

  for name in sorted(reads):
    visit(name, ())


def _unread() -> list[str]:
  """Returns macros that were set, and are not read: their reader is set."""
  text = gin_start.joined(gin.config_str())
  read = set(re.findall(r'%([\w/]+)', text))
  macros = re.findall(r'^([\w/]+) = ', text, flags=re.MULTILINE)
  return [name for name in macros if name not in read]


def write_config(model_dir: str) -> None:
  """Writes config.gin: all that was set and is read, readable by gin again."""
  text = gin.config_str()
  for name in _unread():
    # Its value may go on in lines that are indented.
    text = re.sub(
      rf'^{name} = .*\n(?:[ \t]+.*\n)*', '', text, flags=re.MULTILINE
    )
  model_dir_lib.write_config(model_dir, text)


def write_operative_config(model_dir: str) -> None:
  """Writes operative_config.gin: what was used, Python's defaults included."""
  model_dir_lib.write_operative_config(model_dir, gin.operative_config_str())
