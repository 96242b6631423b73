"""From a configuration to batches for the device.

The way of an image: record -> parse -> labels checked -> decode, crop, flip,
RandAugment (uint8) -> batch. The rest happens on the device, see `device`.

Random draws are stateless: functions of the run's seed and of the example's
global index, so that they do not depend on the number of hosts, replicas or
parallel calls, nor on where a run was stopped.

An element is the batch of ONE REPLICA: what
`strategy.distribute_datasets_from_function` expects, which hands one element
to each replica of the host in turn. Without `input_context` there is one
replica, and an element is the global batch.

Training, endless:

*   'image': uint8 [batch, height, width, 3].
*   'label': int32 [batch, max_labels], padded with -1.
*   'index': int64 [batch], step x batch_size + position in the global batch.
*   'mixup_ratio': float32 [batch], only with `mixup_alpha`.

Evaluation: 'image' and 'label' likewise, and 'weight', float32 [batch], 1 for
an example. Each example comes once; after the last one, endless examples of
weight 0, so that hosts with unequal shares can run the same number of steps:
stop at a step whose weights sum to 0 over all replicas.

With `on_error` 'skip' both have 'skipped', float32 [batch], 1 for an image
that does not decode. It keeps its place in the order. In training another one
of the batch stands there, which is to count nothing; in evaluation its weight
is 0.

With `data_service` the order of the training examples is not promised, see
`service`; evaluation does not go through it.
"""

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from official_coatnet.data import (
  augment,
  decoding,
  images,
  labels,
  service,
  sources,
  streams,
)
from official_coatnet.data.config import DataConfig


@dataclasses.dataclass(frozen=True)
class BatchShare:
  """Which examples of the global batch this host makes.

  The global batch is cut into runs, one a host in the order of their ids, and
  each of these into one a replica.

  Attributes:
    batch_size: examples a step, over all hosts.
    num_hosts: number of hosts, each of which runs an input pipeline.
    host: number of this host.
    num_replicas: number of replicas over all hosts.
  """

  batch_size: int
  num_hosts: int = 1
  host: int = 0
  num_replicas: int = 1

  def __post_init__(self):
    # A run hears of it beforehand, from training.plan. Whoever makes a dataset
    # without a run would get batches of another size, and no word of it.
    if self.num_replicas % self.num_hosts:
      raise ValueError(
        f'{self.num_replicas} replicas on {self.num_hosts} hosts: each host '
        'must have as many; check the distribution strategy.'
      )
    if self.batch_size % self.num_replicas:
      raise ValueError(
        f'DataConfig.batch_size is {self.batch_size}, but must be a multiple '
        f'of the number of replicas, {self.num_replicas}; the next one is '
        f'{-(-self.batch_size // self.num_replicas) * self.num_replicas}.'
      )

  @classmethod
  def of(
    cls, batch_size: int, context: tf.distribute.InputContext | None
  ) -> 'BatchShare':
    """Returns the share of the host that a strategy describes; None for all."""
    if context is None:
      return cls(batch_size)
    return cls(
      batch_size,
      num_hosts=context.num_input_pipelines,
      host=context.input_pipeline_id,
      num_replicas=context.num_replicas_in_sync,
    )

  @property
  def replica_batch_size(self) -> int:
    """Examples a step, on one replica."""
    return self.batch_size // self.num_replicas

  @property
  def host_batch_size(self) -> int:
    """Examples a step, on all replicas of one host."""
    return self.batch_size // self.num_hosts

  def global_index(self, local_index: tf.Tensor) -> tf.Tensor:
    """Maps the n-th example of this host to its index in the run, int64."""
    step = local_index // self.host_batch_size
    position = local_index % self.host_batch_size
    return step * self.batch_size + self.host * self.host_batch_size + position


def make_dataset(
  config: DataConfig,
  *,
  seed: int,
  is_training: bool,
  input_context: tf.distribute.InputContext | None = None,
  start_step: int = 0,
  careful: bool = False,
  source: sources.Source | None = None,
) -> tf.data.Dataset:
  """Returns the batches of a run; the head of this module says what they hold.

  Args:
    config: what to read.
    seed: seed of the run: decides order, crops, flips, RandAugment, mixup.
    is_training: whether to shuffle, augment and repeat.
    input_context: position of this host among all, from the strategy.
    start_step: first step of training; what came before is left out.
    careful: whether to name an image that does not decode whatever its damage,
      which takes longer. Else a few kinds give the decoder's own error.
    source: what `config` means, if it is open already.

  Returns:
    The dataset.

  Raises:
    ValueError: if there is nothing to read, or the batch cannot be shared out.
    tf.errors.InvalidArgumentError: while it runs, naming file and record, if
      record, image or label cannot be read, is too large or out of range.
  """
  share = BatchShare.of(config.batch_size, input_context)
  source = source or sources.open_source(config, num_hosts=share.num_hosts)
  source = source.shard(share.num_hosts, share.host)
  if is_training:
    examples = _training_examples(
      config,
      source,
      share=share,
      seed=seed,
      start_step=start_step,
      careful=careful,
    )
  else:
    examples = _evaluation_examples(config, source, careful=careful)
  dataset = examples.batch(share.replica_batch_size, drop_remainder=True)
  if is_training and config.on_error == 'skip':
    dataset = dataset.map(decoding.fill)
  if is_training and config.data_service is not None:
    dataset = service.distribute(dataset, address=config.data_service)
  return dataset.prefetch(config.prefetch).with_options(_options(config))


def _training_examples(
  config: DataConfig,
  source: sources.Source,
  *,
  share: BatchShare,
  seed: int,
  start_step: int,
  careful: bool,
) -> tf.data.Dataset:
  """Returns an endless stream of augmented examples."""
  _check_mixup(config, share)
  make_example = functools.partial(
    _training_example,
    config=config,
    source=source,
    share=share,
    seed=seed,
    randaugment=config.make_randaugment(),
    careful=careful,
  )
  start = start_step * share.host_batch_size
  order = {'seed': seed, 'shuffle_buffer': config.shuffle_buffer}
  if config.data_service is not None:
    records = service.training_records(source, start=start, **order)
  else:
    records = streams.training_records(
      source, start=start, deterministic=config.deterministic, **order
    ).enumerate(start)
  return records.map(
    make_example,
    num_parallel_calls=config.parallel_calls or tf.data.AUTOTUNE,
    deterministic=config.deterministic and config.data_service is None,
  )


def _training_example(
  number: tf.Tensor,
  record: dict[str, tf.Tensor],
  *,
  config: DataConfig,
  source: sources.Source,
  share: BatchShare,
  seed: int,
  randaugment: augment.RandAugment | None,
  careful: bool,
) -> dict[str, tf.Tensor]:
  """Makes an augmented example of a record, the `number`-th of this host."""
  index = share.global_index(number)
  if config.data_service is not None:
    # No place in a batch belongs to it: any number of its own will do.
    index = number * share.num_hosts + share.host
  key = tf.stack([tf.constant(seed, tf.int64), index])
  crop_seed, augment_seed, mixup_seed = tf.unstack(tf.random.split(key, 3))

  def decode(encoded: tf.Tensor, limit: images.Limit | None) -> tf.Tensor:
    return images.decode_and_crop_train(
      encoded,
      image_size=config.image_size,
      seed=crop_seed,
      center_crop=config.center_crop,
      area_range=config.crop_area_range,
      aspect_range=config.crop_aspect_range,
      random_flip=config.random_flip,
      interpolation=config.interpolation,
      limit=limit,
    )

  example = _decode(
    record, decode, config=config, source=source, careful=careful
  )
  example['index'] = index
  if randaugment is not None:
    example['image'] = randaugment(example['image'], seed=augment_seed)
  if config.mixup_alpha is not None:
    example['mixup_ratio'] = augment.sample_beta(
      config.mixup_alpha, seed=mixup_seed
    )
  return example


def _check_mixup(config: DataConfig, share: BatchShare) -> None:
  if config.mixup_alpha is not None and share.replica_batch_size % 2:
    raise ValueError(
      f'DataConfig.batch_size is {config.batch_size}, which gives each of '
      f'{share.num_replicas} replicas {share.replica_batch_size} examples, '
      'but mixup pairs them and needs an even number; use a multiple of '
      f'{2 * share.num_replicas}, or set mixup_alpha to None.'
    )


def _evaluation_examples(
  config: DataConfig, source: sources.Source, *, careful: bool
) -> tf.data.Dataset:
  """Returns each example once, then endless padding of weight 0."""
  examples = streams.evaluation_records(source).map(
    functools.partial(
      evaluation_example, config=config, source=source, careful=careful
    ),
    num_parallel_calls=config.parallel_calls or tf.data.AUTOTUNE,
    deterministic=True,
  )
  nothing = {
    'image': tf.zeros([*config.height_width, 3], tf.uint8),
    'label': tf.fill([config.max_labels], -1),
    'weight': tf.constant(0.0),
  }
  if config.on_error == 'skip':
    nothing['skipped'] = tf.constant(0.0)
  padding = tf.data.Dataset.from_tensors(nothing)
  return examples.concatenate(padding.repeat())


def evaluation_example(
  record: dict[str, tf.Tensor],
  *,
  config: DataConfig,
  source: sources.Source,
  careful: bool = False,
) -> dict[str, tf.Tensor]:
  """Makes an example of a record of `streams.evaluation_records`."""

  def decode(encoded: tf.Tensor, limit: images.Limit | None) -> tf.Tensor:
    return images.decode_for_eval(
      encoded,
      image_size=config.image_size,
      center_crop=config.center_crop,
      crop_fraction=config.eval_crop_fraction,
      interpolation=config.interpolation,
      limit=limit,
    )

  example = _decode(
    record, decode, config=config, source=source, careful=careful
  )
  example['weight'] = 1.0 - example.get('skipped', tf.constant(0.0))
  return example


def _decode(
  record: dict[str, tf.Tensor],
  decoder: Callable[[tf.Tensor, images.Limit | None], tf.Tensor],
  *,
  config: DataConfig,
  source: sources.Source,
  careful: bool,
) -> dict[str, tf.Tensor]:
  """Makes 'image', 'label' and perhaps 'skipped' of a record."""
  example = decoding.parse(record, source, careful=careful)
  image, skipped = decoding.decode(
    record,
    example['encoded'],
    decoder,
    shape=(*config.height_width, 3),
    keys=source.keys,
    max_pixels=config.max_pixels,
    skip=config.on_error == 'skip',
    careful=careful,
  )
  # A record without an image may have no labels either: first things first.
  with tf.control_dependencies([image]):
    example['labels'] = tf.identity(example['labels'])
  label = labels.clean_labels(
    example,
    file=record['file'],
    record=record['position'],
    num_classes=config.num_classes,
    label_offset=source.label_offset,
    max_labels=config.max_labels,
    single_label=source.single_label,
    confidence_threshold=config.confidence_threshold,
    serialized=record['record'],
    keys=source.keys,
    labels_optional=config.labels_optional,
  )
  example = {'image': image, 'label': label}
  if config.on_error == 'skip':
    example['skipped'] = tf.cast(skipped, tf.float32)
  return example


def _options(config: DataConfig) -> tf.data.Options:
  options = tf.data.Options()
  options.deterministic = config.deterministic
  # Parallelism is over images; operations that split one image among threads
  # as well only add switches.
  options.threading.max_intra_op_parallelism = 1
  # Files are dealt out here, not by tf.data.
  options.experimental_distribute.auto_shard_policy = (
    tf.data.experimental.AutoShardPolicy.OFF
  )
  return options
