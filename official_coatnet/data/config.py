"""What a run reads and how: the configuration of the input pipeline."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from official_coatnet.data import (
  augment,
  device,
  file_kinds,
  images,
  resizing,
  rules,
  schema as schema_lib,
)

ON_ERROR = ('raise', 'skip')
SOURCES = ('tfrecord', 'tfds', 'synthetic')


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
    self._check_source()
    self._check_records()
    self._check_sizes()
    self._check_preprocessing()
    self._check_augmentation()
    self._check_damage()

  def _check_source(self) -> None:
    rules.require(
      self.source in SOURCES,
      'source',
      self.source,
      f'must be one of {list(SOURCES)}',
      "use 'tfrecord' for a folder of TFRecord files",
    )
    rules.require(
      self.source != 'tfds' or self.tfds_name,
      'tfds_name',
      self.tfds_name,
      "must name a data set where source is 'tfds'",
      "set it, for instance to 'imagenet2012:5.1.0'",
    )
    rules.require(
      bool(self.split),
      'split',
      self.split,
      'must not be empty',
      "set it to 'train' or 'validation'",
    )

  def _check_records(self) -> None:
    # As pairs, which can be hashed, and are the same out of JSON.
    keys = schema_lib.normalize_keys(self.feature_keys)
    object.__setattr__(self, 'feature_keys', keys)
    object.__setattr__(self, 'compression', self.compression or None)
    schema = self.record_schema
    rules.require(
      keys is None or self.source != 'tfds',
      'feature_keys',
      keys and dict(keys),
      "must be None where source is 'tfds', which says which feature is what",
      'unset it',
    )
    rules.require(
      self.compression in (None, *file_kinds.COMPRESSIONS),
      'compression',
      self.compression,
      f'must be one of {list(file_kinds.COMPRESSIONS)}, or None',
      "use 'GZIP' for shards compressed by gzip, None for others",
    )
    rules.require(
      self.compression is None or self.source != 'tfds',
      'compression',
      self.compression,
      "must be None where source is 'tfds'",
      'unset it',
    )
    rules.require(
      not (self.labels_optional and schema.single_label),
      'labels_optional',
      self.labels_optional,
      f'must be False in schema {self.schema!r}, whose records have one label',
      "unset it, or set schema to 'multilabel'",
    )
    rules.require(
      self.confidence_threshold is None or schema.confidences,
      'confidence_threshold',
      self.confidence_threshold,
      f'must be None in schema {self.schema!r}, which has no confidences',
      "unset it, set schema to 'multilabel', or name them in feature_keys",
    )

  def _check_sizes(self) -> None:
    for name, fix in (
      ('num_classes', 'set it to the classes of the data, 1000 for ImageNet'),
      ('batch_size', 'give the batch over all replicas'),
      ('max_labels', 'use 1 where images have one label'),
      ('max_pixels', 'use 100_000_000'),
      ('shuffle_buffer', 'use 1 not to shuffle beyond the order of files'),
    ):
      rules.check_positive(name, getattr(self, name), fix)
    for name in ('num_examples', 'parallel_calls'):
      if getattr(self, name) is not None:
        rules.check_positive(
          name, getattr(self, name), 'unset it for the default'
        )
    rules.require(
      self.label_offset is None or rules.is_int(self.label_offset),
      'label_offset',
      self.label_offset,
      'must be an integer or None',
      'use None for what the source says',
    )
    rules.require(
      rules.is_int(self.prefetch) and self.prefetch >= 0,
      'prefetch',
      self.prefetch,
      'must be an integer, 0 or more',
      'use 2',
    )
    size = self.image_size
    sides = size if rules.is_pair(size) else (size,)
    rules.require(
      all(rules.is_int(side) and side > 0 for side in sides),
      'image_size',
      size,
      'must be a positive integer or a (height, width) of such',
      'use 224',
    )

  def _check_preprocessing(self) -> None:
    rules.require(
      0 < self.eval_crop_fraction <= 1,
      'eval_crop_fraction',
      self.eval_crop_fraction,
      'must lie in (0, 1]',
      'use 0.875, or center_crop = False for the whole image',
    )
    rules.require(
      self.interpolation in resizing.METHODS,
      'interpolation',
      self.interpolation,
      f'must be one of {list(resizing.METHODS)}',
      "use 'bilinear', or 'bicubic' for weights that were trained so",
    )
    for name, rule in (('mean', 'in [0, 1]'), ('deviation', 'in (0, 1]')):
      value = getattr(self, name)
      rules.require(
        rules.are_shares(value) and (name == 'mean' or all(value)),
        name,
        value,
        f'must be three numbers {rule}, of red, green and blue',
        'use (0.5, 0.5, 0.5), or leave it out for that of ImageNet; divide '
        'values for pixels in 0..255 by 255',
      )
      # The same out of JSON, and to compare.
      object.__setattr__(self, name, tuple(float(v) for v in value))

  def _check_augmentation(self) -> None:
    for name, highest in (
      ('crop_area_range', 1.0),
      ('crop_aspect_range', float('inf')),
    ):
      value = getattr(self, name)
      rules.require(
        rules.is_pair(value) and 0 < value[0] <= value[1] <= highest,
        name,
        value,
        f'must be (lowest, highest) with 0 < lowest <= highest <= {highest}',
        'the usual values are (0.08, 1) for areas, (3/4, 4/3) for aspects',
      )
    rules.require(
      self.randaugment_fill in augment.FILLS,
      'randaugment_fill',
      self.randaugment_fill,
      f'must be one of {list(augment.FILLS)}',
      "use 'reflect' for Model Garden's way",
    )
    if self.randaugment is not None:
      rules.require(
        rules.is_pair(self.randaugment),
        'randaugment',
        self.randaugment,
        'must be (layers, magnitude)',
        'use (2, 15) for ImageNet-1K, None to switch it off',
      )
      self.make_randaugment()  # Its own checks.
    if self.mixup_alpha is not None:
      rules.require(
        self.mixup_alpha > 0,
        'mixup_alpha',
        self.mixup_alpha,
        'must be positive',
        'use None to switch mixup off',
      )
      rules.require(
        self.batch_size % 2 == 0,
        'batch_size',
        self.batch_size,
        'must be even with mixup, which pairs examples',
        'use an even number a replica',
      )

  def _check_damage(self) -> None:
    rules.require(
      self.on_error in ON_ERROR,
      'on_error',
      self.on_error,
      f'must be one of {list(ON_ERROR)}',
      "use 'skip' to leave images out that do not decode",
    )
    rules.require(
      0 <= self.max_skipped <= 1,
      'max_skipped',
      self.max_skipped,
      'must lie in [0, 1]: it is a share of the images',
      'use 0.001',
    )
    rules.require(
      self.data_service is None
      or re.fullmatch(r'grpc://.+:\d+', self.data_service),
      'data_service',
      self.data_service,
      "must be 'grpc://host:port' or None",
      "give the dispatcher's address, such as 'grpc://10.0.0.2:5050'",
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
