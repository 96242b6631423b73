"""Which checkpoints a folder has, and the newest one of them that is whole.

ckpt-<step>.index, .data-*   as TensorFlow writes them
ckpt-<step>.digest.json      says that they are whole: see `digest`
checkpoint                   names the latest

Whoever reads checkpoints asks here: resuming, evaluation, export, fine-tuning,
summaries. `tf.train.latest_checkpoint` believes the file `checkpoint`, and
looks at no data.
"""

import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.training import best_file, digest

NAME = 'ckpt'
STATE_FILE = 'checkpoint'
_FILE = re.compile(
  rf'{NAME}-(\d+)\.(index|data-\d{{5}}-of-\d{{5}}|{re.escape(digest.ENDING)})'
)


@dataclasses.dataclass(frozen=True)
class Found:
  """What has been found in a folder.

  Attributes:
    prefix: The newest whole checkpoint, without ending; None if there is none.
    problems: What is wrong with those that would have come first, a sentence
      each.
  """

  prefix: str | None
  problems: tuple[str, ...] = ()


def newest_whole(model_dir: str, *, finite: bool = False) -> str | None:
  """Returns the newest whole checkpoint of a folder.

  It is the one that the file `checkpoint` names, if that is whole; otherwise,
  with a warning that says what is wrong, the whole one of the highest step.

  Args:
    model_dir: Folder of a run.
    finite: Whether one with a number in it that is not finite counts as
      damaged. Its values are read for that, all of them.

  Returns:
    Its path without ending; None if the folder has no checkpoint at all.

  Raises:
    ValueError: If it has some, but none is whole.
  """
  found = examine(model_dir, finite=finite)
  if found.prefix is None and found.problems:
    raise ValueError(
      f'{model_dir!r} has checkpoints, but none can be used: '
      f'{" ".join(found.problems)} Copy them again from where they are whole. '
      'A training begins at step 0 in another --model_dir, or with --restart, '
      'which moves what is there aside.'
    )
  warn(found)
  return found.prefix


def warn(found: Found) -> None:
  """Logs what is wrong, and what is taken instead."""
  for problem in found.problems:
    instead = f'Taken instead: {found.prefix}.' if found.prefix else ''
    logging.warning('%s', f'{problem} {instead}'.rstrip())


def examine(model_dir: str, *, finite: bool = False) -> Found:
  """As `newest_whole`, but what is wrong is returned: no warning, no error."""
  while True:
    latest, problem = _read_state(model_dir)
    there = list_steps(model_dir)
    candidates = [
      prefix_of(model_dir, step) for step in sorted(there, reverse=True)
    ]
    if latest is not None:
      candidates = [latest, *(c for c in candidates if c != latest)]
    if not candidates:
      return Found(None)
    problems = [problem] if problem else []
    for prefix in candidates:
      problem = digest.check(prefix, finite=finite)
      if problem is None:
        return Found(prefix, tuple(problems))
      problems.append(problem)
    # A run that goes on may have removed them meanwhile, and written others.
    if list_steps(model_dir) == there:
      return Found(None, tuple(problems))


def exist(model_dir: str | None) -> bool:
  """Whether a folder has checkpoints, whole or damaged.

  What the first save of a run has left that was killed is none.
  """
  if not model_dir:
    return False
  return bool(list_steps(model_dir)) or _read_state(model_dir)[0] is not None


def prefix_of(model_dir: str, step: int) -> str:
  """Returns the path of a checkpoint, without ending."""
  return os.path.join(model_dir, f'{NAME}-{step}')


def list_steps(model_dir: str) -> dict[int, frozenset[str]]:
  """Returns the endings of the files of each checkpoint, by step.

  A save that was killed leaves data without index and digest, which no file
  `checkpoint` lists; that is no checkpoint.
  """
  listed = listed_steps(model_dir)
  return {
    step: found
    for step, found in list_files(model_dir).items()
    if found & {'index', digest.ENDING} or step in listed
  }


def list_files(model_dir: str) -> dict[int, frozenset[str]]:
  """As `list_steps`, with what killed saves have left."""
  endings: dict[int, set[str]] = {}
  for name in files.list_names(model_dir):
    if match := _FILE.fullmatch(name):
      endings.setdefault(int(match[1]), set()).add(match[2])
  return {step: frozenset(found) for step, found in endings.items()}


def _read_state(model_dir: str) -> tuple[str | None, str | None]:
  """Returns what the file `checkpoint` names, and what is wrong with it."""
  path = os.path.join(model_dir, STATE_FILE)
  if not tf.io.gfile.exists(path):
    return None, f'There is no {path}, which names the latest checkpoint.'
  # TensorFlow says itself of some kinds of damage that it ignores the file.
  try:
    state = tf.train.get_checkpoint_state(model_dir)
  except digest.UNREADABLE:
    state = None
  if state is None:
    return None, f'{path}, which names the latest checkpoint, is damaged.'
  return state.model_checkpoint_path, None


def listed_steps(model_dir: str) -> list[int]:
  """Returns the steps of the checkpoints that the file `checkpoint` lists."""
  try:
    state = tf.train.get_checkpoint_state(model_dir)
  except digest.UNREADABLE:
    state = None
  paths = state.all_model_checkpoint_paths if state else ()
  names = (re.fullmatch(rf'{NAME}-(\d+)', os.path.basename(p)) for p in paths)
  return [int(name[1]) for name in names if name]


def write_state(model_dir: str, steps: Sequence[int]) -> None:
  """Writes the file `checkpoint`, as TensorFlow reads it.

  Args:
    model_dir: Folder of the run.
    steps: Of the checkpoints that are kept, the latest last.
  """
  lines = [f'model_checkpoint_path: "{NAME}-{steps[-1]}"']
  lines += [f'all_model_checkpoint_paths: "{NAME}-{step}"' for step in steps]
  path = os.path.join(model_dir, STATE_FILE)
  files.write_text(path, '\n'.join(lines) + '\n')


def find(path: str, *, step: int | None = None) -> str:
  """Returns a whole checkpoint's prefix from a model_dir or from the prefix.

  Of a model_dir that keeps its best checkpoint, that one; else the newest. What
  is damaged is named in a warning, and the next one taken.

  Args:
    path: A model_dir or a checkpoint.
    step: Which one of a model_dir; None for that.

  Raises:
    ValueError: If there is no checkpoint there, or none that is whole; or that
      which was asked for is not.
  """
  files.check_no_pattern(path, name='The path', is_new=False)
  if step is not None:
    return _whole(prefix_at(path, step))
  best = best_file.read(path)
  if best is not None:
    prefix = best_file.prefix(path, best.step)
    wrong = digest.check(prefix)
    if wrong is None:
      return prefix
    logging.warning(
      '%s It is the best one; the latest is taken instead.', wrong
    )
  newest = newest_whole(path)
  if newest is not None:
    return newest
  if tf.io.gfile.exists(f'{path}.index') or tf.io.gfile.exists(
    digest.path_of(path)
  ):
    return _whole(path)
  if not tf.io.gfile.exists(path):
    raise ValueError(
      f'No checkpoint at {path!r}: neither a folder nor {path}.index exists. '
      'Give a model_dir, or the path of a checkpoint without its ending, such '
      'as model_dir/ckpt-1000.'
    )
  raise ValueError(f'No checkpoint in {path!r}: {_why_no_checkpoint(path)}')


def prefix_at(model_dir: str, step: int) -> str:
  """Returns the path of a run's checkpoint of a step, whole or damaged.

  Raises:
    ValueError: If there is none; with the steps that there are.
  """
  steps = set(list_steps(model_dir))
  if step in steps:
    return prefix_of(model_dir, step)
  best = best_file.read(model_dir)
  if best is not None and best.step == step:
    return best_file.prefix(model_dir, step)
  steps |= {best.step} if best is not None else set()
  there = ', '.join(map(str, sorted(steps))) or 'none'
  raise ValueError(
    f'{model_dir!r} has no checkpoint of step {step}; the steps that it has '
    f'are: {there}.'
  )


def _whole(prefix: str) -> str:
  """Returns the path of a checkpoint that was asked for, if it is whole."""
  wrong = digest.check(prefix)
  if wrong is not None:
    raise ValueError(
      f'{wrong} Copy its files again, or take another one: of a model_dir, the '
      'newest whole one is taken.'
    )
  return prefix


def _why_no_checkpoint(path: str) -> str:
  if not tf.io.gfile.isdir(path):
    prefix = re.sub(r'\.(index|data-\d+-of-\d+)$', '', path)
    if prefix != path and tf.io.gfile.exists(f'{prefix}.index'):
      return f'it is a file of one; leave its ending out: {prefix}.'
    return 'it is a file; give the model_dir of a run, a folder.'
  folder = files.escape_pattern(path)
  if any(
    tf.io.gfile.glob(os.path.join(folder, *deeper, 'saved_model.pb'))
    for deeper in ((), ('*',))
  ):
    return (
      'it is an export, whose weights are in another form; give the model_dir '
      'of the run that it was made of.'
    )
  return (
    'the folder has no finished checkpoint. Train first, or give another '
    'model_dir.'
  )


def each_new(
  model_dir: str,
  *,
  timeout: float,
  should_stop: Callable[[], bool] = lambda: False,
  wait: Callable[[float], None] = time.sleep,
  now: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
  """Yields the newest whole checkpoint of a folder each time it is another.

  Args:
    model_dir: Folder of a run, which may not have begun.
    timeout: Seconds without a new one after which it ends.
    should_stop: Ends it as well; asked every second.
    wait: Waits so many seconds; a test's own.
    now: Returns seconds; a test's own.
  """
  last, seen, deadline = None, None, now() + timeout
  while not should_stop():
    # What is there is read whole only where it has changed.
    look = (_read_state(model_dir)[0], list_steps(model_dir))
    found = examine(model_dir) if look != seen else Found(last)
    if look != seen and found.prefix != last:
      warn(found)
    seen = look
    if found.prefix is not None and found.prefix != last:
      last = found.prefix
      yield last
      deadline = now() + timeout
    elif now() >= deadline:
      logging.info('No new checkpoint in %s for %g s.', model_dir, timeout)
      return
    else:
      wait(1.0)
