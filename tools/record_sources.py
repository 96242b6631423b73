"""From flags to what a corpus is made of, for tools/tfrecords.py."""

import functools
import sys

from absl import flags

from official_coatnet.records import (
  class_labels,
  corpus,
  folder,
  imagenet,
  rows,
)

_INPUT_DIR = flags.DEFINE_string(
  'input_dir', None, 'Where the images are; see the sub-commands.'
)
_VALIDATION_FRACTION = flags.DEFINE_float(
  'validation_fraction',
  None,
  'folder, manifest, imagenet21k: share of the images to hold out as split '
  '"validation", by a hash of their names; if not set, 0.01 for imagenet21k, '
  'else none.',
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
_CLASS_NAMES = flags.DEFINE_string(
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
_LIST = flags.DEFINE_string(
  'list', None, 'manifest: the list of images, JSON lines or .csv.'
)
_VALIDATION_LIST = flags.DEFINE_string(
  'validation_list',
  None,
  'manifest: list of the images of split "validation", instead of '
  '--validation_fraction.',
)
_VALIDATION_LABELS = flags.DEFINE_string(
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
  """A folder of class folders."""
  return folder.folder_splits(
    require(
      _INPUT_DIR, 'give the folder that holds a folder of images for each class'
    ),
    validation_fraction=_VALIDATION_FRACTION.value or 0.0,
  )


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
