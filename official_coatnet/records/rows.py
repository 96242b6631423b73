"""Images with labels, from a list of rows: JSON lines or CSV.

For JFT-like, weakly labelled corpora, and, with `single_label`, for those with
one label an image. `row_reader` says what a row may look like.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from official_coatnet import files
from official_coatnet.data import image_files, manifest as manifest_lib, schema
from official_coatnet.records import (
  class_labels,
  corpus,
  row_reader,
  row_scan,
  writing,
)

_SUGGESTION = (
  'Every row has exactly one label. With --single_label the records are those '
  'of one label an image (schema imagenet), for softmax and top-1 accuracy; '
  'without it they are those of several (schema multilabel).'
)


def rows_splits(
  list_path: str,
  *,
  input_dir: str,
  validation_list: str | None = None,
  num_classes: int | None = None,
  class_names: Sequence[str] | None = None,
  label_separator: str | None = None,
  numeric_labels: str | None = None,
  single_label: bool = False,
  validation_fraction: float = 0.0,
  seed: int = 0,
  tell: Callable[[str], None] = lambda line: None,
) -> list[corpus.Split]:
  """Returns what the splits of a list of images are made of.

  Args:
    list_path: the list; CSV if its name ends with .csv, else JSON lines.
    input_dir: folder of the images.
    validation_list: list of the images of split 'validation', or None to hold
      out `validation_fraction`.
    num_classes: number of classes; None for that of `class_names`, or else one
      more than the largest label.
    class_names: names of the classes in order, or None.
    label_separator: what separates labels in a text; None for `;`, and for
      blanks as well where classes have no names.
    numeric_labels: what numbers are where classes have names: 'ids' or 'names';
      None to refuse those that could be either.
    single_label: whether to make records of one label an image, in the schema
      `imagenet`, instead of `multilabel`. Rows with none or several are then
      left out by name.
    validation_fraction: share of the images to hold out as 'validation', by a
      hash of their names.
    seed: seed of the order of the images.
    tell: called with a line that whoever builds the records should read.

  Returns:
    The splits. Rows that cannot be read count as images that cannot.

  Raises:
    ValueError: if there is no list, no row in it, or an argument is off.
  """
  _check_held_out(validation_list, validation_fraction)
  manifest_lib.check_class_names(class_names or ())
  labels = class_labels.LabelReader(
    num_classes=num_classes,
    class_names=tuple(class_names or ()) or None,
    separator=label_separator,
    numeric=numeric_labels,
  )
  scan = functools.partial(
    row_scan.scan,
    reader=row_reader.RowReader(columns=None, labels=labels),
    validation_fraction=validation_fraction,
    single_label=single_label,
  )
  parts = _scan_parts(scan, list_path, validation_list)
  if single_label:
    _check_certain(parts)
  elif all(
    each.all_single and each.first_uncertain is None for each in parts.values()
  ):
    tell(_SUGGESTION)
  largest = max(each.max_label for each in parts.values())
  num_classes = num_classes or len(class_names or ()) or largest + 1
  return [
    _make_split(
      name,
      each,
      input_dir=input_dir,
      labels=dataclasses.replace(labels, num_classes=num_classes),
      single_label=single_label,
      validation_fraction=validation_fraction,
      seed=seed,
    )
    for name, each in parts.items()
    if len(each.offsets)
  ]


def _check_certain(parts: Mapping[str, row_scan.Scan]) -> None:
  for each in parts.values():
    if each.first_uncertain is not None:
      raise ValueError(
        f'single_label is set, but {each.path} gives '
        f'{manifest_lib.printable(each.first_uncertain)} a confidence other '
        'than 1, and records of one label an image hold none. Leave the '
        'confidences out of the list, or build without single_label.'
      )


def _check_held_out(validation_list: str | None, fraction: float) -> None:
  corpus.check_fraction('validation_fraction', fraction)
  if validation_list and fraction:
    raise ValueError(
      f'validation_list is {validation_list!r} and validation_fraction '
      f'{fraction}, but one of them says what is held out; unset '
      'the other.'
    )


def _scan_parts(
  scan: Callable[[str, str], row_scan.Scan],
  list_path: str,
  validation_list: str | None,
) -> dict[str, row_scan.Scan]:
  """Scans the rows of each split, from one list or from two."""
  first = scan('list_path', list_path)
  if validation_list:
    second = scan('validation_list', validation_list)
    return {'train': first, 'validation': second}
  return {
    name: dataclasses.replace(first, offsets=first.offsets[chosen])
    for name, chosen in (
      ('train', ~first.held_out),
      ('validation', first.held_out),
    )
  }


def _make_split(
  name: str,
  scan: row_scan.Scan,
  *,
  input_dir: str,
  labels: class_labels.LabelReader,
  single_label: bool,
  validation_fraction: float,
  seed: int,
) -> corpus.Split:
  """Returns what the split of the rows in `scan` is made of."""
  mixed = scan.offsets[corpus.shuffled(len(scan.offsets), seed=seed)]
  assert labels.num_classes is not None  # It was counted.
  parts = [
    scan.checksum,
    validation_fraction,
    seed,
    labels.num_classes,
    labels.class_names,
  ]
  # Without them records are what they were in earlier versions.
  rules = (labels.separator, labels.numeric, single_label)
  if labels.class_names or any(rules):
    parts.append(rules)
  return corpus.Split(
    name=name,
    schema='imagenet' if single_label else 'multilabel',
    num_classes=labels.num_classes,
    num_examples=len(mixed),
    select=functools.partial(
      _select,
      scan.path,
      offsets=mixed,
      input_dir=input_dir,
      reader=dataclasses.replace(scan.reader, labels=labels),
      single_label=single_label,
    ),
    fingerprint=corpus.fingerprint(*parts),
    label_offset=-1 if single_label else 0,
    class_names=labels.class_names,
  )


@dataclasses.dataclass(frozen=True)
class ListedImages:
  """Images of a list, as an iterable of records.

  Attributes:
    list_path: the list.
    offsets: int64 [n], where their rows begin.
    input_dir: folder of the images.
    reader: how rows are read.
    single_label: whether to make records of one label an image.
    image_options: how image files are read.
  """

  list_path: str
  offsets: np.ndarray
  input_dir: str
  reader: row_reader.RowReader
  single_label: bool = False
  image_options: image_files.Options = image_files.Options()

  def __iter__(self) -> Iterator[writing.Record | manifest_lib.Failure]:
    nearest = class_labels.NearestNames(self.reader.labels.class_names or ())
    with files.open_binary(self.list_path) as file:
      for offset in self.offsets:
        file.seek(int(offset))
        yield self._make_record(
          file.readline(), offset=int(offset), nearest=nearest
        )

  def _make_record(
    self, line: bytes, *, offset: int, nearest: class_labels.NearestNames
  ) -> writing.Record | manifest_lib.Failure:
    name = f'{os.path.basename(self.list_path)} at byte {offset}'
    try:
      row = self.reader.read(row_scan.decode(line))
      name = row.image
      if self.single_label:
        _check_single(row, names=self.reader.labels.class_names)
      path = os.path.join(self.input_dir, row.image)
      encoded, width, height = image_files.to_jpeg(
        corpus.read_image(path), self.image_options
      )
    except class_labels.UnknownLabelError as error:
      return manifest_lib.Failure(name, f'{error}{nearest.hint(error.label)}')
    except ValueError as error:
      return manifest_lib.Failure(name, str(error))
    if self.single_label:
      return self._make_single(row, encoded, size=(width, height))
    return writing.Record(
      schema.serialize_multilabel(
        encoded, labels=row.labels, confidences=row.confidences, key=row.image
      ),
      labels=row.labels,
    )

  def _make_single(
    self, row: row_reader.Row, encoded: bytes, *, size: tuple[int, int]
  ) -> writing.Record:
    (label,) = row.labels
    names = self.reader.labels.class_names
    return writing.Record(
      schema.serialize_imagenet(
        encoded,
        label=label + 1,
        height=size[1],
        width=size[0],
        filename=row.image,
        text=names[label] if names else '',
      ),
      labels=[label + 1],
    )


def _check_single(row: row_reader.Row, *, names: Sequence[str] | None) -> None:
  if len(row.labels) != 1:
    labels = [names[label] if names else label for label in row.labels]
    raise ValueError(
      f'{len(labels)} labels {labels}, but with single_label an image has '
      'exactly one'
    )


def _select(
  list_path: str,
  examples: range,
  *,
  offsets: np.ndarray,
  input_dir: str,
  reader: row_reader.RowReader,
  single_label: bool,
) -> ListedImages:
  part = offsets[examples.start : examples.stop]
  return ListedImages(list_path, part, input_dir, reader, single_label)
