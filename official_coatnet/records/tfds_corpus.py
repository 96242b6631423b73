"""Data sets of TFDS as records of this package.

Images keep the bytes that TFDS stored, JPEG or PNG: they are looked at, to
leave out broken ones, and never encoded anew. One label an image makes records
of the `imagenet` schema, a list of labels those of `multilabel`.
"""

import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from official_coatnet.data import (
  manifest as manifest_lib,
  schema,
  tfds_source,
)
from official_coatnet.records import corpus, writing


def tfds_splits(
  name: str, *, data_dir: str | None = None, splits: Sequence[str] | None = None
) -> list[corpus.Split]:
  """Returns what the splits of a TFDS data set are made of.

  Args:
    name: name, perhaps with configuration and version.
    data_dir: folder of TFDS; None for its default.
    splits: names of the splits to take; None for all.

  Raises:
    ValueError: if the data set is not there, has no such split, or is not of
      labelled images.
  """
  builder = tfds_source.open_builder(name, data_dir=data_dir)
  _, label_key = tfds_source.feature_keys(builder)
  num_classes, class_names = tfds_source.class_names(builder)
  single = isinstance(
    builder.info.features[label_key], tfds.features.ClassLabel
  )
  there = builder.info.splits
  wanted = splits or sorted(there)
  unknown = set(wanted) - set(there)
  if unknown:
    raise ValueError(
      f'splits are {list(wanted)}, but {name} has {sorted(there)} only.'
    )
  made = [
    corpus.Split(
      name=split,
      schema='imagenet' if single else 'multilabel',
      num_classes=num_classes,
      num_examples=there[split].num_examples,
      select=functools.partial(_select, name, data_dir, split),
      fingerprint=corpus.fingerprint(
        builder.info.full_name, split, there[split].shard_lengths
      ),
      label_offset=-1 if single else 0,
      class_names=class_names,
    )
    for split in sorted(there)
    if there[split].num_examples
  ]
  # Of all: those that are written to the same folder by another call belong to
  # them.
  build = corpus.make_build(made)
  return [
    dataclasses.replace(split, build=build)
    for name in wanted
    for split in made
    if split.name == name
  ]


@dataclasses.dataclass(frozen=True)
class TfdsImages:
  """Images of a TFDS data set, as an iterable of records.

  Attributes:
    name: name of the data set.
    data_dir: folder of TFDS, or None.
    split: part of a split, as TFDS writes it: 'train[10:20]'.
    start: number of the first of them in its split.
  """

  name: str
  data_dir: str | None
  split: str
  start: int

  def __iter__(self) -> Iterator[writing.Record | manifest_lib.Failure]:
    builder = tfds_source.open_builder(self.name, data_dir=self.data_dir)
    image_key, label_key = tfds_source.feature_keys(builder)
    dataset = builder.as_dataset(
      split=self.split,
      shuffle_files=False,
      # File after file, so that `start` and the names that it gives are right.
      read_config=tfds.ReadConfig(
        interleave_cycle_length=1, try_autocache=False
      ),
      decoders={image_key: tfds.decode.SkipDecoding()},
    )
    for number, example in enumerate(dataset, start=self.start):
      key = _name_of(example) or f'{self.split.split("[")[0]}_{number:08d}'
      try:
        yield _make_record(
          example[image_key].numpy(), example[label_key].numpy(), key=key
        )
      except ValueError as error:
        yield manifest_lib.Failure(key, str(error))


def _select(
  name: str, data_dir: str | None, split: str, examples: range
) -> TfdsImages:
  part = f'{split}[{examples.start}:{examples.stop}]'
  return TfdsImages(name, data_dir, part, examples.start)


def _make_record(encoded: bytes, labels: Any, *, key: str) -> writing.Record:
  """Makes a record of an image and its int64 [] label or [n] labels."""
  image_format, size, channels = _look_at(encoded)
  if labels.ndim:
    stored = labels.tolist()
    serialized = schema.serialize_multilabel(encoded, labels=stored, key=key)
    return writing.Record(serialized, labels=stored)
  label = int(labels) + 1
  serialized = schema.serialize_imagenet(
    encoded,
    label=label,
    height=size[1],
    width=size[0],
    channels=channels,
    colorspace='RGB' if channels == 3 else 'GRAY',
    image_format=image_format,
    filename=key,
  )
  return writing.Record(serialized, labels=[label])


def _look_at(encoded: bytes) -> tuple[str, tuple[int, int], int]:
  """Returns format, (width, height) and channels of an image; decodes it."""
  try:
    with Image.open(io.BytesIO(encoded)) as image:
      image.load()
      assert image.format is not None  # It was opened from bytes.
      return image.format, image.size, len(image.getbands())
  except Exception as error:
    raise ValueError(f'{type(error).__name__}: {error}') from error


def _name_of(example: dict[str, Any]) -> str:
  """Returns the name that a data set gives an image itself, or ''.

  It is for people: no file is opened by it, so it may be changed to be text.
  """
  for key in ('file_name', 'filename', 'image/filename'):
    value = example.get(key)
    # (A TensorShape of no dimensions is not false.)
    if value is not None and value.dtype == 'string' and value.shape.rank == 0:
      return manifest_lib.printable(value.numpy())
  return ''
