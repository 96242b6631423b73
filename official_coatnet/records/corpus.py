"""What a corpus is made of, and how all corpora are written.

A source (a folder, an archive, a list, a TFDS data set) says what its splits
are made of: how many examples, and for any of them, by number, an object that
makes their records when it is iterated. Everything else is the same for all:
shards, processes, failures, receipts, manifests; and images, which are RGB or
grey JPEGs, encoded anew at most once, so that training decodes all of them the
fast way.
"""

import dataclasses
import functools
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.data import (
  image_files,
  manifest as manifest_lib,
  split_files,
)
from official_coatnet.records import (
  builds,
  processes,
  shared_images,
  writing,
)

# Where nothing is said, so many images may be left out: a share, or a few of
# a small corpus.
_DEFAULT_FRACTION = 0.001
_DEFAULT_NUMBER = 10


@dataclasses.dataclass(frozen=True)
class Split:
  """What a split is made of.

  Attributes:
    name: name of the split.
    schema: name of the record schema.
    num_classes: number of classes.
    num_examples: number of examples, those included that will prove unusable.
    select: returns the records, and failures, of the examples in a range, as
      an object that can be pickled and makes them when it is iterated.
    fingerprint: stands for all that the records are made from.
    holds_num_shards: whether for the number of files, too.
    label_offset: what to add to a stored label to get a class.
    class_names: names of the classes in order, or None.
    num_shards: number of files that this split usually has, or None.
    build: what it has in common with the other splits of its source, those
      included that are not asked for; None if there are no such, and it is a
      matter of the splits that are written together.
    image_options: how `select` reads image files.

  Raises:
    ValueError: if a class cannot be called so.
  """

  name: str
  schema: str
  num_classes: int
  num_examples: int
  select: Callable[[range], Iterable[writing.Record | manifest_lib.Failure]]
  fingerprint: str
  label_offset: int
  class_names: tuple[str, ...] | None = None
  num_shards: int | None = None
  holds_num_shards: bool = False
  build: manifest_lib.Build | None = None
  image_options: image_files.Options = image_files.Options()

  def __post_init__(self):
    manifest_lib.check_class_names(self.class_names or ())


def with_image_options(split: Split, options: image_files.Options) -> Split:
  """Returns a split whose image files are read in another way.

  Args:
    split: a split; what its `select` returns has a field `image_options`.
    options: how to read image files.

  Raises:
    ValueError: if its images keep the bytes that they have.
  """
  if options == split.image_options:
    return split
  if not hasattr(split.select(range(0)), 'image_options'):
    raise ValueError(
      'exif_orientation or value_range is set, but the images of this source '
      'keep the bytes that they have; unset them.'
    )
  return dataclasses.replace(
    split,
    select=functools.partial(_select_with, split.select, options=options),
    image_options=options,
  )


def _select_with(
  select: Callable[[range], Any],
  examples: range,
  *,
  options: image_files.Options,
) -> Any:
  return dataclasses.replace(select(examples), image_options=options)


def write_corpus(
  splits: Sequence[Split],
  output_dir: str,
  *,
  num_shards: int | None = None,
  max_failures: int | float | None = None,
  progress: writing.Progress | None = None,
  map_tasks: processes.MapTasks = processes.map_here,
  overwrite: bool = False,
  warn: Callable[[str], None] = logging.warning,
) -> dict[str, manifest_lib.Manifest]:
  """Writes a corpus as records.

  Args:
    splits: what its splits are made of.
    output_dir: folder to write to.
    num_shards: number of files of the largest split; others get a share of
      that in proportion to their examples. None for what the source says, or
      16.
    max_failures: most images of a split that may be left out: a number, or as
      a float below 1 a share; None for a thousandth, or 10 if that is more.
    progress: called with images done and images of the split.
    map_tasks: who writes the shards.
    overwrite: whether to replace what another build has left in `output_dir`.
      What this one has left is gone on with in either case.
    warn: called with a sentence on images that two of the splits share.

  Returns:
    The manifest of each split by name; images that were left out are in it. A
    split that is there, complete and made from the same is left as it is.

  Raises:
    ValueError: if too many images, or all, had to be left out; or if the folder
      holds something else and is not to be overwritten.
  """
  build = splits[0].build or make_build(splits)
  parts = {}
  for split in splits:
    shards = _count_shards(split, splits, num_shards=num_shards)
    parts[split.name] = builds.Part(split.name, shards, _mark(split, shards))
  limits = {
    each.name: failure_limit(max_failures, num_examples=each.num_examples)
    for each in splits
  }
  builds.claim(
    output_dir, list(parts.values()), build=build, overwrite=overwrite
  )
  manifests = {}
  for split in splits:
    manifests[split.name] = _write_split(
      split,
      output_dir,
      part=parts[split.name],
      build=build,
      failure_limit=limits[split.name],
      progress=progress,
      map_tasks=map_tasks,
    )
    _check_not_empty(manifests[split.name])
  for warning in shared_images.find(manifests, output_dir):
    warn(warning)
  builds.finish(output_dir, manifests.values(), build=build)
  return manifests


def is_written(
  splits: Sequence[Split], output_dir: str, *, num_shards: int | None = None
) -> bool:
  """Whether `write_corpus` of the same arguments would find all splits done."""
  return all(
    split_files.complete_manifest(
      output_dir,
      split.name,
      fingerprint=_mark(
        split, _count_shards(split, splits, num_shards=num_shards)
      ),
    )
    is not None
    for split in splits
  )


def _count_shards(
  split: Split, splits: Sequence[Split], *, num_shards: int | None
) -> int:
  """Returns the number of files of one of the splits; see `write_corpus`."""
  shards = split.num_shards if num_shards is None else None
  if shards is None:
    most = max(each.num_examples for each in splits)
    shards = -(-(num_shards or 16) * split.num_examples // most)
  return max(1, min(shards, split.num_examples))


def _mark(split: Split, num_shards: int) -> str:
  """Returns the fingerprint of a split in so many files."""
  if split.holds_num_shards:
    return split.fingerprint
  parts = [split.fingerprint, num_shards]
  if split.image_options != image_files.Options():
    # Where nothing is set it is the fingerprint of earlier versions, which had
    # no options: what they have finished is not written again.
    parts.append(dataclasses.asdict(split.image_options))
  return fingerprint(*parts)


def make_build(
  splits: Sequence[Split], *, left_out: Sequence[manifest_lib.LeftOut] = ()
) -> manifest_lib.Build:
  """Returns what splits have in common that are all of one source.

  Args:
    splits: the splits.
    left_out: what was found at the source and belongs to none of them.
  """
  return manifest_lib.Build(
    mark=fingerprint({each.name: each.fingerprint for each in splits}),
    splits={each.name: each.num_examples for each in splits},
    left_out=tuple(left_out),
  )


def _write_split(
  split: Split,
  output_dir: str,
  *,
  part: builds.Part,
  build: manifest_lib.Build,
  failure_limit: int,
  progress: writing.Progress | None,
  map_tasks: processes.MapTasks,
) -> manifest_lib.Manifest:
  """Writes a split, or finds it whole; its receipts stay."""
  manifest = split_files.complete_manifest(
    output_dir, split.name, fingerprint=part.fingerprint
  )
  if manifest is not None:
    # This split is as before, but another one of the build need not be.
    if manifest.build is not None and manifest.build.mark != build.mark:
      manifest = dataclasses.replace(manifest, build=build)
      writing.write_manifest(manifest, output_dir)
    return manifest
  return writing.write_split(
    lambda shard: split.select(
      writing.shard_range(
        shard, part.num_shards, num_examples=split.num_examples
      )
    ),
    output_dir,
    split=split.name,
    num_shards=part.num_shards,
    schema=split.schema,
    num_classes=split.num_classes,
    label_offset=split.label_offset,
    class_names=split.class_names,
    num_examples=split.num_examples,
    fingerprint=part.fingerprint,
    exif_orientation=split.image_options.exif_orientation,
    failure_limit=failure_limit,
    progress=progress,
    map_tasks=map_tasks,
    build=build,
    keep_receipts=True,
  )


def failure_limit(
  max_failures: int | float | None, *, num_examples: int
) -> int:
  """Returns how many images may be left out.

  Args:
    max_failures: a number, a share as a float below 1, or None.
    num_examples: number of images.

  Raises:
    ValueError: if it is negative, or a fraction above 1.
  """
  if max_failures is None:
    return max(_DEFAULT_NUMBER, int(_DEFAULT_FRACTION * num_examples))
  if max_failures < 0 or (max_failures > 1 and max_failures % 1):
    raise ValueError(
      f'max_failures is {max_failures}, but must be a number of images such as '
      '100, or a share of them such as 0.001.'
    )
  if isinstance(max_failures, float) and max_failures <= 1:
    return int(max_failures * num_examples)
  return int(max_failures)


def fingerprint(*parts: Any) -> str:
  """Returns a checksum of values that JSON can hold, or of NumPy arrays.

  It holds how images are encoded, too: other settings, other records.
  """
  digest = hashlib.sha256(json.dumps(image_files.JPEG_QUALITY).encode())
  for part in parts:
    if isinstance(part, np.ndarray):
      digest.update(str((part.dtype, part.shape)).encode() + part.tobytes())
    else:
      digest.update(json.dumps(part).encode() + b'\n')
  return digest.hexdigest()


def read_image(path: str) -> bytes:
  """Returns the contents of an image file.

  Args:
    path: the file, here or on an object store.

  Raises:
    ValueError: if it cannot be read, with a reason that fits a list of what was
      left out: no file, a broken link, a folder, no permission.
  """
  try:
    path.encode()
  except UnicodeEncodeError:
    raise ValueError('its name is not UTF-8; rename it') from None
  try:
    # Nobody may ever write to a pipe, and reading would wait for it.
    if '://' not in path and not stat.S_ISREG(os.stat(path).st_mode):
      kind = 'a folder' if os.path.isdir(path) else 'no plain file'
      raise ValueError(f'it is {kind}')
    with files.open_binary(path) as file:
      return file.read()
  except (FileNotFoundError, tf.errors.NotFoundError) as error:
    broken = '://' not in path and os.path.islink(path)
    what = 'its link leads nowhere' if broken else f'there is no {path}'
    raise ValueError(what) from error
  except (PermissionError, tf.errors.PermissionDeniedError) as error:
    raise ValueError('no permission to read it') from error
  except (OSError, tf.errors.OpError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise ValueError(f'it cannot be read: {reason}') from error


def hash_fraction(name: str | bytes) -> float:
  """Maps a name to a number in [0, 1), evenly: the same one ever after."""
  # Of a name that is not UTF-8 as well: it is judged where it is read.
  contents = (
    name.encode(errors='surrogatepass') if isinstance(name, str) else name
  )
  digest = hashlib.sha256(contents).digest()
  return int.from_bytes(digest[:8], 'big') / 2**64


def check_fraction(name: str, value: float) -> None:
  """Raises a ValueError if a share to hold out lies outside of [0, 1)."""
  if not 0 <= value < 1:
    raise ValueError(
      f'{name} is {value}, but must lie in [0, 1); 0.1 holds out a tenth.'
    )


def shuffled(number: int, *, seed: int) -> np.ndarray:
  """Returns the numbers below `number`, mixed: int64 [number].

  Records are mixed once, so that no shard holds a single class. Of NumPy's
  generators this one is promised never to change.
  """
  return np.random.RandomState(seed).permutation(number)


def _check_not_empty(manifest: manifest_lib.Manifest) -> None:
  if not manifest.num_examples:
    first = manifest.failures[0]
    raise ValueError(
      f'none of the {len(manifest.failures)} images of split '
      f'{manifest.split!r} can be read; the first, {first.name}: '
      f'{first.reason}.'
    )
