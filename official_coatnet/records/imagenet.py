"""ImageNet-1K and ImageNet-21K, from the archives in which they are published.

ImageNet-1K: `ILSVRC2012_img_train.tar` holds a tar for each class,
`ILSVRC2012_img_val.tar` the validation images. Their classes come from the
development kit `ILSVRC2012_devkit_t12.tar.gz`, or from a text file.

ImageNet-21K: `fall11_whole.tar` holds a tar for each of 21,841 classes. It has
no validation split, so a hash of the name holds out a hundredth.

Classes are the sorted WordNet ids ("synsets"); labels are stored 1-based. The
images are mixed once, by a seed. The few that are PNG or CMYK are encoded anew.
"""

import dataclasses
import functools
import io
import os
import tarfile
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import image_files, manifest as manifest_lib, schema
from official_coatnet.records import archives, corpus, writing

TRAIN_ARCHIVE = 'ILSVRC2012_img_train.tar'
VALIDATION_ARCHIVE = 'ILSVRC2012_img_val.tar'
DEVELOPMENT_KIT = 'ILSVRC2012_devkit_t12.tar.gz'
IMAGENET21K_ARCHIVE = 'fall11_whole.tar'
IMAGENET1K_CLASSES = 1000
IMAGENET21K_CLASSES = 21841

_KIT_FILES = ('ILSVRC2012_validation_ground_truth.txt', 'meta.mat')
_SYNSET = r'n\d{8}'
_CLASS_ARCHIVE = _SYNSET + r'\.tar'
_VALIDATION_IMAGE = r'ILSVRC2012_val_\d{8}\.JPEG'


def imagenet1k_splits(
  input_dir: str,
  *,
  validation_labels: str | None = None,
  num_classes: int = IMAGENET1K_CLASSES,
  seed: int = 0,
) -> list[corpus.Split]:
  """Returns what the splits of ImageNet-1K are made of.

  Args:
    input_dir: folder of both archives and, unless `validation_labels` is given,
      of the development kit.
    validation_labels: text file with the synset of each validation image, a
      line an image, either in the order of their names or after the name:
      `ILSVRC2012_val_00000001.JPEG n01751748`.
    num_classes: number of classes that there must be.
    seed: seed of the order of the images.

  Raises:
    ValueError: if an archive is missing, damaged or not what it should be.
  """
  train_path = os.path.join(input_dir, TRAIN_ARCHIVE)
  train, synsets = list_class_archives(train_path)
  _check_classes(synsets, num_classes, path=train_path)
  validation_path = os.path.join(input_dir, VALIDATION_ARCHIVE)
  with archives.open_archive(validation_path) as file:
    members = list(
      archives.list_members(file, validation_path, pattern=_VALIDATION_IMAGE)
    )
  members.sort(key=lambda member: member.name)
  names = [member.name for member in members]
  if validation_labels is None:
    kit = os.path.join(input_dir, DEVELOPMENT_KIT)
    by_name = read_development_kit(kit, names)
  else:
    by_name = read_validation_labels(validation_labels, names)
  numbers = {synset: number for number, synset in enumerate(synsets)}
  unknown = sorted(set(by_name.values()) - set(numbers))
  if unknown:
    raise ValueError(
      f'{VALIDATION_ARCHIVE} has images of {unknown[:5]}, but {train_path} has '
      'no such classes; both must be of ILSVRC2012.'
    )
  validation = archives.to_columns(
    members, [numbers[by_name[name]] for name in names]
  )
  make = functools.partial(_make_split, synsets=synsets, seed=seed)
  return [
    make('train', train_path, train, num_shards=1024),
    make('validation', validation_path, validation, num_shards=128),
  ]


def imagenet21k_splits(
  input_path: str,
  *,
  num_classes: int = IMAGENET21K_CLASSES,
  validation_fraction: float = 0.01,
  seed: int = 0,
) -> list[corpus.Split]:
  """Returns what the splits of ImageNet-21K are made of.

  Args:
    input_path: the archive of class archives, or the folder it lies in.
    num_classes: number of classes that there must be.
    validation_fraction: share of the images to hold out as 'validation', by a
      hash of their names: the same ones, whatever else is in the archive.
    seed: seed of the order of the images.

  Raises:
    ValueError: if the archive is missing, damaged or not what it should be.
  """
  corpus.check_fraction('validation_fraction', validation_fraction)
  if tf.io.gfile.isdir(input_path):
    input_path = os.path.join(input_path, IMAGENET21K_ARCHIVE)
  members, synsets = list_class_archives(input_path)
  _check_classes(synsets, num_classes, path=input_path)
  fractions = map(corpus.hash_fraction, members.names)
  held_out = np.fromiter(fractions, float, len(members)) < validation_fraction
  make = functools.partial(_make_split, synsets=synsets, seed=seed)
  splits = [make('train', input_path, members.take(~held_out), num_shards=8192)]
  if held_out.any():
    splits.append(
      make('validation', input_path, members.take(held_out), num_shards=128)
    )
  return splits


def list_class_archives(path: str) -> tuple[archives.Members, tuple[str, ...]]:
  """Lists an archive of class archives, each of images of its class.

  Args:
    path: the outer archive.

  Returns:
    The images in order of class and name, each with the number of its class,
    and the sorted synsets.

  Raises:
    ValueError: if a member breaks the rules of `archives`, lies in the archive
      of another class, or is there twice.
  """
  members, groups = [], []
  with archives.open_archive(path) as file:
    inner = list(archives.list_members(file, path, pattern=_CLASS_ARCHIVE))
    inner.sort(key=lambda member: member.name)
    synsets = [member.name.removesuffix('.tar') for member in inner]
    for group, (synset, class_archive) in enumerate(zip(synsets, inner)):
      images = list(
        archives.list_members(
          file, path, pattern=synset + r'_\d+\.JPEG', inside=class_archive
        )
      )
      images.sort(key=lambda member: member.name)
      members += images
      groups += [group] * len(images)
  columns = archives.to_columns(members, groups)
  if len(set(synsets)) != len(synsets) or (
    len(np.unique(columns.names)) != len(columns)
  ):
    raise ValueError(
      f'{path} holds a class or an image twice; check that it is the archive '
      'as it was published.'
    )
  if not len(columns):
    raise ValueError(f'{path} holds no images; check that it is the right one.')
  return columns, tuple(synsets)


def read_validation_labels(path: str, names: list[str]) -> Mapping[str, str]:
  """Reads the synsets of the validation images from a text file.

  Args:
    path: the file, a line an image: `<synset>`, in order of the names, or
      `<name> <synset>`, in any order.
    names: the images, sorted.

  Returns:
    The synset of each name.

  Raises:
    ValueError: if the file cannot be read, or does not name one synset for each
      image.
  """
  try:
    lines = files.read_text(path).split('\n')
  except tf.errors.OpError as error:
    raise ValueError(
      f'validation_labels is {path!r}, but cannot be read ({error.message}); '
      'give a text file of synsets.'
    ) from error
  split = ((i, line.replace(',', ' ').split()) for i, line in enumerate(lines))
  rows = {number + 1: row for number, row in split if row}
  if len(rows) == len(names) and all(len(row) == 1 for row in rows.values()):
    return {name: synset for name, (synset,) in zip(names, rows.values())}
  by_name: dict[str, str] = {}
  for number, row in rows.items():
    if len(row) != 2:
      raise ValueError(
        f'validation_labels: {path}, line {number}: {" ".join(row)!r} is '
        f'neither one synset a line, for {len(names)} images in order of their '
        f'names, nor a name and a synset; the file has {len(rows)} lines.'
      )
    name = row[0] if row[0].endswith('.JPEG') else f'{row[0]}.JPEG'
    if by_name.setdefault(name, row[1]) != row[1]:
      raise ValueError(
        f'validation_labels: {path}, line {number}: {name} is of {row[1]!r} '
        f'here, and of {by_name[name]!r} in an earlier line; remove one.'
      )
  missing = [name for name in names if name not in by_name]
  if missing:
    raise ValueError(
      f'validation_labels: {path} has no line for {missing[0]} and '
      f'{len(missing) - 1} others of {len(names)} images.'
    )
  return {name: by_name[name] for name in names}


def read_development_kit(path: str, names: list[str]) -> Mapping[str, str]:
  """Reads the synsets of the validation images from the development kit.

  Args:
    path: `ILSVRC2012_devkit_t12.tar.gz`, as published. Its ground truth numbers
      the classes in an order of its own, which its meta.mat maps to synsets.
    names: the images, sorted.

  Returns:
    The synset of each name.

  Raises:
    ValueError: if it is not there or not the kit.
  """
  from scipy import io as scipy_io  # Slow to import, and needed here only.

  if not tf.io.gfile.exists(path):
    raise ValueError(
      f'{path} is not there, but says the classes of the validation images; '
      'put it there, or give validation_labels, a text file of synsets.'
    )
  contents = {}
  try:
    with (
      tf.io.gfile.GFile(path, 'rb') as file,
      tarfile.open(fileobj=file, mode='r|gz') as archive,
    ):
      for info in archive:
        name = os.path.basename(info.name)
        if name in _KIT_FILES and info.isreg():
          member = archive.extractfile(info)
          assert member is not None  # It is a file.
          contents[name] = member.read()
    truth, meta = (contents[name] for name in _KIT_FILES)
    table = scipy_io.loadmat(io.BytesIO(meta), squeeze_me=True)['synsets']
    synsets = {int(row['ILSVRC2012_ID']): str(row['WNID']) for row in table}
    numbers = [int(line) for line in truth.split()]
    in_order = [synsets[number] for number in numbers]
  except (tarfile.TarError, OSError, KeyError, ValueError) as error:
    raise ValueError(
      f'{path} is not the development kit of ILSVRC2012 ({error!r}); give '
      'validation_labels, a text file of synsets, instead.'
    ) from error
  if len(in_order) != len(names):
    raise ValueError(
      f'{path} has the classes of {len(in_order)} images, but '
      f'{VALIDATION_ARCHIVE} holds {len(names)}; both must be of ILSVRC2012.'
    )
  return dict(zip(names, in_order))


@dataclasses.dataclass(frozen=True)
class ArchiveImages:
  """Images of an archive, as an iterable of records.

  Attributes:
    path: the archive.
    members: the images; groups are their classes.
    synsets: the synset of each of them.
    image_options: how image files are read.
  """

  path: str
  members: archives.Members
  synsets: tuple[str, ...]
  image_options: image_files.Options = image_files.Options()

  def __iter__(self) -> Iterator[writing.Record | manifest_lib.Failure]:
    each = self.members
    rows = zip(each.names, each.offsets, each.sizes, each.groups, self.synsets)
    with archives.open_archive(self.path) as file:
      for name, offset, size, label, synset in rows:
        filename = name.decode()
        try:
          contents = archives.read_member(
            file, offset=int(offset), size=int(size)
          )
          encoded, width, height = image_files.to_jpeg(
            contents, self.image_options
          )
        except ValueError as error:
          yield manifest_lib.Failure(filename, str(error))
          continue
        yield writing.Record(
          schema.serialize_imagenet(
            encoded,
            label=int(label) + 1,
            height=height,
            width=width,
            filename=filename,
            synset=synset,
          ),
          labels=[int(label) + 1],
        )


def _make_split(
  name: str,
  path: str,
  members: archives.Members,
  *,
  synsets: tuple[str, ...],
  seed: int,
  num_shards: int,
) -> corpus.Split:
  mixed = members.take(corpus.shuffled(len(members), seed=seed))

  def select(examples: range) -> ArchiveImages:
    part = mixed.take(np.arange(examples.start, examples.stop))
    return ArchiveImages(
      path, part, tuple(synsets[group] for group in part.groups)
    )

  return corpus.Split(
    name=name,
    schema='imagenet',
    num_classes=len(synsets),
    num_examples=len(mixed),
    select=select,
    fingerprint=corpus.fingerprint(
      synsets, mixed.names, mixed.offsets, mixed.sizes, mixed.groups
    ),
    label_offset=-1,
    class_names=synsets,
    num_shards=num_shards,
  )


def _check_classes(
  synsets: tuple[str, ...], num_classes: int, *, path: str
) -> None:
  if len(synsets) != num_classes:
    raise ValueError(
      f'{path} holds {len(synsets)} classes, but num_classes is {num_classes}; '
      'check that the archive is whole, or set num_classes if this is meant.'
    )
