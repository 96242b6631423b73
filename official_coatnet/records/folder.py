"""From a folder of class folders to records in the ImageNet schema.

The form that image collections usually come in: `<folder>/<class>/<image>`.
Classes are the sorted folder names. Images that are not RGB or grey JPEGs are
encoded as such once, here, so that training can decode all of them the fast
way.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

from official_coatnet.data import image_files, manifest as manifest_lib, schema
from official_coatnet.records import corpus, writing
from official_coatnet.records.folder_listing import (
  ImageFileEntry,
  Listing,
  list_folder,
)


def folder_splits(
  input_dir: str, *, validation_fraction: float = 0.0, **options: Any
) -> list[corpus.Split]:
  """Returns what the splits of a folder of class folders are made of.

  Args:
    input_dir: the folder.
    validation_fraction: share of the images to hold out.
    **options: further arguments of `list_folder`.

  Raises:
    ValueError: as in `list_folder`.
  """
  return make_splits(
    input_dir,
    list_folder(input_dir, validation_fraction=validation_fraction, **options),
  )


def make_splits(input_dir: str, listing: Listing) -> list[corpus.Split]:
  """Returns what the splits of a folder are made of that has been listed."""
  splits = [
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
  build = corpus.make_build(splits, left_out=listing.left_out)
  return [dataclasses.replace(split, build=build) for split in splits]


@dataclasses.dataclass(frozen=True)
class FolderImages:
  """Images of a folder, as an iterable of records.

  Attributes:
    input_dir: the folder.
    entries: the images.
    class_names: names of all classes.
    image_options: how image files are read.
  """

  input_dir: str
  entries: tuple[ImageFileEntry, ...]
  class_names: tuple[str, ...]
  image_options: image_files.Options = image_files.Options()

  def __iter__(self) -> Iterator[writing.Record | manifest_lib.Failure]:
    for entry in self.entries:
      path = os.path.join(self.input_dir, entry.name)
      try:
        encoded, width, height = image_files.to_jpeg(
          corpus.read_image(path), self.image_options
        )
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
