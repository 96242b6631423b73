"""Receipts of finished shards: what a build that was killed need not redo.

A receipt is written after its shard has its final name, and says what is in it
and what it was made from. All of them go once the manifest is there.
"""

import base64
import collections
import dataclasses
import json
import os
from collections.abc import Sequence

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data.manifest import Failure, FileEntry

_ENDING = '.receipt.json'
_OWNER = 'owner.json'


@dataclasses.dataclass(frozen=True)
class Shard:
  """What came of one file.

  Attributes:
    entry: its entry in the manifest.
    label_counts: how often each stored label occurs in it.
    failures: what was left out of it.
    image_hashes: checksums of its images (see `data.sketch`), one a record in
      their order, `sketch.HASH_TYPE` after the other; None if not known.
  """

  entry: FileEntry
  label_counts: collections.Counter
  failures: tuple[Failure, ...]
  image_hashes: bytes | None = None

  @property
  def num_items(self) -> int:
    """Number of examples that went in or were left out."""
    return self.entry.records + len(self.failures)


def save(shard: Shard, folder: str, *, fingerprint: str | None) -> None:
  """Writes the receipt of a shard that has its final name."""
  receipt = {
    'fingerprint': fingerprint,
    'entry': dataclasses.asdict(shard.entry),
    'label_counts': shard.label_counts,
    'failures': [dataclasses.asdict(each) for each in shard.failures],
  }
  if shard.image_hashes is not None:
    hashes = base64.b64encode(shard.image_hashes)
    receipt['image_hashes'] = hashes.decode()
  path = os.path.join(folder, f'{shard.entry.name}{_ENDING}')
  files.write_text(path, json.dumps(receipt))


@dataclasses.dataclass(frozen=True)
class Owner:
  """Whose the folder of an unfinished split is.

  Attributes:
    fingerprint: stands for all that the records of the split are made from.
    build: mark of the build that it is a part of; None where there is none.
  """

  fingerprint: str | None
  build: str | None = None


def save_owner(owner: Owner, folder: str) -> None:
  """Writes whose a folder of receipts is."""
  path = os.path.join(folder, _OWNER)
  files.write_text(path, json.dumps(dataclasses.asdict(owner)))


def find_owner(folder: str) -> Owner | None:
  """Returns whose a folder of receipts is; None if nothing in it says so.

  Version 0.1 wrote it to no file of its own: then any receipt tells.
  """
  fields = files.read_json(os.path.join(folder, _OWNER))
  if fields is not None:
    return Owner(**fields)
  for name in sorted(list_names(folder)):
    receipt = files.read_json(os.path.join(folder, f'{name}{_ENDING}'))
    return Owner(receipt['fingerprint'])
  return None


def list_names(folder: str) -> set[str]:
  """Returns the names of the files that have receipts in a folder."""
  return {
    name.removesuffix(_ENDING)
    for name in tf.io.gfile.listdir(folder)
    if name.endswith(_ENDING) and not name.startswith('.')
  }


def load(
  paths: Sequence[str], folder: str, *, fingerprint: str | None
) -> dict[str, Shard]:
  """Returns by name those shards that an earlier run has finished.

  Args:
    paths: the files of the build.
    folder: where its receipts lie.
    fingerprint: what the records are to be made from; None trusts no receipt.
  """
  shards = {}
  there = set() if fingerprint is None else list_names(folder)
  for path in paths:
    name = os.path.basename(path)
    if name not in there or not tf.io.gfile.exists(path):
      continue
    fields = files.read_json(os.path.join(folder, f'{name}{_ENDING}'))
    entry = FileEntry(**fields['entry'])
    if (
      fields['fingerprint'] == fingerprint
      and tf.io.gfile.stat(path).length == entry.bytes
    ):
      counts = {int(label): n for label, n in fields['label_counts'].items()}
      failures = tuple(Failure(**each) for each in fields['failures'])
      hashes = fields.get('image_hashes')
      shards[name] = Shard(
        entry,
        collections.Counter(counts),
        failures,
        # A receipt of version 0.1 has none.
        None if hashes is None else base64.b64decode(hashes),
      )
  return shards
