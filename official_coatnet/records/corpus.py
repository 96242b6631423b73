"""What a corpus is made of, and how all corpora are written.

A source (a folder, an archive, a list, a TFDS data set) says what its splits
are made of: how many examples, and for any of them, by number, an object that
makes their records when it is iterated. Everything else is the same for all:
shards, processes, failures, receipts, manifests; and images, which are RGB or
grey JPEGs, encoded anew at most once, so that training decodes all of them the
fast way.
"""

import dataclasses
import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from official_coatnet import files
from official_coatnet.data import manifest as manifest_lib, split_files
from official_coatnet.records import processes, writing

# Of an image that had to be encoded anew. Fingerprints of builds hold it.
JPEG_QUALITY = 95
# Pillow calls a JPEG that carries further pictures, as cameras write them, MPO.
_JPEG_FORMATS = ('JPEG', 'MPO')
# Where nothing is said, so many images may be left out: a share, or a few of
# a small corpus.
_DEFAULT_FRACTION = 0.001
_DEFAULT_NUMBER = 10
# What can be printed and stored of a name, and what a class may be called.
printable = manifest_lib.printable
check_class_names = manifest_lib.check_class_names


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
    label_offset: what to add to a stored label to get a class.
    class_names: names of the classes in order, or None.
    num_shards: number of files that this split usually has, or None.

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

  def __post_init__(self):
    check_class_names(self.class_names or ())


def write_corpus(
  splits: Sequence[Split],
  output_dir: str,
  *,
  num_shards: int | None = None,
  max_failures: int | float | None = None,
  progress: writing.Progress | None = None,
  map_tasks: processes.MapTasks = processes.map_here,
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

  Returns:
    The manifest of each split by name; images that were left out are in it. A
    split that is there, complete and made from the same is left as it is.

  Raises:
    ValueError: if too many images, or all, had to be left out.
  """
  most = max(split.num_examples for split in splits)
  manifests = {}
  for split in splits:
    shards = split.num_shards if num_shards is None else None
    if shards is None:
      shards = -(-(num_shards or 16) * split.num_examples // most)
    shards = max(1, min(shards, split.num_examples))
    manifests[split.name] = _write_split(
      split,
      output_dir,
      num_shards=shards,
      failure_limit=failure_limit(
        max_failures, num_examples=split.num_examples
      ),
      progress=progress,
      map_tasks=map_tasks,
    )
    _check_not_empty(manifests[split.name])
  return manifests


def _write_split(
  split: Split,
  output_dir: str,
  *,
  num_shards: int,
  failure_limit: int,
  progress: writing.Progress | None,
  map_tasks: processes.MapTasks,
) -> manifest_lib.Manifest:
  mark = fingerprint(split.fingerprint, num_shards)
  manifest = split_files.complete_manifest(
    output_dir, split.name, fingerprint=mark
  )
  if manifest is not None:
    # Perhaps it was killed between the manifest and this.
    writing.discard_unfinished(output_dir, split.name)
    return manifest
  return writing.write_split(
    lambda shard: split.select(
      writing.shard_range(shard, num_shards, num_examples=split.num_examples)
    ),
    output_dir,
    split=split.name,
    num_shards=num_shards,
    schema=split.schema,
    num_classes=split.num_classes,
    label_offset=split.label_offset,
    class_names=split.class_names,
    num_examples=split.num_examples,
    fingerprint=mark,
    failure_limit=failure_limit,
    progress=progress,
    map_tasks=map_tasks,
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
  digest = hashlib.sha256(json.dumps(JPEG_QUALITY).encode())
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


def normalize_image(contents: bytes) -> tuple[bytes, int, int]:
  """Returns an image as an RGB or grey JPEG, with its width and height.

  A JPEG that is one already keeps its bytes. Anything else is converted to RGB
  and encoded at quality 95: of an animation the first frame, of transparent
  pixels their colour.

  Args:
    contents: an image file.

  Raises:
    ValueError: if it cannot be decoded to its end, with the reason.
  """
  try:
    with Image.open(io.BytesIO(contents)) as image:
      image.load()  # Decodes: a header alone says nothing.
      width, height = image.size
      if image.format in _JPEG_FORMATS and image.mode in ('RGB', 'L'):
        return contents, width, height
      buffer = io.BytesIO()
      _to_rgb(image).save(buffer, 'JPEG', quality=JPEG_QUALITY)
  except UnidentifiedImageError as error:
    raise ValueError('no image of a known format') from error
  except Exception as error:
    # Decoders raise anything, struct.error and IndexError included, and one
    # odd file must not end the work of days.
    raise ValueError(f'{type(error).__name__}: {error}') from error
  return buffer.getvalue(), width, height


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith('I'):
    # 16-bit grey: PIL's own conversion would cut off everything above 255.
    image = image.point(lambda value: value / 256).convert('L')
  return image.convert('RGB')


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
