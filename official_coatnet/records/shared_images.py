"""Images that two splits of a build share, byte for byte, under any names.

Which split an image goes to is decided by its name, so a copy of it under
another name may go to the other one, where it makes an evaluation look better
than it is. While the receipts of a build are there, all images are compared;
afterwards, what the sketches of the manifests know.
"""

import itertools
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.data import sketch, split_files
from official_coatnet.data.manifest import Manifest, printable
from official_coatnet.records import file_contents, receipts, validation

_MAX_LISTED = 10


def find_in_contents(
  contents: Mapping[str, Sequence[file_contents.FileContents]], folder: str
) -> list[str]:
  """Looks for images that stand in two splits, all of which have been read.

  Args:
    contents: what is in the files of each split, by its name.
    folder: where the files lie.

  Returns:
    A sentence for each pair of splits that share any, with the places of the
    first of them.
  """
  hashes = {
    split: np.concatenate([each.image_hashes for each in of_split])
    for split, of_split in contents.items()
    if of_split
  }
  sentences = []
  for first, second in itertools.combinations(hashes, 2):
    shared = np.intersect1d(hashes[first], hashes[second])
    shared = shared[shared != 0]
    if not len(shared):
      continue
    shown = '; '.join(
      f'{_find_place(contents[second], each)} and '
      f'{_find_place(contents[first], each)}'
      for each in shared[:_MAX_LISTED]
    )
    more = len(shared) - _MAX_LISTED
    sentences.append(
      f'{folder}: {len(shared):,} images of split {second!r} are, byte for '
      f'byte, in split {first!r} as well: {shown}'
      f'{f"; and {more:,} more" if more > 0 else ""}'
    )
  return sentences


def _find_place(
  contents: Sequence[file_contents.FileContents], image: np.uint64
) -> str:
  """Returns where the first image of a checksum stands."""
  for each in contents:
    found = np.flatnonzero(each.image_hashes == image)
    if len(found):
      return f'{each.entry.name} at byte {each.offsets[found[0]]}'
  raise AssertionError('It was among them.')


def find(manifests: Mapping[str, Manifest], output_dir: str) -> list[str]:
  """Looks for images that stand in two splits.

  Args:
    manifests: the splits, by name.
    output_dir: folder of their files and receipts.

  Returns:
    A sentence for each pair of splits that share any, with the names of the
    first of them.
  """
  hashes = {
    split: _read_hashes(each, output_dir) for split, each in manifests.items()
  }
  sentences = []
  for pair in itertools.combinations(manifests.values(), 2):
    one, two = (hashes[each.split] for each in pair)
    if one is not None and two is not None:
      number, listing = _compare_all(pair, (one, two))
    else:
      number, listing = _compare_sketches(pair)
    if number:
      first, second = (each.split for each in pair)
      sentences.append(
        f'{number} images of split {second!r} are, byte for byte, in split '
        f'{first!r} as well, where they make an evaluation look better than it '
        f'is: {listing}. Remove one of each.'
      )
  return sentences


def _compare_all(
  pair: Sequence[Manifest], hashes: Sequence[dict[str, np.ndarray]]
) -> tuple[str, str]:
  """Returns the number of shared images, '' for none, and the first names."""
  ours, theirs = (np.concatenate(list(each.values())) for each in hashes)
  shared = np.intersect1d(ours, theirs)
  if not len(shared):
    return '', ''
  shown = shared[:_MAX_LISTED].tolist()
  first, second = (
    _find_names(each, shown, schema=manifest.schema)
    for each, manifest in zip(hashes, pair)
  )
  listing = ', '.join(f'{second[each]} ({first[each]})' for each in shown)
  more = len(shared) - len(shown)
  return f'{len(shared):,}', listing + (f' and {more:,} more' if more else '')


def _compare_sketches(pair: Sequence[Manifest]) -> tuple[str, str]:
  """The same as far as the sketches of manifests know."""
  first, second = (each.sketch for each in pair)
  if first is None or second is None:
    return '', ''
  overlap = sketch.compare(first, second)
  if not overlap.hashes:
    return '', ''
  about = '' if overlap.share == 1 else 'about '
  return f'{about}{overlap.num_images:,}', 'tfrecords.py validate names them'


def _read_hashes(
  manifest: Manifest, output_dir: str
) -> dict[str, np.ndarray] | None:
  """Returns the checksums of the images of each file by name, if known."""
  folder = split_files.unfinished_dir(output_dir, manifest.split)
  if not tf.io.gfile.exists(folder):
    return None
  paths = [os.path.join(output_dir, file.name) for file in manifest.files]
  shards = receipts.load(paths, folder, fingerprint=manifest.fingerprint)
  result = {}
  for path in paths:
    shard = shards.get(os.path.basename(path))
    if shard is None or shard.image_hashes is None:
      return None
    result[path] = np.frombuffer(shard.image_hashes, sketch.HASH_TYPE)
    result[path] = result[path][result[path] != 0]
  return result


def _find_names(
  of_files: Mapping[str, np.ndarray], wanted: list[int], *, schema: str
) -> dict[int, str]:
  """Returns the names of images by checksum, from the records themselves."""
  rules = validation.Rules(schema, None, label_offset=0, decode=False)
  names: dict[int, str] = {}
  sought = np.array(wanted, np.uint64)
  for path, hashes in of_files.items():
    here = set(np.intersect1d(hashes, sought).tolist()).difference(names)
    if not here:
      continue
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
      _, image, name, _ = validation.examine_record(record, rules=rules)
      found = sketch.checksum(image)
      if found in here:
        names[found] = printable(name)
  return names
