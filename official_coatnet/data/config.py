"""What a run reads and how: the configuration of the input pipeline."""

import dataclasses
from collections.abc import Mapping, Sequence

from official_coatnet import fields, kinds
from official_coatnet.data import (
  augment,
  device,
  file_kinds,
  images,
  resizing,
  schema as schema_lib,
)

ON_ERROR = ('raise', 'skip')
SOURCES = ('tfrecord', 'tfds', 'synthetic')
_SHARES = (
  'Use (0.5, 0.5, 0.5), or leave it out for that of ImageNet; divide values '
  'for pixels in 0..255 by 255.'
)


def _is_range(pair: tuple[float, ...]) -> bool:
  return pair[0] <= pair[1]


def _is_randaugment(pair: tuple[float, ...]) -> bool:
  return pair[0] >= 1 and pair[0] == int(pair[0])


@fields.rules(
  num_classes=kinds.Whole(
    1,
    kinds.LARGEST_INT32,
    fix='Set it to the classes of the data, 1000 for ImageNet.',
  ),
  image_size=kinds.Either(
    (
      kinds.Whole(1, kinds.LARGEST_INT32),
      kinds.Several(
        kinds.Whole(1, kinds.LARGEST_INT32),
        'a (height, width) of such',
        count=2,
      ),
    ),
    fix='Use 224.',
  ),
  batch_size=kinds.Whole(1, fix='Give the batch over all replicas.'),
  source=kinds.Choice(
    SOURCES, fix="Use 'tfrecord' for a folder of TFRecord files."
  ),
  data_dir=kinds.Path(none='for no folder'),
  tfds_name=kinds.Text(
    "the name of a data set, such as 'imagenet2012:5.1.0'",
    none='where it is not TFDS',
  ),
  split=kinds.Text(
    'the name of a split', fix="Set it to 'train' or 'validation'."
  ),
  file_pattern=kinds.Path(
    "a pattern of file names, such as 'train-*'",
    none='for the files of the split',
  ),
  compression=kinds.Choice(
    file_kinds.COMPRESSIONS,
    none='for files that are not compressed',
    fix="Use 'GZIP' for shards compressed by gzip, None for others.",
  ),
  schema=kinds.Choice(tuple(schema_lib.SCHEMAS)),
  feature_keys=kinds.Made(
    schema_lib.normalize_keys,
    f'a dict of some of {", ".join(schema_lib.ROLES)} to names of features',
    types=(Mapping, tuple, list),
    none="for the schema's own",
    fix="Write it as in {'encoded': 'image', 'labels': 'label'}.",
  ),
  labels_optional=kinds.Flag(),
  label_offset=kinds.Whole(
    None,
    kinds.LARGEST_INT32,
    none='for what the source says',
    fix='Use None for what the source says.',
  ),
  confidence_threshold=kinds.Number(
    '[0, inf)', none='for labels of any confidence'
  ),
  max_labels=kinds.Whole(
    1, kinds.LARGEST_INT32, fix='Use 1 where images have one label.'
  ),
  center_crop=kinds.Flag(),
  crop_area_range=kinds.Several(
    kinds.Number('(0, 1]'),
    '(lowest, highest) with 0 < lowest <= highest <= 1',
    count=2,
    together=_is_range,
    fix='The usual values are (0.08, 1).',
  ),
  crop_aspect_range=kinds.Several(
    kinds.Number('(0, inf)'),
    '(lowest, highest) with 0 < lowest <= highest',
    count=2,
    together=_is_range,
    fix='The usual values are (3/4, 4/3), as numbers.',
  ),
  eval_crop_fraction=kinds.Number(
    '(0, 1]', fix='Use 0.875, or center_crop = False for the whole image.'
  ),
  interpolation=kinds.Choice(
    tuple(resizing.METHODS),
    fix="Use 'bilinear', or 'bicubic' for weights that were trained so.",
  ),
  mean=kinds.Several(
    kinds.Number('[0, 1]'),
    'three numbers in [0, 1], of red, green and blue',
    count=3,
    fix=_SHARES,
  ),
  deviation=kinds.Several(
    kinds.Number('(0, 1]'),
    'three numbers in (0, 1], of red, green and blue',
    count=3,
    fix=_SHARES,
  ),
  random_flip=kinds.Flag(),
  randaugment=kinds.Several(
    kinds.Number('[0, 100]'),
    '(layers, magnitude): an integer of at least 1 and a number of at least 0, '
    'of at most 100',
    count=2,
    together=_is_randaugment,
    none='for no RandAugment',
    fix='Use (2, 15) for ImageNet-1K, None to switch it off.',
  ),
  randaugment_exclude=kinds.Several(
    kinds.Choice(tuple(augment.OPERATIONS)),
    f'a tuple of some of {", ".join(augment.OPERATIONS)}',
    fix='Use () to leave none out.',
  ),
  randaugment_fill=kinds.Choice(
    augment.FILLS, fix="Use 'reflect' for that of Model Garden."
  ),
  mixup_alpha=kinds.Number(
    '(0, inf)', none='for no mixup', fix='Use None to switch mixup off.'
  ),
  max_pixels=kinds.Whole(1, fix='Use 100000000.'),
  on_error=kinds.Choice(
    ON_ERROR, fix="Use 'skip' to leave images out that do not decode."
  ),
  max_skipped=kinds.Number(
    '[0, 1]', fix='It is a share of the images; use 0.001.'
  ),
  shuffle_buffer=kinds.Whole(
    1, fix='Use 1 not to shuffle beyond the order of files.'
  ),
  num_examples=kinds.Whole(1, none='for what the manifest says'),
  deterministic=kinds.Flag(),
  parallel_calls=kinds.Whole(
    1, kinds.LARGEST_INT32, none='for as many as tf.data chooses'
  ),
  prefetch=kinds.Whole(0, kinds.LARGEST_INT32, fix='Use 2.'),
  data_service=kinds.Text(
    "an address, 'grpc://host:port'",
    r'grpc://.+:\d+',
    none='for batches that the hosts make',
    fix="Give the dispatcher's address, such as 'grpc://10.0.0.2:5050'.",
  ),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """Configuration of an input pipeline; each attribute is a gin key.

  Attributes:
    num_classes: number of classes, K; labels are 0..K-1 after the offset.
    image_size: side, or (height, width), of the images in pixels.
    batch_size: examples a step, over all replicas of all hosts.
    source: 'tfrecord', 'tfds' or 'synthetic'.
    data_dir: folder of the records; for 'tfds', its data folder (None for its
      default).
    tfds_name: name of the TFDS data set.
    split: split to read, such as 'train' or 'validation'.
    file_pattern: pattern of the file names, absolute or within `data_dir`. None
      for the files of the split's manifest or, where there is none, '<split>*'
      ('val*' for 'validation').
    compression: 'GZIP' or 'ZLIB' where the TFRecord files are compressed, all
      of them; None where they are not. To restart in the middle of such a file
      is to decompress all that comes before.
    schema: record schema, 'imagenet', 'multilabel' or 'automl'.
    feature_keys: keys to read in the place of the schema's own, such as
      {'encoded': 'image', 'labels': 'label'}; also 'confidences'.
    labels_optional: whether a record of several labels may lack the key of its
      labels, and has none then. Otherwise one that has no labels has the key
      with an empty list, and one that has not the key is an error.
    label_offset: what to add to a stored label to get a class. None for what
      the source says: -1 in the ImageNet schema, 0 in others and in TFDS.
    confidence_threshold: labels of lower confidence are left out, if set.
    max_labels: most labels an image has; the width of a batch of labels.
    center_crop: Table 10's "center crop". True: crop at random in training, cut
      out the middle in evaluation. False: squeeze the whole image into shape.
    crop_area_range: area of a random crop, as a share of the image.
    crop_aspect_range: width / height of a random crop.
    eval_crop_fraction: share of the side that evaluation cuts out.
    interpolation: 'bilinear', or 'bicubic' as PIL and timm have it.
    mean: what is taken from red, green and blue in 0..1.
    deviation: what they are divided by then.
    random_flip: whether training mirrors images at random.
    randaugment: (layers, magnitude) of RandAugment, or None.
    randaugment_exclude: RandAugment operations not to use.
    randaugment_fill: what turns, shears and shifts bring in from beyond the
      image: 'reflect' as Model Garden does, or 'grey' as Google's earlier
      TPU code does.
    mixup_alpha: parameter of mixup's Beta distribution, or None.
    max_pixels: an image of more pixels is refused before it is decoded.
    on_error: what to do about an image that does not decode: 'raise' to stop,
      naming file and record, or 'skip' to leave it out and count it.
    max_skipped: with on_error 'skip', the share of images beyond which the run
      stops all the same.
    shuffle_buffer: records shuffled together; twice as many are in memory.
    num_examples: examples in the split. None for what the manifest says.
    deterministic: whether the order is kept where that costs time.
    parallel_calls: images decoded at once; None lets tf.data choose.
    prefetch: batches made ahead.
    data_service: address of a tf.data service, 'grpc://host:port', whose
      workers make the training batches; None to make them on the hosts. The
      order of examples is not promised with it, see `service`.
  """

  num_classes: int
  image_size: int | Sequence[int]
  batch_size: int
  source: str = 'tfrecord'
  data_dir: str | None = None
  tfds_name: str | None = None
  split: str = 'train'
  file_pattern: str | None = None
  compression: str | None = None
  schema: str = 'imagenet'
  feature_keys: Mapping[str, str] | schema_lib.FeatureKeys | None = None
  labels_optional: bool = False
  label_offset: int | None = None
  confidence_threshold: float | None = None
  max_labels: int = 1
  center_crop: bool = True
  crop_area_range: Sequence[float] = (0.08, 1.0)
  crop_aspect_range: Sequence[float] = (3 / 4, 4 / 3)
  eval_crop_fraction: float = 0.875
  interpolation: str = resizing.BILINEAR
  mean: Sequence[float] = device.IMAGENET_MEAN
  deviation: Sequence[float] = device.IMAGENET_DEVIATION
  random_flip: bool = True
  randaugment: Sequence[float] | None = None
  randaugment_exclude: Sequence[str] = ()
  randaugment_fill: str = 'reflect'
  mixup_alpha: float | None = None
  max_pixels: int = 100_000_000
  on_error: str = 'raise'
  max_skipped: float = 0.001
  shuffle_buffer: int = 8192
  num_examples: int | None = None
  deterministic: bool = True
  parallel_calls: int | None = None
  prefetch: int = 2
  data_service: str | None = None

  def __post_init__(self) -> None:
    if self.compression == '':
      object.__setattr__(self, 'compression', None)
    fields.check(self)
    for name in ('mean', 'deviation'):
      # The same out of JSON, and to compare.
      values = tuple(float(v) for v in getattr(self, name))
      object.__setattr__(self, name, values)
    self._check_tfds()
    self._check_records()
    fields.require(
      self.mixup_alpha is None or self.batch_size % 2 == 0,
      'DataConfig.batch_size',
      value=self.batch_size,
      rule='must be even with mixup, which pairs examples',
      fix='use an even number a replica',
    )
    self.make_randaugment()  # Its own checks.

  def _check_tfds(self) -> None:
    if self.source != 'tfds':
      return
    fields.require(
      self.tfds_name,
      'DataConfig.tfds_name',
      value=self.tfds_name,
      rule="must name a data set where source is 'tfds'",
      fix="set it, for instance to 'imagenet2012:5.1.0'",
    )
    fields.require(
      self.feature_keys is None,
      'DataConfig.feature_keys',
      value=self.feature_keys and dict(self.feature_keys),
      rule="must be None where source is 'tfds', which says which feature is "
      'what',
      fix='unset it',
    )
    fields.require(
      self.compression is None,
      'DataConfig.compression',
      value=self.compression,
      rule="must be None where source is 'tfds'",
      fix='unset it',
    )

  def _check_records(self) -> None:
    schema = self.record_schema
    fields.require(
      not (self.labels_optional and schema.single_label),
      'DataConfig.labels_optional',
      value=self.labels_optional,
      rule=f'must be False in schema {self.schema!r}, whose records have one '
      'label',
      fix="unset it, or set schema to 'multilabel'",
    )
    fields.require(
      self.confidence_threshold is None or schema.confidences,
      'DataConfig.confidence_threshold',
      value=self.confidence_threshold,
      rule=f'must be None in schema {self.schema!r}, which has no confidences',
      fix="unset it, set schema to 'multilabel', or name them in feature_keys",
    )

  @property
  def record_schema(self) -> schema_lib.Schema:
    """The schema of the records, with the keys that are set."""
    return schema_lib.get_schema(self.schema, self.feature_keys)

  @property
  def height_width(self) -> tuple[int, int]:
    """(height, width) of the images in pixels."""
    return images.height_width(self.image_size)

  def make_randaugment(self) -> augment.RandAugment | None:
    """Returns the augmentation that is configured, or None."""
    if self.randaugment is None:
      return None
    num_layers, magnitude = self.randaugment
    return augment.RandAugment(
      int(num_layers),
      magnitude,
      exclude_ops=self.randaugment_exclude,
      fill=self.randaugment_fill,
    )
