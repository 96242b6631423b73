"""Receipts of finished shards: what a build that was killed need not redo.

A receipt is written after its shard has its final name, and says what is in it
and what it was made from. All of them go once the manifest is there.
"""

import collections
import dataclasses
import json
import os
from collections.abc import Sequence

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data.manifest import Failure, FileEntry

_ENDING = '.receipt.json'


@dataclasses.dataclass(frozen=True)
class Shard:
  """What came of one file.

  Attributes:
    entry: its entry in the manifest.
    label_counts: how often each stored label occurs in it.
    failures: what was left out of it.
  """

  entry: FileEntry
  label_counts: collections.Counter
  failures: tuple[Failure, ...]

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
  path = os.path.join(folder, f'{shard.entry.name}{_ENDING}')
  files.write_text(path, json.dumps(receipt))


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
      shards[name] = Shard(entry, collections.Counter(counts), failures)
  return shards
