"""The digest of a checkpoint, and whether a checkpoint is what was saved.

ckpt-<step>.digest.json says when it was saved, and of each of its files length
and CRC-32. It is written last, once TensorFlow's own checksums have been read
back. A checkpoint without one is of an earlier version, or of a save that was
killed, and is checked by those.
"""

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from official_coatnet import files

ENDING = 'digest.json'
# What TensorFlow raises of files that are not what they should be; an index
# that has no data behind it is an IndexError.
UNREADABLE = (
  tf.errors.OpError,
  OSError,
  ValueError,
  IndexError,
  RuntimeError,
)
# What says nothing about a file: another one must not be taken for that.
_OF_THE_SYSTEM = (
  tf.errors.AbortedError,
  tf.errors.CancelledError,
  tf.errors.DeadlineExceededError,
  tf.errors.PermissionDeniedError,
  tf.errors.ResourceExhaustedError,
  tf.errors.UnauthenticatedError,
  tf.errors.UnavailableError,
  PermissionError,
)
_FORMAT = 1
_BLOCK = 1 << 22


def check(prefix: str, *, finite: bool = False) -> str | None:
  """Says what is wrong with a checkpoint.

  One that has a digest is compared with it. Of any other all values are read,
  which have checksums of TensorFlow's.

  Args:
    prefix: Its path without ending.
    finite: Whether numbers that are not finite are wrong, too.

  Returns:
    A sentence; None if the checkpoint is whole.

  Raises:
    OpError: If the file system does not answer, or not to us: that is no
      damage, and no reason to take another checkpoint.
  """
  try:
    wrong = _compare(prefix)
    if wrong is None and (finite or not tf.io.gfile.exists(path_of(prefix))):
      wrong = read_whole(prefix, finite=finite)
  except _OF_THE_SYSTEM:
    raise
  except UNREADABLE as error:
    wrong = _gist(error)
  return None if wrong is None else f'The checkpoint {prefix!r} {wrong}.'


def path_of(prefix: str) -> str:
  """Returns the path of a checkpoint's digest."""
  return f'{prefix}.{ENDING}'


def _compare(prefix: str) -> str | None:
  """Compares a checkpoint with its digest, as far as there is one."""
  if not tf.io.gfile.exists(f'{prefix}.index'):
    return 'is damaged: its index is missing'
  if not tf.io.gfile.exists(path_of(prefix)):
    return None
  try:
    expected = _read(prefix)
  except (ValueError, TypeError, KeyError, AttributeError):
    logging.warning(
      '%s is damaged; the checkpoint is checked by reading all of it.',
      path_of(prefix),
    )
    return read_whole(prefix)
  wrong = _compare_lengths(prefix, expected)
  if wrong is not None:
    return wrong
  for ending, (_, checksum) in expected.items():
    path = f'{prefix}.{ending}'
    if _crc32(path) != checksum:
      return (
        f'is damaged: {os.path.basename(path)} is not what was saved, by its '
        f'checksum in {os.path.basename(path_of(prefix))}'
      )
  return None


def _read(prefix: str) -> dict[str, tuple[int, str]]:
  """Returns length and checksum of each file of a checkpoint, by ending."""
  found = json.loads(files.read_text(path_of(prefix)))['files']
  return {
    str(ending): (int(file['bytes']), str(file['crc32']))
    for ending, file in found.items()
  }


def _compare_lengths(
  prefix: str, expected: Mapping[str, tuple[int, str]]
) -> str | None:
  for ending, (length, _) in expected.items():
    path = f'{prefix}.{ending}'
    if not tf.io.gfile.exists(path):
      return f'is damaged: {os.path.basename(path)} is missing'
    found = tf.io.gfile.stat(path).length
    if found != length:
      return (
        f'is damaged: {os.path.basename(path)} has {found} bytes and had '
        f'{length} when it was saved'
      )
  return None


def lengths_differ(prefix: str) -> bool:
  """Whether a checkpoint is damaged, as far as that is seen without reading.

  Without a digest that can be read, it is not seen.
  """
  try:
    return _compare_lengths(prefix, _read(prefix)) is not None
  except (*UNREADABLE, TypeError, KeyError, AttributeError):
    return False


def read_whole(prefix: str, *, finite: bool = False) -> str | None:
  """Reads all values of a checkpoint; says what is wrong, if anything is.

  Args:
    prefix: Its path without ending.
    finite: As of `check`.
  """
  key = None
  try:
    reader = tf.train.load_checkpoint(prefix)
    for key in sorted(reader.get_variable_to_shape_map()):
      value = reader.get_tensor(key)
      if finite and not _is_finite(value):
        return f'holds numbers that are not finite: {_readable(key)}'
  except _OF_THE_SYSTEM:
    raise
  except UNREADABLE as error:
    # TensorFlow's own entries begin with a line.
    where = ''
    if key is not None and not key.startswith('_'):
      where = f'; {_readable(key)} cannot be read'
    return f'{_gist(error)}{where}'
  return None


def _is_finite(value) -> bool:
  value = np.asarray(value)
  if value.dtype.kind in 'OSUbiu':
    return True
  # Those of 16 bits are no floats to NumPy.
  return bool(np.isfinite(value.astype(np.float32, copy=False)).all())


def _readable(key: str) -> str:
  name = key.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE')
  return name.replace('.S', '/').replace('..', '.')


def _gist(error: BaseException) -> str:
  # TensorFlow speaks of its tables and buffers, which tells nobody anything.
  reason = getattr(error, 'strerror', None)
  return f'cannot be read ({reason})' if reason else 'is damaged or cut off'


def _crc32(path: str) -> str:
  checksum = 0
  with files.open_binary(path) as file:
    while block := file.read(_BLOCK):
      checksum = zlib.crc32(block, checksum)
  return f'{checksum:08x}'


def write(prefix: str, *, now: Callable[[], float] = time.time) -> None:
  """Reads back what has been saved, and writes its digest.

  Args:
    prefix: Of a checkpoint that TensorFlow has just written.
    now: Returns the time in seconds; a test's own.

  Raises:
    OSError: If it is not whole, or the digest cannot be written.
  """
  wrong = read_whole(prefix)
  if wrong is not None:
    raise OSError(f'The checkpoint {prefix!r}, just written, {wrong}.')
  folder, name = os.path.split(prefix)
  endings = sorted(
    each.removeprefix(f'{name}.')
    for each in files.list_names(folder)
    if re.fullmatch(rf'{re.escape(name)}\.(index|data-\d+-of-\d+)', each)
  )
  found = {
    ending: {
      'bytes': int(tf.io.gfile.stat(f'{prefix}.{ending}').length),
      'crc32': _crc32(f'{prefix}.{ending}'),
    }
    for ending in endings
  }
  contents = {'format': _FORMAT, 'saved': now(), 'files': found}
  files.write_text(path_of(prefix), json.dumps(contents, indent=2) + '\n')


def time_of(prefix: str) -> float:
  """Returns when a checkpoint was saved, in seconds since 1970."""
  try:
    return float(json.loads(files.read_text(path_of(prefix)))['saved'])
  except (*UNREADABLE, KeyError, TypeError):
    return tf.io.gfile.stat(f'{prefix}.index').mtime_nsec / 1e9
