"""What a folder of class folders holds: splits, classes, images.

What would make a wrong data set is refused: a folder named as a split among
those of classes, a class without images, two spellings of a class. What is left
out on the way is counted (see `folder_walk`).
"""

import dataclasses
import os
import random
import unicodedata
from collections.abc import Mapping, Sequence

import tensorflow as tf

from official_coatnet.data.manifest import LeftOut, printable
from official_coatnet.records import corpus, folder_walk

# What folders of splits are called by those who have made some; see `_layout`.
_SPLIT_NAMES: Mapping[str, str] = {
  'train': 'train',
  'training': 'train',
  'val': 'validation',
  'valid': 'validation',
  'validation': 'validation',
  'test': 'test',
  'testing': 'test',
}
# Names in a sentence.
_MAX_LISTED = 10


@dataclasses.dataclass(frozen=True)
class ImageFileEntry:
  """One image of the folder.

  Attributes:
    name: path within the folder, `<class>/<image>`.
    label: its class, 0-based.
    size: size of the file in bytes; 0 if it cannot be told.
  """

  name: str
  label: int
  size: int


@dataclasses.dataclass(frozen=True)
class Listing:
  """What a folder holds.

  Attributes:
    class_names: names of the classes in order.
    images: the images of each split, in the order of the records.
    left_out: what is in none of them, by reason.
    notes: sentences on what is taken as it is, but may be a mistake.
  """

  class_names: tuple[str, ...]
  images: dict[str, tuple[ImageFileEntry, ...]]
  left_out: tuple[LeftOut, ...] = ()
  notes: tuple[str, ...] = ()


def list_folder(
  input_dir: str,
  *,
  validation_fraction: float = 0.0,
  recursive: bool = False,
  allow_empty_classes: bool = False,
  split_folders: bool | None = None,
) -> Listing:
  """Lists the images of a folder of class folders.

  Args:
    input_dir: the folder. Or one of `train` and `val` (`valid`, `validation`)
      or `test`, with class folders in each; where there are both, `test` is a
      split of its own.
    validation_fraction: share of the images to hold out, in [0, 1). Whether one
      is held out depends on a hash of its name alone: it stays where it is when
      others come or go.
    recursive: whether images in deeper folders belong to the class whose folder
      these lie in; otherwise they are left out.
    allow_empty_classes: whether a class may have no image.
    split_folders: whether folders with such names are splits (True) or classes
      (False); None to tell by what there is, and to refuse what can be both.

  Returns:
    The classes, and the images of 'train' and, if there are any, of
    'validation' and 'test', mixed in an order that depends on their names
    alone.

  Raises:
    ValueError: if there is no such folder, no image in it, something in it that
      can be taken in two ways, or the fraction is out of range.
  """
  corpus.check_fraction('validation_fraction', validation_fraction)
  if not tf.io.gfile.isdir(input_dir):
    raise ValueError(
      f'input_dir is {input_dir!r}, but there is no such folder; check it.'
    )
  walk = folder_walk.Walk(input_dir)
  top = walk.list_classes('')
  splits = _find_splits(walk, top, split_folders=split_folders)
  if 'validation' in splits and validation_fraction:
    raise ValueError(
      f'validation_fraction is {validation_fraction}, but {input_dir!r} has '
      f'the folder {splits["validation"]!r} for that; unset the fraction, or '
      'give the folder of the training images as input_dir.'
    )
  class_names = _read_class_names(walk, top, splits)
  images = {
    split: [
      ImageFileEntry(name, label, size)
      for label, class_name in enumerate(class_names)
      for name, size in walk.list_images(
        os.path.join(folder, class_name), recursive=recursive
      )
    ]
    for split, folder in splits.items()
  }
  _check_empty(walk, class_names, images, allowed=allow_empty_classes)
  notes = _find_oddities(class_names, splits)
  if validation_fraction:
    images = _hold_out(images['train'], validation_fraction)
    notes += _find_held_out_classes(class_names, images)
  for entries in images.values():
    # Records are shuffled once, so that no shard holds a single class.
    random.Random(0).shuffle(entries)
  return Listing(
    class_names=class_names,
    images={split: tuple(each) for split, each in images.items() if each},
    left_out=walk.left_out,
    notes=tuple(notes),
  )


def _find_splits(
  walk: folder_walk.Walk, top: Sequence[str], *, split_folders: bool | None
) -> dict[str, str]:
  """Returns the folder of each split: '' where there are classes at once."""
  named = [name for name in top if name.lower() in _SPLIT_NAMES]
  others = [name for name in top if name not in named]
  if split_folders is False or not named:
    return {'train': ''}
  nested = [name for name in named if walk.has_folders(name)]
  kinds = {_SPLIT_NAMES[name.lower()] for name in named}
  if others and not nested and kinds == {'train'} and split_folders is None:
    return {'train': ''}  # There are data sets of vehicles.
  if others:
    raise ValueError(
      f'input_dir is {walk.path("")!r}, where {_list(named)} is named as a '
      f'split, beside folders of classes ({_list(others)}). A split belongs '
      "elsewhere, or all classes into a folder 'train' beside it; where it is "
      'a class, set split_folders to False (--nosplit_folders).'
    )
  flat = [name for name in named if name not in nested]
  unlabelled = [name for name in flat if _SPLIT_NAMES[name.lower()] == 'test']
  if not nested or flat != unlabelled:
    raise ValueError(
      f'input_dir is {walk.path("")!r}, where {_list(flat)} is named as a '
      'split, but holds no folders of classes; put its images into one for '
      'each class. Where it is a class, set split_folders to False '
      '(--nosplit_folders).'
    )
  for name in unlabelled:
    for image, _ in walk.list_images(name, recursive=True):
      walk.leave_out('in a split folder, but in no class folder', image)
  return _name_splits(walk, nested)


def _name_splits(
  walk: folder_walk.Walk, folders: Sequence[str]
) -> dict[str, str]:
  """Returns folders of class folders by the split that each is."""
  splits: dict[str, str] = {}
  for name in folders:
    first = splits.setdefault(_SPLIT_NAMES[name.lower()], name)
    if first != name:
      raise ValueError(
        f'input_dir is {walk.path("")!r}, where both {first!r} and {name!r} '
        'are named as the same split; put their images together.'
      )
  if 'test' in splits and 'validation' not in splits:
    splits['validation'] = splits.pop('test')
  return {
    split: splits[split]
    for split in ('train', 'validation', 'test')
    if split in splits
  }


def _read_class_names(
  walk: folder_walk.Walk, top: Sequence[str], splits: Mapping[str, str]
) -> tuple[str, ...]:
  """Returns the classes, which all splits must have."""
  class_names: tuple[str, ...] = ()
  if '' in splits.values():
    class_names = tuple(top)
  else:
    for number, folder in enumerate(splits.values()):
      names = walk.list_classes(folder)
      if number and names != class_names:
        first = next(iter(splits.values()))
        missing = sorted(set(class_names) - set(names))
        new = sorted(set(names) - set(class_names))
        raise ValueError(
          f'input_dir is {walk.path("")!r}, whose folders {first!r} and '
          f'{folder!r} must have the same classes, but there are in {first!r} '
          f'alone: {_list(missing)}; in {folder!r} alone: {_list(new)}. Rename '
          'or remove them, or add what is missing (an empty folder does).'
        )
      class_names = names
  seen: dict[str, str] = {}
  for name in class_names:
    # As Linux and macOS spell an accent; white space is dropped by readers.
    first = seen.setdefault(unicodedata.normalize('NFC', name).strip(), name)
    if first != name:
      raise ValueError(
        f'input_dir is {walk.path("")!r}, with folders {ascii(first)} and '
        f'{ascii(name)}: one class to the eye, but two names. Put their images '
        'together, or rename one.'
      )
  _check_links(walk, class_names, splits)
  return class_names


def _check_links(
  walk: folder_walk.Walk, class_names: Sequence[str], splits: Mapping[str, str]
) -> None:
  """Refuses two classes, or two splits, that are one and the same folder."""
  seen: dict[str, str] = {}
  for folder in splits.values():
    for name in class_names:
      inner = os.path.join(folder, name)
      first = seen.setdefault(os.path.realpath(walk.path(inner)), inner)
      if first != inner:
        raise ValueError(
          f'input_dir is {walk.path("")!r}, where {first!r} and {inner!r} are '
          'the same folder by a link; remove the link.'
        )


def _check_empty(
  walk: folder_walk.Walk,
  class_names: Sequence[str],
  images: Mapping[str, Sequence[ImageFileEntry]],
  *,
  allowed: bool,
) -> None:
  """Refuses classes of which there is nothing to learn."""
  left_out = '; '.join(
    f'{each.count} {each.reason}: {", ".join(each.names)}'
    for each in walk.left_out
  )
  found = f' Left out: {left_out}.' if left_out else ''
  if not any(images.values()):
    raise ValueError(
      f'input_dir is {walk.path("")!r}, but holds no images; it must hold a '
      f'folder for each class, with images in it.{found}'
    )
  labels = {entry.label for entry in next(iter(images.values()))}
  empty = [name for i, name in enumerate(class_names) if i not in labels]
  if empty and not allowed:
    raise ValueError(
      f'input_dir is {walk.path("")!r}, where no image is found for '
      f'{_list(empty)}: a class of which there is nothing to learn. Remove the '
      'folder; set recursive (--recursive), if its images lie deeper; or set '
      f'allow_empty_classes (--allow_empty_classes) to keep it.{found}'
    )


def _hold_out(
  entries: Sequence[ImageFileEntry], fraction: float
) -> dict[str, list[ImageFileEntry]]:
  images: dict[str, list[ImageFileEntry]] = {'train': [], 'validation': []}
  for entry in entries:
    held_out = corpus.hash_fraction(entry.name) < fraction
    images['validation' if held_out else 'train'].append(entry)
  return images


def _find_oddities(
  class_names: Sequence[str], splits: Mapping[str, str]
) -> list[str]:
  """Returns sentences on what may be a mistake, and on what is taken how."""
  notes = [
    f'folder {folder!r} is split {split!r}.'
    for split, folder in splits.items()
    if folder
  ]
  by_letters: dict[str, str] = {}
  for name in class_names:
    first = by_letters.setdefault(name.casefold(), name)
    if first != name:
      notes.append(
        f'classes {first!r} and {name!r} differ in upper and lower case alone; '
        'if they are one, put their images together.'
      )
  return notes


def _find_held_out_classes(
  class_names: Sequence[str], images: Mapping[str, Sequence[ImageFileEntry]]
) -> list[str]:
  labels = {
    split: {entry.label for entry in entries}
    for split, entries in images.items()
  }
  names = [
    class_names[label] for label in labels['validation'] - labels['train']
  ]
  if not names:
    return []
  return [
    f'all images of {_list(sorted(names))} are held out for validation: there '
    'is nothing to learn of them; add images, or hold out less.'
  ]


def _list(names: Sequence[str]) -> str:
  shown = ', '.join(f"'{printable(name)}'" for name in names[:_MAX_LISTED])
  more = len(names) - _MAX_LISTED
  return (shown or 'none') + (f' and {more} more' if more > 0 else '')
