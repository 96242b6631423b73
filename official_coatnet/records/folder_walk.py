"""Images in folders and the folders in these, and what is none.

Whether a file is an image is decided by what it holds and not by its ending:
endings that Pillow knows are believed until the file is read, the first bytes
of all others are looked at. Nothing is dropped without a word: whatever is left
out is counted by reason, with the first names.
"""

import collections
import dataclasses
import os
import re
import stat
from collections.abc import Iterator

import tensorflow as tf
from PIL import Image

from official_coatnet import files
from official_coatnet.data import image_formats
from official_coatnet.data.manifest import LeftOut, printable

# Files and folders that file managers and servers leave.
_CLUTTER = (
  'thumbs.db', 'ehthumbs.db', 'desktop.ini', 'icon\r', '__macosx', '@eadir',
  '$recycle.bin', 'system volume information', 'lost+found',
)  # fmt: skip
_DEEPER = 'in folders within class folders (--recursive takes them)'
_ENDING = re.compile(r'\.[a-z][a-z0-9]{0,5}')
# Names of what was left out that are kept, a reason.
_MAX_NAMES = 10


@dataclasses.dataclass(frozen=True)
class _Entry:
  """What a folder holds under a name; links are followed."""

  name: str
  is_folder: bool
  is_file: bool
  size: int


def _scan(folder: str) -> list[_Entry]:
  """Lists a folder, sorted by name."""
  if '://' not in folder:
    # Not by TensorFlow, which fails at a name that is not UTF-8.
    with os.scandir(folder) as found:
      entries = [_look_at(each) for each in found]
  else:
    entries = []
    for name in tf.io.gfile.listdir(folder):
      if name.endswith('/'):
        entries.append(_Entry(name.rstrip('/'), True, False, 0))
        continue
      found_stat = tf.io.gfile.stat(os.path.join(folder, name))
      is_folder = found_stat.is_directory
      entries.append(_Entry(name, is_folder, not is_folder, found_stat.length))
  return sorted(entries, key=lambda each: each.name)


def _look_at(entry: os.DirEntry) -> _Entry:
  try:
    found = entry.stat()
  except OSError:  # A link that leads nowhere: it fails where it is read.
    return _Entry(entry.name, is_folder=False, is_file=False, size=0)
  is_folder = stat.S_ISDIR(found.st_mode)
  is_file = stat.S_ISREG(found.st_mode)
  return _Entry(entry.name, is_folder, is_file, found.st_size)


class Walk:
  """Reads folders, and counts what it leaves out."""

  def __init__(self, input_dir: str):
    self._input_dir = input_dir
    self._left_out: dict[str, list[str]] = {}
    self._counts: collections.Counter[str] = collections.Counter()
    Image.init()
    self._endings = {
      ending
      for ending, name in Image.registered_extensions().items()
      if name in Image.OPEN and name not in image_formats.REFUSED
    }

  @property
  def left_out(self) -> tuple[LeftOut, ...]:
    """What was left out so far, by reason."""
    return tuple(
      LeftOut(reason, self._counts[reason], tuple(names))
      for reason, names in sorted(self._left_out.items())
    )

  def path(self, folder: str) -> str:
    """Returns the path of a folder within that of the images."""
    return os.path.join(self._input_dir, folder) if folder else self._input_dir

  def leave_out(self, reason: str, name: str) -> None:
    """Counts a file or folder that is not taken."""
    self._counts[reason] += 1
    names = self._left_out.setdefault(reason, [])
    if len(names) < _MAX_NAMES:
      names.append(printable(name))

  def list_classes(self, folder: str) -> tuple[str, ...]:
    """Returns the folders in a folder, and counts files beside them."""
    classes = []
    for entry in self._scan(folder):
      if entry.is_folder:
        classes.append(entry.name)
      else:
        self.leave_out('in no class folder', os.path.join(folder, entry.name))
    return tuple(classes)

  def has_folders(self, folder: str) -> bool:
    """Whether a folder holds others; what it holds is counted later."""
    return any(
      each.is_folder and not _is_clutter(each.name)
      for each in _scan(self.path(folder))
    )

  def list_images(
    self, folder: str, *, recursive: bool
  ) -> Iterator[tuple[str, int]]:
    """Yields path within the folder of images, and size, of each image."""
    depth = folder.count('/') + 1
    for name, size in self._walk(folder, above=()):
      if recursive or name.count('/') == depth:
        yield name, size
      else:
        self.leave_out(_DEEPER, name)

  def _walk(
    self, folder: str, *, above: tuple[str, ...]
  ) -> Iterator[tuple[str, int]]:
    # Of an object store, which has no links, it is a name like any other.
    here = os.path.realpath(self.path(folder))
    try:
      entries = list(self._scan(folder))
    except PermissionError:
      self.leave_out('no permission to read the folder', folder)
      return
    for entry in entries:
      name = f'{folder}/{entry.name}'
      if entry.is_folder:
        if os.path.realpath(self.path(name)) in (here, *above):
          self.leave_out('a link to a folder that it lies in', name)
        else:
          yield from self._walk(name, above=(here, *above))
      elif reason := self._judge(entry, name):
        self.leave_out(reason, name)
      else:
        yield name, entry.size

  def _scan(self, folder: str) -> Iterator[_Entry]:
    """Lists a folder but for what nobody has put there as data."""
    for entry in _scan(self.path(folder)):
      if _is_clutter(entry.name):
        reason = 'left by a file manager or hidden'
        self.leave_out(reason, os.path.join(folder, entry.name))
      else:
        yield entry

  def _judge(self, entry: _Entry, name: str) -> str:
    """Says why a file is not taken; '' if it is."""
    ending = os.path.splitext(entry.name)[1].lower()
    if ending in self._endings:
      return ''
    if not entry.is_file:
      return 'no plain file, or a link that leads nowhere'
    path = self.path(name)
    try:
      with files.open_binary(path) as file:
        head = file.read(image_formats.HEAD)
    except (OSError, UnicodeError, tf.errors.OpError):
      return ''  # It fails again, and is listed, where images are read.
    if image_formats.can_open(head, name=entry.name):
      return ''
    found = image_formats.find_format(head, name=entry.name)
    if found is not None:
      return f'{found}: {image_formats.REFUSED[found]}'
    # Numbers at the end of a name are no kinds of files: one reason for all.
    kind = ending if _ENDING.fullmatch(ending) else 'without a usual ending'
    return f'no image that can be opened ({kind})'


def _is_clutter(name: str) -> bool:
  return name.startswith('.') or name.lower() in _CLUTTER
