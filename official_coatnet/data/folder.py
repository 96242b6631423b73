"""From a folder of class folders to records in the ImageNet schema.

The layout that image collections usually come in: `<folder>/<class>/<image>`.
Classes are the sorted folder names. Images that are not RGB or grey JPEGs are
encoded as such once, here, so that training can decode all of them the fast
way.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from official_coatnet.data import manifest as manifest_lib
from official_coatnet.data import records, schema

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp', '.tif', '.tiff')
# Of an image that had to be encoded anew.
_JPEG_QUALITY = 95


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
  if not 0 <= validation_fraction < 1:
    raise ValueError(
      f'validation_fraction is {validation_fraction}, but must lie in [0, 1); '
      '0.1 holds out a tenth.'
    )
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
  images = {'train': [], 'validation': []}
  for label, class_name in enumerate(class_names):
    for file in sorted(
      tf.io.gfile.listdir(os.path.join(input_dir, class_name))
    ):
      if file.startswith('.') or not file.lower().endswith(EXTENSIONS):
        continue
      path = os.path.join(input_dir, class_name, file)
      size = tf.io.gfile.stat(path).length
      entry = ImageFileEntry(f'{class_name}/{file}', label, size)
      held_out = _hash_fraction(entry.name) < validation_fraction
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


def write_folder(
  input_dir: str,
  output_dir: str,
  *,
  num_shards: int = 16,
  validation_fraction: float = 0.0,
  progress: records.Progress | None = None,
) -> dict[str, manifest_lib.Manifest]:
  """Writes a folder of class folders as records.

  Args:
    input_dir: the folder.
    output_dir: folder to write to.
    num_shards: number of files of the train split; validation gets a share of
      that in proportion to its images.
    validation_fraction: share of the images to hold out.
    progress: called after each image, with the number of images of its split.

  Returns:
    The manifest of each split by name; images that were left out are in it. A
    split that is there, complete and made from the same files is left as it is.

  Raises:
    ValueError: as in `list_folder`, or if not one image of a split can be read.
  """
  listing = list_folder(input_dir, validation_fraction=validation_fraction)
  num_images = {split: len(each) for split, each in listing.images.items()}
  most = max(num_images.values())
  manifests = {}
  for split, entries in listing.images.items():
    share = -(-num_shards * len(entries) // most)
    split_shards = max(1, min(share, len(entries)))
    fingerprint = _fingerprint(listing, split, num_shards=split_shards)
    if not manifest_lib.is_complete(output_dir, split, fingerprint=fingerprint):
      _write_split(
        functools.partial(
          _make_shard,
          input_dir=input_dir,
          listing=listing,
          split=split,
          num_shards=split_shards,
        ),
        output_dir,
        split=split,
        num_shards=split_shards,
        listing=listing,
        fingerprint=fingerprint,
        progress=progress,
      )
    manifests[split] = manifest_lib.read_manifest(output_dir, split)
    _check_not_empty(manifests[split], input_dir)
  return manifests


def _write_split(
  make_shard: Callable[[int], Iterable[records.Record | manifest_lib.Failure]],
  output_dir: str,
  *,
  split: str,
  num_shards: int,
  listing: Listing,
  fingerprint: str,
  progress: records.Progress | None,
) -> None:
  records.write_split(
    make_shard,
    output_dir,
    split=split,
    num_shards=num_shards,
    schema='imagenet',
    num_classes=len(listing.class_names),
    label_offset=-1,
    class_names=listing.class_names,
    num_examples=len(listing.images[split]),
    fingerprint=fingerprint,
    progress=progress,
  )


def _make_shard(
  shard: int,
  *,
  input_dir: str,
  listing: Listing,
  split: str,
  num_shards: int,
) -> Iterator[records.Record | manifest_lib.Failure]:
  """Yields what is in a shard."""
  entries = listing.images[split]
  for index in records.shard_range(
    shard, num_shards, num_examples=len(entries)
  ):
    entry = entries[index]
    with tf.io.gfile.GFile(os.path.join(input_dir, entry.name), 'rb') as file:
      contents = file.read()
    try:
      encoded, width, height = normalize_image(contents)
    except ValueError as error:
      yield manifest_lib.Failure(entry.name, str(error))
      continue
    yield records.Record(
      schema.serialize_imagenet(
        encoded,
        label=entry.label + 1,
        height=height,
        width=width,
        filename=entry.name,
        text=listing.class_names[entry.label],
      ),
      labels=[entry.label + 1],
    )


def _fingerprint(listing: Listing, split: str, *, num_shards: int) -> str:
  """Returns a checksum of names, classes and sizes of the images of a split."""
  contents = json.dumps(
    [
      listing.class_names,
      [dataclasses.astuple(entry) for entry in listing.images[split]],
      num_shards,
      _JPEG_QUALITY,
    ]
  )
  return hashlib.sha256(contents.encode()).hexdigest()


def _check_not_empty(manifest: manifest_lib.Manifest, input_dir: str) -> None:
  if not manifest.num_examples:
    first = manifest.failures[0]
    raise ValueError(
      f'input_dir is {input_dir!r}, but none of the {len(manifest.failures)} '
      f'images of split {manifest.split!r} can be read; the first, '
      f'{first.name}: {first.reason}.'
    )
