"""From a folder of class folders to records in the ImageNet schema.

The form that image collections usually come in: `<folder>/<class>/<image>`.
Classes are the sorted folder names. Images that are not RGB or grey JPEGs are
encoded as such once, here, so that training can decode all of them the fast
way.
"""

import dataclasses
import functools
import os
import random
from collections.abc import Iterator

import tensorflow as tf

from official_coatnet.data import manifest as manifest_lib, schema
from official_coatnet.records import corpus, writing

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp', '.tif', '.tiff')


@dataclasses.dataclass(frozen=True)
class ImageFileEntry:
  """One image of the folder.

  Attributes:
    name: path within the folder, `<class>/<image>`.
    label: its class, 0-based.
    size: size of the file in bytes.
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
  """

  class_names: tuple[str, ...]
  images: dict[str, tuple[ImageFileEntry, ...]]


def list_folder(input_dir: str, *, validation_fraction: float = 0.0) -> Listing:
  """Lists the images of a folder of class folders.

  Args:
    input_dir: the folder.
    validation_fraction: share of the images to hold out, in [0, 1). Whether one
      is held out depends on a hash of its name alone: it stays where it is when
      others come or go.

  Returns:
    The classes, and the images of 'train' and, if any are held out, of
    'validation', mixed in an order that depends on their names alone.

  Raises:
    ValueError: if there is no such folder, no image in it, or the fraction is
      out of range.
  """
  corpus.check_fraction('validation_fraction', validation_fraction)
  if not tf.io.gfile.isdir(input_dir):
    raise ValueError(
      f'input_dir is {input_dir!r}, but there is no such folder; check it.'
    )
  class_names = sorted(
    name.rstrip('/')
    for name in tf.io.gfile.listdir(input_dir)
    if not name.startswith('.')
    and tf.io.gfile.isdir(os.path.join(input_dir, name))
  )
  images: dict[str, list[ImageFileEntry]] = {'train': [], 'validation': []}
  for label, class_name in enumerate(class_names):
    for file in sorted(
      tf.io.gfile.listdir(os.path.join(input_dir, class_name))
    ):
      if file.startswith('.') or not file.lower().endswith(EXTENSIONS):
        continue
      path = os.path.join(input_dir, class_name, file)
      size = tf.io.gfile.stat(path).length
      entry = ImageFileEntry(f'{class_name}/{file}', label, size)
      held_out = corpus.hash_fraction(entry.name) < validation_fraction
      images['validation' if held_out else 'train'].append(entry)
  if not any(images.values()):
    raise ValueError(
      f'input_dir is {input_dir!r}, but holds no images; it must hold a folder '
      f'for each class, with images in it (of {", ".join(EXTENSIONS)}).'
    )
  for entries in images.values():
    # Records are shuffled once, so that no shard holds a single class.
    random.Random(0).shuffle(entries)
  return Listing(
    class_names=tuple(class_names),
    images={split: tuple(each) for split, each in images.items() if each},
  )


def folder_splits(
  input_dir: str, *, validation_fraction: float = 0.0
) -> list[corpus.Split]:
  """Returns what the splits of a folder of class folders are made of.

  Args:
    input_dir: the folder.
    validation_fraction: share of the images to hold out.

  Raises:
    ValueError: as in `list_folder`.
  """
  listing = list_folder(input_dir, validation_fraction=validation_fraction)
  return [
    corpus.Split(
      name=name,
      schema='imagenet',
      num_classes=len(listing.class_names),
      num_examples=len(entries),
      select=functools.partial(
        _select, input_dir, entries, class_names=listing.class_names
      ),
      fingerprint=corpus.fingerprint(
        listing.class_names, [dataclasses.astuple(entry) for entry in entries]
      ),
      label_offset=-1,
      class_names=listing.class_names,
    )
    for name, entries in listing.images.items()
  ]


@dataclasses.dataclass(frozen=True)
class FolderImages:
  """Images of a folder, as an iterable of records.

  Attributes:
    input_dir: the folder.
    entries: the images.
    class_names: names of all classes.
  """

  input_dir: str
  entries: tuple[ImageFileEntry, ...]
  class_names: tuple[str, ...]

  def __iter__(self) -> Iterator[writing.Record | manifest_lib.Failure]:
    for entry in self.entries:
      path = os.path.join(self.input_dir, entry.name)
      try:
        encoded, width, height = corpus.normalize_image(corpus.read_image(path))
      except ValueError as error:
        yield manifest_lib.Failure(entry.name, str(error))
        continue
      yield writing.Record(
        schema.serialize_imagenet(
          encoded,
          label=entry.label + 1,
          height=height,
          width=width,
          filename=entry.name,
          text=self.class_names[entry.label],
        ),
        labels=[entry.label + 1],
      )


def _select(
  input_dir: str,
  entries: tuple[ImageFileEntry, ...],
  examples: range,
  *,
  class_names: tuple[str, ...],
) -> FolderImages:
  part = entries[examples.start : examples.stop]
  return FolderImages(input_dir, part, class_names)
