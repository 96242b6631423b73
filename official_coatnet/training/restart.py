"""Begins a run anew in its own folder, without losing what is there.

A run that finds checkpoints goes on from them, or does not start where none is
whole. To begin at step 0 all the same, what an earlier run has left goes into
<model_dir>/restarted-<time>/, itself a model_dir.
"""

import os
import time
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.training import best_file, checkpoint_files, model_dir

_FILES = (
  model_dir.EXPERIMENT_FILE,
  model_dir.DATA_FILE,
  model_dir.CONFIG_FILE,
  model_dir.OPERATIVE_CONFIG_FILE,
  model_dir.LABELS_FILE,
  model_dir.WEIGHTS_FILE,
  model_dir.METRICS_FILE,
  model_dir.TRACKERS_FILE,
  'train',
  'eval',
  'evaluation',
  best_file.FILE,
  checkpoint_files.STATE_FILE,
)
# Of TensorBoard, beside the two folders.
_EVENTS = 'events.out.tfevents.'
_CHECKPOINTS = (f'{checkpoint_files.NAME}-', f'{best_file.NAME}-')


def new_folder(
  folder: str, *, now: Callable[[], time.struct_time] = time.localtime
) -> str:
  """Returns where `set_aside` would move what is in a folder."""
  name = time.strftime('restarted-%Y-%m-%d-%H%M%S', now())
  taken = set(files.list_names(folder))
  while name in taken:
    name += '-2'
  return os.path.join(folder, name)


def set_aside(folder: str, target: str) -> list[str]:
  """Moves what a run has left into another folder.

  Exports stay, which servers may read, and whatever is not of a run.

  Args:
    folder: The model_dir. No other process may be writing to it.
    target: Of `new_folder`; made if there is something to move.

  Returns:
    The names of what was moved, which is logged; none where there was no run.

  Raises:
    OSError: If something cannot be moved; with the path, and why.
  """
  moved = [
    name
    for name in sorted(files.list_names(folder))
    if name in _FILES or name.startswith((_EVENTS, *_CHECKPOINTS))
  ]
  # While there is a checkpoint, who is killed here finds it; so they go last.
  moved.sort(key=lambda name: name.startswith(_CHECKPOINTS))
  if moved:
    files.make_folder(target)
  for name in moved:
    path = os.path.join(folder, name)
    try:
      tf.io.gfile.rename(path, os.path.join(target, name))
    except tf.errors.OpError as error:
      raise files.cannot_write(path, error) from error
  if moved:
    logging.info('Begins anew. Moved to %s: %s.', target, ', '.join(moved))
  return moved
