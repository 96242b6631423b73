"""How the files of a checkpoint are written whole, and removed.

A checkpoint is whole once TensorFlow has written it, it has been read back and
its digest is there. A process that is killed in between leaves what is no
checkpoint, or what is known to be damaged.
"""

import contextlib
import math
import os
import re
from collections.abc import Callable

import tensorflow as tf

from official_coatnet import files
from official_coatnet.training import digest

# What TensorFlow, `files` and `digest` write to before a name is final.
_LEFTOVER = re.compile(
  r'(ckpt|best)-\d+(_temp.*|\..*tempstate.*)'
  r'|\.((ckpt|best)-\d+\.digest\.json|best\.json|checkpoint)\.tmp'
  r'|checkpoint\.tmp\w+'
)

_OF_WORKERS = (
  tf.errors.AbortedError,
  tf.errors.CancelledError,
  tf.errors.DeadlineExceededError,
  tf.errors.UnavailableError,
)


def write_whole(
  checkpoint: tf.train.Checkpoint,
  prefix: str,
  *,
  write: Callable[[str], object] | None = None,
) -> None:
  """Writes a checkpoint, reads it back and writes its digest.

  Args:
    checkpoint: What to write.
    prefix: Path without ending.
    write: Writes it to a path, where that is not simply `checkpoint.write`.

  Raises:
    OSError: If it cannot be written, or is not whole; with the path, why, and
      the bytes that are needed and free where they are known. What was written
      of it is removed.
  """
  was_there = tf.io.gfile.exists(f'{prefix}.index')
  try:
    # Of a checkpoint of the same name, which is about to be another.
    if tf.io.gfile.exists(digest.path_of(prefix)):
      tf.io.gfile.remove(digest.path_of(prefix))
    (write or checkpoint.write)(prefix)
    digest.write(prefix)
  except _OF_WORKERS:
    raise  # They say nothing about the disk.
  except (OSError, tf.errors.OpError) as error:
    problem = error
    # What `digest` has raised says all of it.
    if not _is_ours(error):
      problem = files.cannot_write(prefix, error, needed=size_of(checkpoint))
    # There may be no folder any more, or no right to it: that has been said.
    with contextlib.suppress(tf.errors.OpError):
      folder, name = os.path.split(prefix)
      remove_leftovers(folder, of=name)
      if not was_there or digest.check(prefix) is not None:
        remove(prefix)
    raise problem from error


def _is_ours(error: Exception) -> bool:
  return isinstance(error, OSError) and error.errno is None


def remove(prefix: str) -> None:
  """Removes a checkpoint.

  In an order in which a process that is killed leaves a whole one, or what is
  none.
  """
  folder, name = os.path.split(prefix)
  names = [n for n in files.list_names(folder) if n.startswith(f'{name}.')]
  order = (digest.ENDING, 'index')
  for ending in order:
    if f'{name}.{ending}' in names:
      tf.io.gfile.remove(f'{prefix}.{ending}')
  for each in names:
    if each.removeprefix(f'{name}.').startswith('data-'):
      tf.io.gfile.remove(os.path.join(folder, each))


def remove_leftovers(folder: str, *, of: str | None = None) -> None:
  """Removes temporary files of saves that have failed or were killed.

  Args:
    folder: Of the run, in which no other save is going on.
    of: Name of the checkpoint that they are of; None for all.
  """
  for name in files.list_names(folder):
    if _LEFTOVER.fullmatch(name) and (
      of is None or re.match(rf'\.?{re.escape(of)}[._]', name)
    ):
      path = os.path.join(folder, name)
      if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
      else:
        tf.io.gfile.remove(path)


def size_of(checkpoint: tf.train.Checkpoint) -> int:
  """Returns about how many bytes a checkpoint will have."""
  return sum(
    math.prod(v.shape) * v.dtype.size
    for v in variables_of(checkpoint)
    if v.dtype != tf.string
  )


def variables_of(checkpoint: tf.train.Checkpoint) -> list[tf.Variable]:
  """Returns the variables that a checkpoint will hold, once each."""
  variables: dict[int, tf.Variable] = {}
  for each in tf.train.TrackableView(checkpoint).descendants():
    if isinstance(each, tf.Variable):
      # Asked for what it has not, such as the method below, one that is an
      # average over workers would add up over all of them, of whom the others
      # are not here.
      found = [each]
    else:
      # Moments are no children of their optimizer.
      found = each.weights if hasattr(each, 'get_slot_names') else []
    variables |= {id(v): v for v in found if isinstance(v, tf.Variable)}
  return list(variables.values())


def is_usable(endings: frozenset[str]) -> bool:
  """Whether a checkpoint has the files without which nobody can read it."""
  return 'index' in endings and any(e.startswith('data-') for e in endings)
