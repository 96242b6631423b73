"""Whether a training and an evaluation split belong together.

Each of them may be whole and right, and both together wrong: a validation split
of an earlier build, whose images are all in the new training split; classes in
another order. Their manifests say enough to notice, and no record is read.
"""

import itertools
import os
from collections.abc import Sequence

from absl import logging

from official_coatnet.data import sketch, sources, split_files
from official_coatnet.data.config import DataConfig
from official_coatnet.data.manifest import Manifest

_TOGETHER = (
  'build both in one go (tools/tfrecords.py with --overwrite replaces what an '
  'earlier build has left)'
)


def find_problems(
  train: tuple[DataConfig, Manifest],
  evaluation: tuple[DataConfig, Manifest],
  *,
  allow_shared_images: bool = False,
) -> list[str]:
  """Compares two splits by what their manifests say.

  Manifests of version 0.1 know neither their build nor their images, and are
  compared as far as they go.

  Args:
    train: how the training split is read, and its manifest.
    evaluation: the same of the evaluation split.
    allow_shared_images: whether images may stand in both.

  Returns:
    A sentence for each problem; none for two that are the same split.
  """
  paths = [_path(config) for config, _ in (train, evaluation)]
  if paths[0] == paths[1]:
    # Somebody has said so: it is no mistake of a folder.
    logging.warning('The evaluation is of the training images, %s.', paths[0])
    return []
  problems = _class_problems(train, evaluation, paths=paths)
  mark, other = (each.build for _, each in (train, evaluation))
  same_folder = os.path.dirname(paths[0]) == os.path.dirname(paths[1])
  if mark is not None and other is not None:
    if mark.mark == other.mark:
      return problems
    if same_folder:
      return problems + [
        f'{paths[0]} and {paths[1]} are of different builds: images of one may '
        f'stand in the other; {_TOGETHER}.'
      ]
  if allow_shared_images:
    return problems
  return problems + _shared_image_problems(train[1], evaluation[1], paths=paths)


def read_quietly(config: DataConfig) -> Manifest | None:
  """Returns the manifest of what need not be there, or None."""
  if config.source != 'tfrecord' or config.data_dir is None:
    return None
  try:
    return sources.find_records(config).manifest
  except ValueError:
    return None


def _path(config: DataConfig) -> str:
  assert config.data_dir is not None  # Its manifest was found there.
  path = split_files.manifest_path(config.data_dir, config.split)
  return path if '://' in path else os.path.abspath(path)


def _class_problems(
  train: tuple[DataConfig, Manifest],
  evaluation: tuple[DataConfig, Manifest],
  *,
  paths: Sequence[str],
) -> list[str]:
  """Compares number, names and stored labels of the classes."""
  (train_config, first), (config, second) = train, evaluation
  where = f'{paths[0]} and {paths[1]} do not belong together'
  if first.num_classes != second.num_classes:
    return [
      f'{where}: they have {first.num_classes} and {second.num_classes} '
      f'classes; {_TOGETHER}.'
    ]
  names = first.class_names or (), second.class_names or ()
  if all(names) and names[0] != names[1]:
    number, one, two = next(
      (i, *pair)
      for i, pair in enumerate(itertools.zip_longest(*names))
      if pair[0] != pair[1]
    )
    return [
      f'{where}: class {number} from 0 is {one!r} in the first and {two!r} in '
      f'the second; {_TOGETHER}.'
    ]
  stated = {train_config.label_offset, config.label_offset} != {None}
  if (
    first.schema == second.schema
    and first.label_offset != second.label_offset
    and not stated
  ):
    return [
      f'{where}: the same stored label is another class in each (label_offset '
      f'{first.label_offset} and {second.label_offset}); correct the manifest '
      'that is wrong, or set train/DataConfig.label_offset and '
      'eval/DataConfig.label_offset.'
    ]
  return []


def _shared_image_problems(
  first: Manifest, second: Manifest, *, paths: Sequence[str]
) -> list[str]:
  """Looks for images in both, as far as the sketches know."""
  if first.sketch is None or second.sketch is None:
    logging.info(
      'Whether images stand in both %s and %s is not known: a manifest of '
      'version 0.1 does not say; `tools/tfrecords.py index` adds it.',
      *paths,
    )
    return []
  overlap = sketch.compare(first.sketch, second.sketch)
  if not overlap.hashes:
    return []
  about = '' if overlap.share == 1 else 'about '
  return [
    f'{about}{overlap.num_images:,} of the {second.num_examples:,} images of '
    f'{paths[1]} stand in {paths[0]} as well, so that the evaluation would be '
    f'of images that were trained on; {_TOGETHER}, or set '
    'RunConfig.allow_shared_images = True.'
  ]
