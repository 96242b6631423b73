"""Files of any file system that TensorFlow knows, object stores included.

What is written is there whole or not at all.
"""

import codecs
import contextlib
import fnmatch
import hashlib
import importlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any, BinaryIO

import tensorflow as tf
from absl import logging

# TensorFlow lists, restores and removes checkpoints by patterns, and takes the
# folder that they are in for a part of the pattern.
_PATTERN_CHARACTERS = '*?[\\'
# In the words of Linux, and of an exceeded quota or file size.
_IS_FULL = re.compile('No space left|quota exceeded|File too large')
_SCHEME = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*)://')
# What brings a file system that a TensorFlow may lack: the package, and the
# module that registers it when it is imported.
_PLUGINS = {
  'gs': ('tensorflow-io-gcs-filesystem', 'tensorflow_io_gcs_filesystem')
}
_OTHER_PLUGIN = ('tensorflow-io', 'tensorflow_io')
_VARIABLE = re.compile(r'\$(?:(\w+)|\{(\w+)\})')


def expand(path: str) -> str:
  """Replaces `~` and variables such as `$HOME`, as a shell does.

  Of `file://` nothing stays either. What is there under the very name is meant,
  whatever the name looks like.

  Args:
    path: as it was written in a flag or a gin file.

  Raises:
    ValueError: if there is no such variable or user, or if TensorFlow has no
      such file system.
  """
  if path.startswith('file://'):
    path = path.removeprefix('file://')
    if not path.startswith('/'):
      raise ValueError(
        f'after file:// comes {path!r}, which does not begin with a slash; '
        'write the path alone, or file:///folder/file.'
      )
  if os.path.lexists(path):
    return path
  for match in _VARIABLE.finditer(path):
    name = match[1] or match[2]
    if name not in os.environ:
      raise ValueError(
        f'there is no environment variable {name} for {match[0]} in {path!r}; '
        'set it, or write the path itself.'
      )
  expanded = os.path.expanduser(path)
  if path.startswith('~') and expanded == path:
    raise ValueError(
      f'there is no user {path.split("/")[0][1:]!r}, whose folder {path!r} '
      'begins with; write the path itself, or ./~ for a file of that name.'
    )
  expanded = _VARIABLE.sub(lambda m: os.environ[m[1] or m[2]], expanded)
  check_file_system(expanded)
  return expanded


def check_file_system(path: str) -> None:
  """Refuses a path such as `s3://bucket/run` that TensorFlow cannot open.

  A wheel of TensorFlow has `gs://` built in, or finds it in a package beside
  it; for others there is a package. What is installed is taken.

  Args:
    path: any path.

  Raises:
    ValueError: if there is no such file system, with what brings it.
  """
  match = _SCHEME.match(path)
  scheme = match[1].lower() if match else ''
  if scheme in tf.io.gfile.get_registered_schemes():
    return
  package, module = _PLUGINS.get(scheme, _OTHER_PLUGIN)
  reason = 'is not installed'
  try:
    importlib.import_module(module)
    reason = 'does not bring it'
  except ModuleNotFoundError:
    pass
  except Exception as error:  # Of another TensorFlow it may raise anything.
    reason = f'cannot be imported ({type(error).__name__}: {error})'
  if scheme in tf.io.gfile.get_registered_schemes():
    return
  raise ValueError(
    f'TensorFlow has no file system for {scheme}://, as in '
    f'{path!r}, and {package} {reason}; run `pip install {package}` in the '
    'version for this TensorFlow, or copy what is there to a local folder.'
  )


def check_no_pattern(path: str, *, name: str, is_new: bool = True) -> None:
  """Refuses what TensorFlow could write to and not find again.

  Args:
    path: a folder of checkpoints or of exports.
    name: what it is called where it was set, for the message.
    is_new: whether anything is to be written; what is there is refused only if
      it cannot be read.

  Raises:
    ValueError: if it has a character that patterns have.
  """
  if not is_new and '\\' not in path and fnmatch.fnmatchcase(path, path):
    return  # It means other paths as well, but also itself.
  found = [each for each in _PATTERN_CHARACTERS if each in path]
  if found:
    raise ValueError(
      f'{name} is {path!r}, with {" and ".join(found)} in it. TensorFlow takes '
      'that for a pattern, and does not find what it has written there. Use a '
      'name without * ? [ and \\; a folder that has one can be renamed.'
    )


def escape_pattern(path: str) -> str:
  """Returns the pattern, for `tf.io.gfile.glob`, that means this path alone."""
  return re.sub(r'([*?[\\])', r'\\\1', path)


def is_local(path: str) -> bool:
  """Whether other machines cannot read the path: all but gs://, s3:// etc."""
  scheme, separator, _ = path.partition('://')
  return not separator or scheme == 'file'


def open_binary(path: str) -> BinaryIO:
  """Opens a file for reading bytes, here and there."""
  if '://' in path:
    return tf.io.gfile.GFile(path, 'rb')
  # TensorFlow's own reads its buffer anew at every seek, and its readline drops
  # carriage returns.
  return open(path, 'rb')


def open_with_size(path: str) -> tuple[BinaryIO, int]:
  """Opens a file for reading bytes, and returns its length as well."""
  return open_binary(path), tf.io.gfile.stat(path).length


def list_names(folder: str) -> list[str]:
  """Returns the names of what is in a folder; none where there is no folder."""
  try:
    # On an object store, the names of folders end in a slash.
    return [name.rstrip('/') for name in tf.io.gfile.listdir(folder)]
  except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
    return []  # Of a file, the latter.


def make_folder(path: str) -> None:
  """Makes a folder to write to, and those above it, where they are not.

  Raises:
    OSError: if it cannot be made; with the path, and why.
  """
  try:
    tf.io.gfile.makedirs(path)
  except tf.errors.OpError as error:
    raise cannot_write(path, error) from error


def cannot_write(
  path: str, error: Exception, *, needed: int | None = None
) -> OSError:
  """Returns what to raise where a file or folder cannot be written.

  Args:
    path: where.
    error: what TensorFlow or the system says.
    needed: bytes, if they are known.
  """
  if isinstance(error, tf.errors.OpError):
    # TensorFlow begins with the path, and ends with what the system says.
    reason = error.message.splitlines()[0].rpartition('; ')[2]
    reason = re.sub(r' \[Op:.*', '', reason)
  else:
    reason = getattr(error, 'strerror', None) or str(error)
  free = free_bytes(path)
  amounts = [f'{megabytes(needed)} are needed'] if needed else []
  amounts += [f'{megabytes(free)} are free'] if free is not None else []
  remedy = (
    'name a place where you may write, and which is not taken by something '
    'else.'
  )
  if _IS_FULL.search(reason):
    remedy = 'make room there, or name another place.'
  elif not (needed and free is not None and free < needed):
    amounts = []
  there = f'; {", ".join(amounts)} there' if amounts else ''
  return OSError(f'{path!r} cannot be written to ({reason}{there}); {remedy}')


def megabytes(number: int) -> str:
  """Returns a number of bytes as people read it: '1,234.5 MB'."""
  return f'{number / 1e6:,.1f} MB'


def free_bytes(path: str) -> int | None:
  """Returns what is free on the disk of a path; None if it is not known."""
  if '://' in path:
    return None
  folder = os.path.abspath(path)
  while not os.path.isdir(folder) and folder != os.path.dirname(folder):
    folder = os.path.dirname(folder)
  try:
    return shutil.disk_usage(folder).free
  except OSError:  # It may have gone meanwhile.
    return None


class BestEffort:
  """Writes what a run can do without: a failure is a warning, the first time.

  What comes after it is tried again, as a disk may have room later.
  """

  def __init__(self, path: str):
    """Takes the path that the warning names."""
    self._path = path
    self._has_failed = False

  @contextlib.contextmanager
  def __call__(self) -> Iterator[None]:
    """Within it, an error in writing is a warning."""
    try:
      yield
    except (OSError, tf.errors.OpError) as error:
      if not self._has_failed:
        logging.warning(
          '%s The run goes on without what belongs there.',
          cannot_write(self._path, error),
        )
      self._has_failed = True


def rename(temporary: str, path: str) -> None:
  """Puts a finished file in its place, for good."""
  if '://' not in path:
    # Without it a power cut can leave the new name on empty contents. Object
    # stores have no such gap: a write is there once it is closed.
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)
  tf.io.gfile.rename(temporary, path, overwrite=True)


def write_text(path: str, text: str) -> None:
  """Writes a text file in UTF-8; as `write_bytes`."""
  write_bytes(path, text.encode())


def write_bytes(path: str, contents: bytes) -> None:
  """Writes a file, beside its place until it is whole.

  Args:
    path: where it ends up; its folder is made if need be, and a file that is
      there is replaced.
    contents: all of it.

  Raises:
    OSError: if it cannot be written; with the path, and why.
  """
  folder, name = os.path.split(path)
  # The dot keeps it out of patterns such as `train*`.
  temporary = os.path.join(folder, f'.{name}.tmp')
  try:
    if folder:
      tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(temporary, 'wb') as file:
      file.write(contents)
    rename(temporary, path)
  except (OSError, tf.errors.OpError) as error:
    problem = cannot_write(path, error, needed=len(contents))
    # It may not be there, or no longer be ours to remove.
    with contextlib.suppress(tf.errors.OpError):
      tf.io.gfile.remove(temporary)
    raise problem from error


def read_text(path: str) -> str:
  """Returns the text of a file in UTF-8, as `decode_text`."""
  with tf.io.gfile.GFile(path, 'rb') as file:
    return decode_text(file.read(), origin=path)


def decode_text(contents: bytes, *, origin: str) -> str:
  """Decodes text, without the byte order mark that some editors put first.

  Args:
    contents: bytes in UTF-8.
    origin: path of the file, for the error message.

  Raises:
    ValueError: if they are not UTF-8, with the line.
  """
  refuse_utf16(contents, origin=origin)
  try:
    return contents.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    # Positions count from behind the mark.
    body = contents.removeprefix(codecs.BOM_UTF8)
    line = body.count(b'\n', 0, error.start) + 1
    raise ValueError(
      f'{origin!r}, line {line}, is not UTF-8 (byte {body[error.start]:#04x}); '
      'save it as "UTF-8".'
    ) from error


def refuse_utf16(start: bytes, *, origin: str) -> None:
  """Raises a ValueError if a text begins with the mark of UTF-16 or UTF-32."""
  # That of UTF-32 begins with one of these, or with two zeros.
  if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b'\0\0')):
    raise ValueError(
      f'{origin!r} is text in UTF-16 or UTF-32, but must be UTF-8; save it as '
      '"UTF-8", or run: iconv -f UTF-16 -t UTF-8'
    )


def read_json(path: str) -> Any:
  """Returns what a JSON file says, or None where there is none."""
  if not tf.io.gfile.exists(path):
    return None
  return json.loads(read_text(path))


def sha256(path: str) -> str:
  """Returns the checksum of a file, in hexadecimal."""
  digest = hashlib.sha256()
  with tf.io.gfile.GFile(path, 'rb') as file:
    while block := file.read(1 << 22):
      digest.update(block)
  return digest.hexdigest()
