"""Checkpoints: what is in them, and how weights come out of them.

A checkpoint is an ordinary TensorFlow one in which each weight stands under its
own name, `weights/<layer>/<variable>`, and each average under `ema/`. Whoever
reads it (resume, evaluation, export, fine-tuning) asks for names, and never
depends on the order in which a program built its objects.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from official_coatnet.modeling import attention
from official_coatnet.training import (
  checkpoint_files,
  experiment as experiment_lib,
  guard,
  model_dir as model_dir_lib,
)

_SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'
_GROUPS = {'raw': 'weights', 'ema': 'ema'}


def named_weights(model: tf.keras.Model) -> dict[str, tf.Variable]:
  """Returns the weights of a model by name, BatchNorm statistics included.

  Caches of relative biases are left out: they follow from the weights.

  Raises:
    ValueError: If two weights have one name.
  """
  weights = {}
  for variable in model.weights:
    name = variable.name.removesuffix(':0')
    if name.endswith(attention.CACHE_SUFFIX):
      continue
    if name in weights:
      raise ValueError(f'Two weights of {model.name!r} are called {name!r}.')
    weights[name] = variable
  return weights


def _unescape(name: str) -> str:
  # A checkpoint writes '/' of a name as '.S' and '.' as '..'.
  return name.replace('.S', '/').replace('..', '.')


class StoredWeights:
  """The weights in a checkpoint, raw or averaged, read one at a time.

  Attributes:
    prefix: Path of the checkpoint, without ending.
    group: 'ema' or 'raw'.
    shapes: Name to shape.
  """

  def __init__(
    self, path: str, *, weights: str | None = None, step: int | None = None
  ):
    """Opens a checkpoint that is whole.

    Args:
      path: A model_dir or a checkpoint, as of `model_dir.find_checkpoint`.
      weights: 'ema', 'raw', or None for EMA where there is one.
      step: Which checkpoint of a model_dir; None for its best, or newest.

    Raises:
      ValueError: If there is no checkpoint, or no such weights in it.
    """
    experiment_lib.check_weights(weights)
    self._open(model_dir_lib.find_checkpoint(path, step=step), weights)

  @classmethod
  def of_whole(cls, prefix: str, *, weights: str | None) -> 'StoredWeights':
    """Opens a checkpoint of which somebody knows that it is whole."""
    stored = cls.__new__(cls)
    stored._open(prefix, weights)
    return stored

  def _open(self, prefix: str, weights: str | None):
    self.prefix = prefix
    with readable(prefix):
      self._reader = tf.train.load_checkpoint(prefix)
    groups = {group: self._names(top) for group, top in _GROUPS.items()}
    self.group = weights or ('ema' if groups['ema'] else 'raw')
    if self.group == 'ema' and not groups['ema']:
      raise ValueError(
        f'`weights` is "ema", but the checkpoint {self.prefix!r} holds no '
        'average: its run had no `ema_decay`. Use weights="raw".'
      )
    if not groups[self.group]:
      raise ValueError(
        f'The checkpoint {self.prefix!r} holds no weights of a network of this '
        'package.'
      )
    self._keys = groups[self.group]
    shapes = self._reader.get_variable_to_shape_map()
    self.shapes = {n: tuple(shapes[key]) for n, key in self._keys.items()}

  def _names(self, top: str) -> dict[str, str]:
    """Returns name to key of the variables under one top-level name."""
    return {
      _unescape(key[len(top) + 1 : -len(_SUFFIX)]): key
      for key in self._reader.get_variable_to_shape_map()
      if key.startswith(f'{top}/')
      and key.endswith(_SUFFIX)
      and '.OPTIMIZER_SLOT' not in key
    }

  def read(self, name: str) -> np.ndarray:
    """Returns the value of one weight; a ValueError if it is damaged."""
    with readable(self.prefix):
      return self._reader.get_tensor(self._keys[name])

  def check_finite(self, *, what: str) -> None:
    """Refuses weights that are not finite. Reads them all.

    Args:
      what: What is not done with them, the beginning of a sentence.

    Raises:
      guard.NonFiniteWeightsError: If there are any; says which.
    """
    names = sorted(self.shapes)
    ruined = [n for n in names if not np.isfinite(self.read(n)).all()]
    guard.check_weights(
      ruined, what=f'{what} the checkpoint {self.prefix!r} ({self.group})'
    )


@contextlib.contextmanager
def readable(prefix: str | None) -> Iterator[None]:
  """Within it, a checkpoint that is damaged is a ValueError.

  Args:
    prefix: Of the checkpoint; None if there is none to be read.
  """
  try:
    yield
  # An index that has no data behind it is the former.
  except (IndexError, tf.errors.OpError) as e:
    if prefix is None:
      raise
    raise _damaged(prefix) from e


def _damaged(prefix: str) -> ValueError:
  return ValueError(
    f'The checkpoint {prefix!r} cannot be read: its files are damaged or cut '
    'off. Copy them again.'
  )


def load_weights(
  model: tf.keras.Model,
  path: str,
  *,
  weights: str | None = None,
  step: int | None = None,
) -> str:
  """Sets all weights of a model from a checkpoint of the same network.

  Args:
    model: The network. Under a strategy, call within its scope.
    path: A model_dir or a checkpoint.
    weights: 'ema', 'raw', or None for EMA where there is one.
    step: Which checkpoint of a model_dir; None for its best, or newest.

  Returns:
    The prefix of the checkpoint.

  Raises:
    ValueError: If the checkpoint does not fit; the message names the weights.
  """
  stored = StoredWeights(path, weights=weights, step=step)
  variables = named_weights(model)
  problems = _mismatches(variables, stored.shapes)
  if problems:
    remedy = 'Use the configuration it was trained with (config.gin beside it).'
    if all('/relative_bias: ' in problem for problem in problems):
      remedy = (
        'It was trained at another image size. Fine-tune it at this one: set '
        'RunConfig.init_checkpoint to it in a run of its own, which resizes '
        'the relative-bias tables; or set IMAGE_SIZE back.'
      )
    raise ValueError(
      f'The checkpoint {stored.prefix!r} does not fit the network '
      f'{model.name!r}: {shorten(problems)}\n{remedy}'
    )
  for name, variable in variables.items():
    variable.assign(stored.read(name))
  return stored.prefix


def check_resumable(
  model: tf.keras.Model, latest: str | None, *, has_averages: bool
):
  """Checks that the checkpoint to resume from is of this run.

  TensorFlow restores what has the same name and shape, and leaves the rest at
  its random start without a word.

  Args:
    model: The network that is to be trained on.
    latest: The checkpoint, whole (`newest_whole`); None if there is none yet.
    has_averages: Whether the run averages its weights.

  Raises:
    ValueError: If weights or averages are missing or of another shape.
  """
  if latest is None:
    return
  stored = StoredWeights.of_whole(latest, weights='raw')
  problems = _mismatches(named_weights(model), stored.shapes)
  if problems:
    raise ValueError(
      f'The run cannot resume from {stored.prefix!r}, which is of another '
      f'network: {shorten(problems)}\nGive another --model_dir, or the '
      'configuration of that run (config.gin beside it).'
    )
  if has_averages:
    try:
      StoredWeights.of_whole(latest, weights='ema')
    except ValueError as e:
      raise ValueError(
        f'The run cannot resume from {stored.prefix!r}: `ema_decay` is set, '
        'but the checkpoint holds no average. Set it to None, as it was, or '
        'give another --model_dir and start from this one by '
        'RunConfig.init_checkpoint.'
      ) from e


# Who has to do with checkpoints finds it here, too.
newest_whole = checkpoint_files.newest_whole


def describe_good(model_dir: str) -> str:
  """Says from which checkpoint a run that has diverged can go on.

  The last step before a checkpoint may have spoilt the weights without any
  loss that shows it.
  """
  latest = checkpoint_files.examine(model_dir).prefix
  if latest is None:
    return 'No checkpoint was written before: the same command starts anew.'
  good = checkpoint_files.examine(model_dir, finite=True).prefix
  if good is None:
    return (
      f'The checkpoints in {model_dir} hold weights that are no numbers, too: '
      'start anew, with another --model_dir or --restart.'
    )
  if good == latest:
    return (
      f'The last checkpoint, {good}, is from before: the same command goes '
      'on from it.'
    )
  return (
    f'The last checkpoint, {latest}, holds weights that are no numbers; the '
    f'last good one is {good}. To go on from it, write model_checkpoint_path: '
    f'"{os.path.basename(good)}" into the first line of '
    f'{os.path.join(model_dir, checkpoint_files.STATE_FILE)}.'
  )


def shorten(problems: list[str], *, shown: int = 10) -> str:
  """Returns the first problems a line each, and how many more there are."""
  lines = [f'\n  {problem}' for problem in problems[:shown]]
  if len(problems) > shown:
    lines.append(f'\n  and {len(problems) - shown} more')
  return ''.join(lines)


def _mismatches(
  variables: Mapping[str, tf.Variable],
  stored: Mapping[str, tuple[int, ...]],
) -> list[str]:
  problems = []
  for name, variable in variables.items():
    if name not in stored:
      problems.append(f'{name}: not in the checkpoint')
    elif stored[name] != tuple(variable.shape):
      problems.append(
        f'{name}: {list(stored[name])} in the checkpoint, '
        f'{variable.shape.as_list()} in the network'
      )
  problems += [
    f'{name}: only in the checkpoint'
    for name in stored
    if name not in variables
  ]
  return problems


class CheckedCheckpoint(tf.train.Checkpoint):
  """A checkpoint that asks before it is written whether it may be."""

  def __init__(self, *, check: Callable[[], None], **objects):
    """Takes what it holds.

    Args:
      check: Called before each write; raises if there is to be none.
      **objects: As of tf.train.Checkpoint.
    """
    super().__init__(**objects)
    self._check = check

  def write(self, file_prefix, options=None):
    self._check()
    return super().write(file_prefix, options)


def make_checkpoint(
  model: tf.keras.Model,
  *,
  averages: Mapping[str, tf.Variable],
  check: Callable[[], None] = lambda: None,
  **objects,
) -> tf.train.Checkpoint:
  """Returns a checkpoint with weights and averages under their names.

  Args:
    model: The network.
    averages: Name to average; empty for a run without EMA.
    check: Called before each write; raises if there is to be none.
    **objects: What else a resumed run needs: optimizer, clock.
  """
  groups = {'weights': named_weights(model)}
  if averages:
    groups['ema'] = dict(averages)
  return CheckedCheckpoint(check=check, **groups, **objects)
