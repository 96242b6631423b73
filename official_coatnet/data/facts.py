"""What is known of the data of a run: kept with it, and compared later.

Weights know classes by their numbers alone. Which names these stood for, and
how the labels were stored, is written down when a run begins (`data.json` in
its model_dir, a copy in its exports), so that whatever comes later can tell
whether the data it is given are still those.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_coatnet.data.config import DataConfig
from official_coatnet.data.sources import Source

# More names than these are kept as a checksum alone: the names themselves are
# in labels.txt anyway.
_MAX_NAMES = 2000
_VERSION = 1
_WORDS = 'was {} and is now {}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitFacts:
  """What is known of one split.

  Attributes:
    source: 'tfrecord', 'tfds' or 'synthetic', as in `DataConfig`.
    known_from: 'manifest' or 'tfds', which told the rest; None where nothing
      did but the configuration.
    split: name of the split.
    num_classes: number of classes.
    class_names: their names in order; None if they are not known, or too many
      to be kept here.
    class_digest: of the names (`digest`); None if they are not known.
    schema: record schema; None of TFDS, which has its own.
    label_offset: what was added to a stored label to get a class; None if not
      known.
    num_examples: number of examples, if known.
    exif_orientation: whether images were turned as their EXIF data say before
      they became records; who predicts has to do the same.
    content: checksum of all records, if known.
  """

  source: str
  split: str
  num_classes: int
  known_from: str | None = None
  class_names: tuple[str, ...] | None = None
  class_digest: str | None = None
  schema: str | None = None
  label_offset: int | None = None
  num_examples: int | None = None
  exif_orientation: bool = False
  content: str | None = None

  def with_names(self, names: Sequence[str] | None) -> 'SplitFacts':
    """Returns it with names that belong to its checksum; else unchanged."""
    if self.class_names or names is None or digest(names) != self.class_digest:
      return self
    return dataclasses.replace(self, class_names=tuple(names))


@dataclasses.dataclass(frozen=True)
class DataFacts:
  """What is known of the data of a run: its data.json.

  Attributes:
    train: of what it is trained on.
    validation: of what it is evaluated on.
  """

  train: SplitFacts
  validation: SplitFacts

  def to_json(self) -> str:
    """Returns the text of the file."""
    fields: dict[str, Any] = {'version': _VERSION}
    for name, split in vars(self).items():
      values = dataclasses.asdict(split)
      if split.class_names and len(split.class_names) > _MAX_NAMES:
        values['class_names'] = None
      fields[name] = values
    return json.dumps(fields, indent=1, ensure_ascii=False) + '\n'

  @classmethod
  def from_json(cls, text: str, *, origin: str) -> 'DataFacts':
    """Reads the text of the file; what later versions add is left aside.

    Args:
      text: what `to_json` wrote.
      origin: path of the file, for the error message.

    Raises:
      ValueError: if the text is none of such a file.
    """
    try:
      fields = json.loads(text)
      return cls(_split(fields['train']), _split(fields['validation']))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise ValueError(
        f'{origin} cannot be read ({error!r}): it was damaged, or written by '
        'another version of this package. Copy it again; without the file the '
        'run is taken as one of a version that kept none.'
      ) from error


def read(path: str) -> DataFacts | None:
  """Reads such a file; None where there is none.

  Raises:
    ValueError: if it cannot be read.
  """
  if not tf.io.gfile.exists(path):
    return None
  with tf.io.gfile.GFile(path, 'rb') as file:
    text = file.read().decode(errors='replace')
  return DataFacts.from_json(text, origin=path)


def _split(values: dict[str, Any]) -> SplitFacts:
  known = {field.name for field in dataclasses.fields(SplitFacts)}
  values = {key: value for key, value in values.items() if key in known}
  if values.get('class_names') is not None:
    values['class_names'] = tuple(values['class_names'])
  return SplitFacts(**values)


def describe(config: DataConfig, source: Source | None) -> SplitFacts:
  """Returns what is known of the data that a configuration names.

  Args:
    config: the configuration.
    source: what it has opened; None if that cannot be, or is made up.
  """
  names = source and source.class_names
  manifest = source.manifest if source else None
  known_from = 'manifest' if manifest else None
  if config.source == 'tfds' and source is not None:
    known_from = 'tfds'
  num_examples = config.num_examples
  if num_examples is None and source is not None:
    num_examples = source.num_examples
  return SplitFacts(
    source=config.source,
    split=config.split,
    num_classes=config.num_classes,
    known_from=known_from,
    class_names=names or None,
    class_digest=digest(names) if names else None,
    schema=None if config.source == 'tfds' else config.schema,
    label_offset=source.label_offset if source else config.label_offset,
    num_examples=num_examples,
    exif_orientation=manifest is not None and manifest.exif_orientation,
    content=manifest.content if manifest else None,
  )


def digest(names: Sequence[str]) -> str:
  """Returns the SHA-256 of class names and their number, in hexadecimal.

  White space at the ends of a name does not count: labels.txt cannot hold it.
  """
  stripped = [name.strip() for name in names]
  text = json.dumps([len(stripped), *stripped])
  return hashlib.sha256(text.encode()).hexdigest()


def class_difference(
  old: SplitFacts, new: SplitFacts, *, words: str = _WORDS
) -> str | None:
  """Says in what the names of classes differ.

  Args:
    old: what the weights were trained on.
    new: what is to be read now.
    words: how the sentence goes on after the number of a class, with two
      places, for the old name and the new one.

  Returns:
    The first class that differs with both names, and how many differ; None if
    none does, or if the names are not known on both sides.
  """
  if None in (old.class_digest, new.class_digest):
    return None
  if old.class_digest == new.class_digest:
    return None
  if old.class_names is None or new.class_names is None:
    before, after = (
      f'of checksum {each.class_digest[:8]}'  # type: ignore[index]
      for each in (old, new)
    )
    return 'the list of class names ' + words.format(before, after)
  return names_difference(old.class_names, new.class_names, words=words)


def names_difference(
  old: Sequence[str], new: Sequence[str], *, words: str
) -> str | None:
  """Says in what two lists of class names differ; as `class_difference`."""
  old, new = ([name.strip() for name in names] for names in (old, new))
  if len(old) != len(new):
    return 'the number of classes ' + words.format(len(old), len(new))
  different = [
    i for i, names in enumerate(zip(old, new)) if len(set(names)) > 1
  ]
  if not different:
    return None
  first = different[0]
  kind = f'{len(different)} of {len(old)} classes differ'
  if sorted(old) == sorted(new):
    kind = f'the same names in another order, {kind}'
  names = words.format(repr(old[first]), repr(new[first]))
  return f'class {first} {names} ({kind})'


def other_differences(
  old: SplitFacts, new: SplitFacts, *, words: str = _WORDS
) -> list[str]:
  """Says in what else two splits differ, as far as both are known.

  Returns:
    Phrases such as "`schema` was 'imagenet' and is now 'multilabel'".
  """
  if 'synthetic' in (old.source, new.source):
    # Made-up images have nothing else that could be compared.
    fields = ['source']
  else:
    fields = ['split', 'schema', 'num_examples']
    if old.schema == new.schema:
      # Schemas number their classes from 0 or from 1.
      fields.insert(2, 'label_offset')
    if old.known_from and new.known_from:
      # Without a manifest nobody knows whether images were turned.
      fields.append('exif_orientation')
  phrases = []
  for field in fields:
    before, now = getattr(old, field), getattr(new, field)
    if None not in (before, now) and before != now:
      phrases.append(f'`{field}` {words.format(repr(before), repr(now))}')
  return phrases
