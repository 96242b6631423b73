"""What records hold, compared with what their schema reads.

TensorFlow's parser takes a key that is not there for an empty value, and says
of a value of another type neither in which file nor which type it should be.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
from google.protobuf import message

from official_coatnet.data import image_bytes
from official_coatnet.data.schema import SCHEMAS, Schema

# Records of a file whose features are counted.
RECORDS_TO_COUNT = 16
# The lists of a Feature, as in `feature { int64_list { ... } }`, by their tag.
_TYPES = {'bytes_list': 'bytes', 'float_list': 'float', 'int64_list': 'int64'}
_WANTED = {'encoded': 'bytes', 'labels': 'int64', 'confidences': 'float'}
# Words in the name of a feature by which it may be that of the labels.
_LABEL_WORDS = re.compile(
  r'(label|class|target|category|y)(s|es)?', re.IGNORECASE
)
_MAX_FEATURES = 12

Features = Mapping[str, tf.train.Feature]


@dataclasses.dataclass(frozen=True)
class Mismatch:
  """Why records are not of a schema.

  Attributes:
    sentence: what the schema reads, what the records hold, and what is wrong.
    schema: a schema that would fit, by its own keys, if there is one.
    feature_keys: all keys to set, by role, if others seem to be meant.
    is_missing: whether a key is not there, and not only of another type.
  """

  sentence: str
  schema: str | None = None
  feature_keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
  is_missing: bool = False

  def __str__(self) -> str:
    """What to tell whoever has set a DataConfig."""
    if self.schema is not None:
      fix = f'Set schema to {self.schema!r}, and feature_keys to None.'
    elif self.feature_keys:
      fix = f'Set DataConfig.feature_keys = {dict(self.feature_keys)}.'
    else:
      fix = 'Check schema and feature_keys.' if self.is_missing else ''
    return f'{self.sentence} {fix}'.strip()

  def for_flags(self) -> str:
    """What to tell whoever has set flags of tools/tfrecords.py."""
    keys = ','.join(f'{role}:{key}' for role, key in self.feature_keys.items())
    if self.schema is not None:
      fix = f'Give --schema={self.schema}, and no --feature_keys.'
    elif keys:
      fix = f'Give --feature_keys={keys}.'
    else:
      fix = 'Check --schema and --feature_keys.' if self.is_missing else ''
    return f'{self.sentence} {fix}'.strip()


def read_features(records: Iterable[bytes]) -> list[Features]:
  """Returns the features of records, but for those that are no examples."""
  found = []
  for record in records:
    try:
      found.append(tf.train.Example.FromString(record).features.feature)
    except message.DecodeError:
      continue
  return found


def kind(feature: tf.train.Feature) -> str | None:
  """Returns 'bytes', 'float' or 'int64'; None for a feature without a list."""
  name = feature.WhichOneof('kind')
  return None if name is None else _TYPES[name]


def values(feature: tf.train.Feature) -> list:
  """Returns the values of a feature, whatever their type."""
  name = feature.WhichOneof('kind')
  return [] if name is None else list(getattr(feature, name).value)


def compare(
  records: Sequence[Features],
  keys: Schema,
  *,
  labels_optional: bool = False,
) -> Mismatch | None:
  """Compares the first records of a file with a schema.

  Args:
    records: features of each, at least one.
    keys: the schema.
    labels_optional: whether a record may lack the key of its labels.

  Returns:
    What is wrong, or None.
  """
  missing = _missing(records, keys, labels_optional=labels_optional)
  faults = missing + type_faults(records, keys)
  if not faults:
    return None
  number = len(records)
  first = (
    'first record holds' if number == 1 else f'first {number} records hold'
  )
  return Mismatch(
    f'{_read_by(keys)}, but the {first} {_held_by(records)}: '
    f'{"; ".join(faults)}.',
    schema=_fitting_schema(records, keys),
    feature_keys=_near_keys(records, keys),
    is_missing=bool(missing),
  )


def without_images(records: Sequence[Features], keys: Schema) -> str | None:
  """Says so where none of some records holds an image that a graph decodes.

  One bad image among others is a matter of reading it, see `decoding`.

  Args:
    records: features of each, at least one.
    keys: the schema, of which they are.
  """
  faults = [
    image_fault(each[keys.encoded].bytes_list.value[0], each)
    for each in records
    if keys.encoded in each and each[keys.encoded].bytes_list.value
  ]
  if not faults or not all(faults):
    return None
  near = _near_keys(records, keys)
  fix = f' Set DataConfig.feature_keys = {near}.' if near else ''
  return f'{keys.encoded!r} holds {faults[0]}.{fix}'


def image_fault(data: bytes, features: Features) -> str | None:
  """Says what stands in a record where an image file should, or None."""
  sides = []
  for name in ('height', 'width'):
    found = [
      values(feature)
      for key, feature in features.items()
      if name in key.lower() and kind(feature) == 'int64'
    ]
    sides.append(found[0][0] if found and found[0] else 0)
  return image_bytes.fault(data, height=sides[0], width=sides[1])


def _missing(
  records: Sequence[Features], keys: Schema, *, labels_optional: bool
) -> list[str]:
  """Says which keys are not there, in how many of the records."""
  faults = []
  for role in ('encoded', 'labels'):
    key = getattr(keys, role)
    missing = sum(key not in each for each in records)
    if missing == len(records):
      faults.append(f'{key!r} is missing')
    elif missing and not (role == 'labels' and labels_optional):
      fault = f'{key!r} is missing in {missing} of them'
      if role == 'labels' and not keys.single_label:
        fault += (
          '; where an image has no label, write the key with an empty list, or '
          'allow it by labels_optional'
        )
      faults.append(fault)
  return faults


def type_faults(records: Sequence[Features], keys: Schema) -> list[str]:
  """Says which values are of another type, or number, than a schema reads."""
  faults = []
  for role, wanted in _WANTED.items():
    key = getattr(keys, role)
    for each in records if key else ():
      if key not in each:
        continue
      # Without a list, a feature is of any type, and empty.
      found = kind(each[key])
      if found not in (None, wanted):
        faults.append(_type_fault(role, key, found, values(each[key])))
        break
      if role == 'encoded' and len(each[key].bytes_list.value) > 1:
        faults.append(f'{key!r} holds several values, but must have one image')
        break
  return faults


def _type_fault(role: str, key: str, found: str, stored: list) -> str:
  """Says that a value is of another type, and which is the right one."""
  if role == 'encoded':
    return (
      f'{key!r} holds {len(stored):,} numbers ({found}), which are pixels, but '
      'must be one byte string, an image file: write it by tf.io.encode_png or '
      'encode_jpeg, in a bytes_list'
    )
  shown = repr(stored[0]) if stored else 'an empty list'
  if role == 'confidences':
    return (
      f'{key!r} holds {found}, such as {shown}, but must be float: write a '
      'float_list of numbers from 0 to 1'
    )
  what = 'text' if found == 'bytes' else found
  return (
    f'{key!r} holds {what}, such as {shown[:40]}, but must be int64, the '
    'numbers of classes: write an int64_list'
  )


def _read_by(keys: Schema) -> str:
  number = 'one class' if keys.single_label else 'any number of classes'
  parts = [
    f'{keys.encoded!r} (bytes, an image file)',
    f'{keys.labels!r} (int64, {number})',
  ]
  if keys.confidences:
    parts.append(f'if there, {keys.confidences!r} (float)')
  return f'schema {keys.name!r} reads {" and ".join(parts[:2])}' + ''.join(
    f' and, {part}' for part in parts[2:]
  )


def _held_by(records: Sequence[Features]) -> str:
  """Lists keys and types, and in how many records each is if not in all."""
  counts = collections.Counter(
    (key, kind(feature) or 'empty')
    for each in records
    for key, feature in each.items()
  )
  listed = []
  for (key, type_), count in sorted(counts.items()):
    share = '' if count == len(records) else f' in {count} of them'
    listed.append(f'{key!r} ({type_}){share}')
  more = len(listed) - _MAX_FEATURES
  if more > 0:
    listed[_MAX_FEATURES:] = [f'{more} features more']
  return ', '.join(listed) or 'nothing'


def _fitting_schema(records: Sequence[Features], keys: Schema) -> str | None:
  """Returns the name of a schema under which nothing would be wrong."""
  fitting = [
    schema
    for schema in SCHEMAS.values()
    if not _missing(records, schema, labels_optional=False)
    and not type_faults(records, schema)
  ]
  if keys.name in (schema.name for schema in fitting):
    return keys.name  # It is other keys that do not fit.
  for schema in fitting:
    numbers = {len(values(each[schema.labels])) for each in records}
    if schema.single_label == (numbers == {1}):
      return schema.name
  return None


def _near_keys(records: Sequence[Features], keys: Schema) -> dict[str, str]:
  """Returns keys to set, by role; none unless there is one choice for each."""
  in_all = set.intersection(*(set(each) for each in records))
  near: dict[str, str] = {}
  for role, fits in (('encoded', _may_be_image), ('labels', _may_be_labels)):
    typed = [
      key
      for key in sorted(in_all)
      if all(kind(each[key]) == _WANTED[role] for each in records)
    ]
    candidates = [key for key in typed if fits(key, records[0])]
    wanted = getattr(keys, role)
    if wanted in candidates or (wanted in typed and not candidates):
      candidates = [wanted]
    if len(candidates) != 1:
      return {}
    if candidates[0] != getattr(SCHEMAS[keys.name], role):
      near[role] = candidates[0]
  return near


def _may_be_image(key: str, features: Features) -> bool:
  stored = values(features[key])
  return len(stored) == 1 and image_fault(stored[0], features) is None


def _may_be_labels(key: str, features: Features) -> bool:
  del features
  return any(_LABEL_WORDS.fullmatch(word) for word in re.split(r'[\W_]+', key))
