"""From flags to what a corpus is made of, for tools/tfrecords.py."""

import dataclasses
import functools
import sys

from absl import flags

from official_coatnet.data import image_files
from official_coatnet.records import (
  class_labels,
  corpus,
  folder,
  folder_listing,
  imagenet,
  rows,
)
from tools import image_flags, path_flags

_INPUT_DIR = path_flags.DEFINE_path(
  'input_dir', None, 'Where the images are; see the sub-commands.'
)
_VALIDATION_FRACTION = flags.DEFINE_float(
  'validation_fraction',
  None,
  'folder, manifest, imagenet21k: share of the images to hold out as split '
  '"validation", by a hash of their names; if not set, 0.01 for imagenet21k, '
  'else none.',
)
_RECURSIVE = flags.DEFINE_bool(
  'recursive',
  False,
  'folder: take images in deeper folders as well; their class is the first.',
)
_ALLOW_EMPTY_CLASSES = flags.DEFINE_bool(
  'allow_empty_classes', False, 'folder: classes need have no image.'
)
_SPLIT_FOLDERS = flags.DEFINE_bool(
  'split_folders',
  None,
  'folder: whether folders called train, val (valid, validation) and test are '
  'splits, with class folders in each; if not set, where there are no other '
  'folders. --nosplit_folders: they are classes.',
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'imagenet1k, imagenet21k, manifest: seed of the order of images.'
)
NUM_CLASSES = flags.DEFINE_integer(
  'num_classes',
  None,
  'Number of classes: what must be in an archive (1000 and 21841 if not set), '
  'or what labels of a list, or of files without a manifest, lie below.',
  lower_bound=1,
)
_CLASS_NAMES = path_flags.DEFINE_path(
  'class_names',
  None,
  'manifest: text file of the class names, one a line. Labels of the list are '
  'names then.',
)
_LABEL_SEPARATOR = flags.DEFINE_string(
  'label_separator',
  None,
  'manifest: character that separates labels where a cell holds several, such '
  'as "|" or " "; if not set, ";", and where there are no --class_names blanks '
  'as well.',
)
_NUMERIC_LABELS = flags.DEFINE_enum(
  'numeric_labels',
  None,
  class_labels.NUMERIC_LABELS,
  'manifest: what labels that are numbers mean where there are --class_names: '
  'class numbers from 0, or names; if not set, numbers that could be either '
  'are refused.',
)
_SINGLE_LABEL = flags.DEFINE_bool(
  'single_label',
  False,
  'manifest: make records of one label an image (schema imagenet, not '
  'multilabel); rows with none or several are left out and listed.',
)
_LIST = path_flags.DEFINE_path(
  'list', None, 'manifest: the list of images, JSON lines or .csv.'
)
_VALIDATION_LIST = path_flags.DEFINE_path(
  'validation_list',
  None,
  'manifest: list of the images of split "validation", instead of '
  '--validation_fraction.',
)
_VALIDATION_LABELS = path_flags.DEFINE_path(
  'validation_labels',
  None,
  'imagenet1k: text file with the synset of each validation image, one a line '
  'in order of their names, or "<name> <synset>".',
)
_TFDS_NAME = flags.DEFINE_string(
  'tfds_name', None, 'tfds: name, perhaps with configuration and version.'
)
_SPLITS = flags.DEFINE_list('splits', None, 'tfds: splits; all if not set.')


def from_folder() -> list[corpus.Split]:
  """A folder of class folders; prints what of it is left out."""
  input_dir = require(
    _INPUT_DIR, 'give the folder that holds a folder of images for each class'
  )
  listing = folder_listing.list_folder(
    input_dir,
    validation_fraction=_VALIDATION_FRACTION.value or 0.0,
    recursive=_RECURSIVE.value,
    allow_empty_classes=_ALLOW_EMPTY_CLASSES.value,
    split_folders=_SPLIT_FOLDERS.value,
  )
  for note in listing.notes:
    print(f'{input_dir}: {note}')
  for each in listing.left_out:
    more = ', ...' if each.count > len(each.names) else ''
    print(
      f'{input_dir}: left out, {each.count:,} {each.reason}: '
      f'{", ".join(each.names)}{more}'
    )
  return folder.make_splits(input_dir, listing)


def from_imagenet1k() -> list[corpus.Split]:
  """The archives of ImageNet-1K."""
  return imagenet.imagenet1k_splits(
    require(_INPUT_DIR, 'give the folder of the archives'),
    validation_labels=_VALIDATION_LABELS.value,
    num_classes=NUM_CLASSES.value or imagenet.IMAGENET1K_CLASSES,
    seed=_SEED.value,
  )


def from_imagenet21k() -> list[corpus.Split]:
  """The archive of ImageNet-21K."""
  fraction = _VALIDATION_FRACTION.value
  return imagenet.imagenet21k_splits(
    require(_INPUT_DIR, 'give the folder of the archive'),
    num_classes=NUM_CLASSES.value or imagenet.IMAGENET21K_CLASSES,
    validation_fraction=0.01 if fraction is None else fraction,
    seed=_SEED.value,
  )


def from_list() -> list[corpus.Split]:
  """A list of images with labels."""
  names = None
  if _CLASS_NAMES.value:
    names = class_labels.read_class_names(_CLASS_NAMES.value)
  return rows.rows_splits(
    require(_LIST, 'give the list of images, JSON lines or .csv'),
    input_dir=require(_INPUT_DIR, 'give the folder of the images'),
    validation_list=_VALIDATION_LIST.value,
    num_classes=NUM_CLASSES.value,
    class_names=names,
    label_separator=_LABEL_SEPARATOR.value,
    numeric_labels=_NUMERIC_LABELS.value,
    single_label=_SINGLE_LABEL.value,
    validation_fraction=_VALIDATION_FRACTION.value or 0.0,
    seed=_SEED.value,
    tell=functools.partial(print, file=sys.stderr),
  )


def from_tfds() -> list[corpus.Split]:
  """A data set of TFDS."""
  # TFDS takes seconds to import, in every worker process as well.
  from official_coatnet.records import tfds_corpus

  return tfds_corpus.tfds_splits(
    require(_TFDS_NAME, 'give the name of the data set'),
    data_dir=_INPUT_DIR.value,
    splits=_SPLITS.value,
  )


def find_splits(
  command: str, output_dir: str, *, num_shards: int | None
) -> list[corpus.Split]:
  """Returns what the splits of a source are made of, by the flags.

  Args:
    command: the source, one of `SOURCES`.
    output_dir: where they are to go.
    num_shards: number of files, as of `corpus.write_corpus`.
  """
  splits = SOURCES[command]()
  exif = image_flags.EXIF_ORIENTATION.value
  plain = image_files.Options(
    exif_orientation=bool(exif), value_range=image_flags.value_range()
  )
  splits = [corpus.with_image_options(each, plain) for each in splits]
  if command != 'folder' or exif is not None:
    return splits
  if corpus.is_written(splits, output_dir, num_shards=num_shards):
    return splits  # By a version that turned no images: it is done.
  turned = dataclasses.replace(plain, exif_orientation=True)
  return [corpus.with_image_options(each, turned) for each in splits]


SOURCES = {
  'folder': from_folder,
  'imagenet1k': from_imagenet1k,
  'imagenet21k': from_imagenet21k,
  'manifest': from_list,
  'tfds': from_tfds,
}


def require(flag: flags.FlagHolder, fix: str) -> str:
  """Returns the value of a flag; a ValueError if it is not set."""
  if not flag.value:
    raise ValueError(f'--{flag.name} is not set; {fix}.')
  return flag.value
