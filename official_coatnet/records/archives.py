"""Images in tar archives, read where they lie: nothing is ever unpacked.

An uncompressed tar is an array of files: one walk over its headers says where
each image begins, and any image can then be read on its own, in any order, by
any process. Archives of archives (one tar a class, in one tar) are walked the
same way.

An archive is somebody else's data, so members are taken by rules, not by trust:
plain files only (no links, no devices), under plain names (no folders, so
neither absolute nor `..`), of the pattern that the corpus uses. Anything else
is an error, with the name and the offset. Nothing is written under a name from
an archive in any case.
"""

import dataclasses
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from official_coatnet import files
from official_coatnet.data.manifest import printable

_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class Member:
  """A file in an archive.

  Attributes:
    name: its name.
    offset: where its contents begin in the archive, in bytes.
    size: how many bytes they are.
  """

  name: str
  offset: int
  size: int


@dataclasses.dataclass(frozen=True)
class Members:
  """Files in archives, column by column: millions of them must fit.

  Attributes:
    names: bytes [n], `S` of the longest name.
    offsets: int64 [n], where the contents begin, in bytes.
    sizes: int64 [n], bytes of the contents.
    groups: int64 [n], number of the group (inner archive) of each, from 0.
  """

  names: np.ndarray
  offsets: np.ndarray
  sizes: np.ndarray
  groups: np.ndarray

  def __len__(self) -> int:
    return len(self.names)

  def take(self, which: np.ndarray) -> 'Members':
    """Returns some of them: `which` is an index, int64 or bool [m]."""
    return Members(
      self.names[which],
      self.offsets[which],
      self.sizes[which],
      self.groups[which],
    )


def open_archive(path: str) -> BinaryIO:
  """Opens a tar archive of any file system for reading.

  Args:
    path: the archive.

  Raises:
    ValueError: if there is none, or it is compressed.
  """
  if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
    raise ValueError(f'{path} is not there, but must be a tar archive.')
  file = files.open_binary(path)
  start = file.read(2)
  file.seek(0)
  if start in (b'\x1f\x8b', b'BZ'):
    file.close()
    raise ValueError(
      f'{path} is compressed, but images are read from the middle of archives; '
      'unpack the compression (gunzip, bunzip2), not the tar.'
    )
  return file


def list_members(
  file: BinaryIO, path: str, *, pattern: str, inside: Member | None = None
) -> Iterator[Member]:
  """Lists the files of an archive in order, reading headers only.

  Args:
    file: the opened archive.
    path: its path, for messages.
    pattern: regular expression that the whole of each name must match.
    inside: the member that is an archive itself, to list that one; None for
      the outer one.

  Raises:
    ValueError: if a member breaks a rule, or the archive is cut off or damaged.
  """
  origin = path if inside is None else f'{path}, {inside.name}'
  start = 0 if inside is None else inside.offset
  end = _length(file) if inside is None else start + inside.size
  file.seek(start)
  name_rule = re.compile(pattern)
  try:
    archive = tarfile.TarFile(fileobj=file, mode='r')
    for info in archive:
      member = Member(info.name, info.offset_data, info.size)
      _check_member(info, name_rule, origin=origin)
      if member.offset + member.size > end:
        raise ValueError(
          f'{origin}: {info.name} at byte {info.offset} goes beyond the end at '
          f'byte {end}: the archive is cut off; copy it again.'
        )
      # A long listing would otherwise keep every header it has read.
      archive.members.clear()  # type: ignore[attr-defined]  # Not in typeshed.
      yield member
  except (tarfile.TarError, OSError, tf.errors.OpError) as error:
    raise ValueError(f'{origin}: no readable tar archive: {error}') from error
  # tarfile takes a damaged header, or the end of the file, for the end of the
  # archive. The real one is a block of zeros.
  file.seek(archive.offset)
  if archive.offset + _BLOCK > end or any(file.read(_BLOCK)):
    raise ValueError(
      f'{origin}: no end mark, nor a file, at byte {archive.offset}: the '
      'archive is cut off or damaged; copy it again.'
    )


def _check_member(
  info: tarfile.TarInfo, name_rule: re.Pattern, *, origin: str
) -> None:
  if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
    problem = 'is a link, a folder, a device or sparse'
  elif not name_rule.fullmatch(info.name):
    problem = f'does not match {name_rule.pattern}'
  else:
    return
  raise ValueError(
    f"{origin}: '{printable(info.name)}' at byte {info.offset} {problem}, but "
    'only plain files of that name are taken; check that this is the archive '
    'it should be, as it was published.'
  )


def to_columns(members: list[Member], groups: list[int]) -> Members:
  """Returns members column by column, with their groups."""
  return Members(
    names=np.array([member.name.encode() for member in members], dtype='S'),
    offsets=np.array([member.offset for member in members], np.int64),
    sizes=np.array([member.size for member in members], np.int64),
    groups=np.array(groups, np.int64),
  )


def read_member(file: BinaryIO, *, offset: int, size: int) -> bytes:
  """Returns the contents of a member; shorter ones are a ValueError."""
  file.seek(offset)
  contents = file.read(size)
  if len(contents) != size:
    raise ValueError(
      f'only {len(contents)} of {size} bytes are left at byte {offset} of the '
      'archive'
    )
  return contents


def _length(file: BinaryIO) -> int:
  if isinstance(file, tf.io.gfile.GFile):
    return file.size()
  return file.seek(0, 2)
