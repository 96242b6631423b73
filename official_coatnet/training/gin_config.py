"""From gin files and bindings to an `Experiment`, with errors that help.

gin itself refuses unknown names, undefined macros and unset %gin.REQUIRED. It
accepts macros and scopes that nobody reads, which is what misspelt ones are,
values that lead back to themselves, and any import: `gin_syntax` and
`gin_checks` refuse those before gin acts on them.
"""

import dataclasses
import glob
import inspect
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import gin
import tensorflow as tf

from official_coatnet import fields, files
from official_coatnet.data import config as data_config
from official_coatnet.modeling import config as model_config
from official_coatnet.training import (
  experiment as experiment_lib,
  gin_checks,
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

# What gin itself registers.
_OF_GIN = tuple(
  f'{module}{name}'
  for module in ('', 'gin.')
  for name in ('macro', 'constant', 'singleton')
)
# Those of an experiment's parts that are paths.
_PATHS = {
  'train_data': ('data_dir', 'file_pattern'),
  'eval_data': ('data_dir', 'file_pattern'),
  'run': ('init_checkpoint',),
}
# Where gin says that an error arose.
_PLACE = re.compile(r'\n *In bindings string line (\d+)\n *(.*)(?:\n *\^)?')


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
  allow_imports: Sequence[str] = (),
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
    allow_imports: Python packages that files and bindings may import, and so
      run. Any other import is an error.

  Returns:
    The experiment.

  Raises:
    ConfigError: If a file, name, macro or value is wrong; with the nearest
      match.
  """
  register()
  gin.clear_config()
  try:
    statements, chunks = gin_syntax.read(
      gin_files,
      bindings,
      read_file=lambda path: _read_file(path, root=root),
      allow_imports=allow_imports,
    )
    if not any(each.configurable == 'Experiment' for each in statements):
      raise ConfigError(
        f'{", ".join(gin_files)}: there is no experiment; begin the file with '
        "include 'gin/recipes/base.gin', or with another gin file of a run."
      )
    _parse(chunks, statements)
    gin_checks.check(statements, known=list(_configurables()))
    _check_origin(statements, allow_imports)
  except gin_syntax.GinSyntaxError as e:
    raise ConfigError(str(e)) from e
  try:
    run = _expand(gin.get_configurable('coatnet.RunConfig')(), 'run')
    start = run.init_checkpoint and find_start(run.init_checkpoint)
    gin_start.take_from_start(bindings, start=start, model_dir=model_dir)
    experiment = gin.get_configurable('coatnet.Experiment')()
    return _expand_paths(experiment, start=start)
  except (ValueError, TypeError, RuntimeError) as e:
    reason = _reason(e, statements)
    raise ConfigError(f'{reason} (from {", ".join(gin_files)})') from e


def _parse(
  chunks: Sequence[gin_syntax.Chunk],
  statements: Sequence[gin_syntax.Statement],
) -> None:
  """Hands to gin what was read."""
  for chunk in chunks:
    try:
      gin.parse_config(chunk.text)
    except (ValueError, KeyError, SyntaxError, OSError, ImportError) as e:
      # A KeyError: two configurables of one name.
      raise ConfigError(_explain(e, statements, file=chunk.file)) from e
  try:
    gin.finalize()
  except (ValueError, RuntimeError) as e:
    raise ConfigError(_explain(e, statements, file=None)) from e


def _check_origin(
  statements: Sequence[gin_syntax.Statement], allow_imports: Sequence[str]
) -> None:
  """Refuses what another package has registered that is not allowed.

  Libraries register functions when they are imported, for whatever reason.
  """
  known = {*_configurables(), *_OF_GIN, ''}
  for each in statements:
    made = {reference.rpartition('/')[2] for reference in each.makes}
    for name in sorted({each.configurable, *made} - known):
      module = gin.get_configurable(name).__module__
      if not gin_syntax.is_allowed(module, allow_imports):
        raise ConfigError(
          f'{each.place}: {name} is code of {module}. Remove the line, or, if '
          f'you trust {module}, add --allow_imports={module}.'
        )


def _reason(
  error: Exception, statements: Sequence[gin_syntax.Statement]
) -> str:
  """Says what is wrong with a value, and which macro has it."""
  # gin adds where a configurable was called; the first line is the reason.
  reason = str(error).split('\n  In call to configurable')[0]
  if match := re.match(r"(\w+)\.__init__\(\) missing .*: '(\w+)'", reason):
    field = f'{match.group(1)}.{match.group(2)}'
    return f'`{field}` is not set, and has no default; set it.'
  # gin copies errors to extend them: by its attributes it is one of a field.
  field = getattr(error, 'field', '')
  macro = field and gin_checks.macro_of(field, statements)
  if not macro:
    return reason
  written = f'Write {field.rpartition(".")[2]} = '
  if written in reason:
    return reason.replace(written, f'Write {macro} = ')
  return f'{reason} The macro {macro} sets it.'


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
  near = fields.nearest(word, known)
  return f' Did you mean {near!r}?' if near else ''


def _configurables() -> dict[str, list[str]]:
  """Returns the names that gin files may use, each with its parameters."""
  return {
    cls.__name__: list(inspect.signature(cls).parameters)
    for cls in CONFIGURABLES
  }


def _explain(
  error: Exception,
  statements: Sequence[gin_syntax.Statement],
  *,
  file: str | None,
) -> str:
  """Says what gin's parser says, the place first and the nearest match last."""
  message = str(error)
  place = _PLACE.search(message)
  message = _PLACE.sub('', message)
  if place is None:
    return _with_nearest(message, statements)
  line, text = place.groups()
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
    name, macros = match.group(1), gin_checks.macros(statements)
    return (
      f'The macro %{name} is read, but never set.{_did_you_mean(name, macros)}'
    )
  if match := re.match(r'No module named .*', message):
    return f"{message}; remove the line, or put the package on Python's path."
  return message


def write_config(model_dir: str, *, gin_files: Sequence[str] = ()) -> None:
  """Writes config.gin: all that was set and is read, readable by gin again.

  Args:
    model_dir: Where to.
    gin_files: Named at its head, as those that it was made of.
  """
  text = gin_checks.without_unread(gin.config_str())
  origin = ''.join(f'{model_dir_lib.CONFIG_ORIGIN}{f}\n' for f in gin_files)
  model_dir_lib.write_config(model_dir, origin + text)


def write_operative_config(model_dir: str) -> None:
  """Writes operative_config.gin: what was used, Python's defaults included."""
  model_dir_lib.write_operative_config(model_dir, gin.operative_config_str())
