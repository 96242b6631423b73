"""From a configuration to batches for the device.

The way of an image: record -> parse -> labels checked -> decode, crop, flip,
RandAugment (uint8) -> batch. The rest happens on the device, see `device`.

Random draws are stateless: functions of the run's seed and of the example's
global index, so that they do not depend on the number of hosts, replicas or
parallel calls, nor on where a run was stopped.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from official_coatnet.data import (
  augment,
  beta,
  decoding,
  files,
  images,
  labels as labels_lib,
  service,
  sources,
  streams,
)
from official_coatnet.data.batch_layout import Layout, get_layout
from official_coatnet.data.config import DataConfig

__all__ = ['DataConfig', 'Layout', 'get_layout', 'make_dataset']


def make_dataset(
  config: DataConfig,
  *,
  seed: int,
  is_training: bool,
  input_context: tf.distribute.InputContext | None = None,
  start_step: int = 0,
  careful: bool = False,
) -> tf.data.Dataset:
  """Returns the batches of a run.

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

  Args:
    config: what to read.
    seed: seed of the run: decides order, crops, flips, RandAugment and
      mixup.
    is_training: whether to shuffle, augment and repeat.
    input_context: position of this host among all, from the strategy.
    start_step: first step of training; what came before is left out.
    careful: whether an image that does not decode is named whatever is wrong
      with it, which takes longer. Otherwise a few kinds of damage, within an
      image that ends as it should, give the decoder's own error.

  Returns:
    The dataset.

  Raises:
    ValueError: if there is nothing to read, or the batch cannot be shared out.
    tf.errors.InvalidArgumentError: while it runs, naming file and record, if a
      record cannot be read, an image does not decode or is too large, a label
      is out of range or an example has too many.
  """
  layout = get_layout(config.batch_size, input_context)
  source = files.open_source(config, num_hosts=layout.num_hosts)
  source = source.shard(layout.num_hosts, layout.host)
  if is_training:
    examples = _training_examples(
      config,
      source,
      layout=layout,
      seed=seed,
      start_step=start_step,
      careful=careful,
    )
  else:
    examples = _evaluation_examples(config, source, careful=careful)
  dataset = examples.batch(
    layout.replica_batch_size,
    drop_remainder=True,
    num_parallel_calls=None,
  )
  if is_training and config.on_error == 'skip':
    dataset = dataset.map(decoding.fill)
  if is_training and config.data_service is not None:
    dataset = service.distribute(dataset, address=config.data_service)
  return dataset.prefetch(config.prefetch).with_options(_options(config))


def _training_examples(
  config: DataConfig,
  source: sources.Source,
  *,
  layout: Layout,
  seed: int,
  start_step: int,
  careful: bool,
) -> tf.data.Dataset:
  """Returns an endless stream of augmented examples."""
  _check_mixup(config, layout)
  randaugment = config.make_randaugment()
  make_example = functools.partial(
    _training_example,
    config=config,
    source=source,
    layout=layout,
    seed=seed,
    randaugment=randaugment,
    careful=careful,
  )
  start = start_step * layout.host_batch_size
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
  layout: Layout,
  seed: int,
  randaugment: augment.RandAugment | None,
  careful: bool,
) -> dict[str, tf.Tensor]:
  """Makes an augmented example of a record, the `number`-th of this host."""
  index = _global_index(number, config=config, layout=layout)
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
      limit=limit,
    )

  example = _decode(
    record, decode, config=config, source=source, careful=careful
  )
  example['index'] = index
  if randaugment is not None:
    example['image'] = randaugment(example['image'], seed=augment_seed)
  if config.mixup_alpha is not None:
    example['mixup_ratio'] = beta.sample_beta(
      config.mixup_alpha, seed=mixup_seed
    )
  return example


def _check_mixup(config: DataConfig, layout: Layout) -> None:
  if config.mixup_alpha is not None and layout.replica_batch_size % 2:
    raise ValueError(
      f'DataConfig.batch_size is {config.batch_size}, which gives each of '
      f'{layout.num_replicas} replicas {layout.replica_batch_size} examples, '
      'but mixup pairs them and needs an even number; use a multiple of '
      f'{2 * layout.num_replicas}, or set mixup_alpha to None.'
    )


def _global_index(
  number: tf.Tensor, *, config: DataConfig, layout: Layout
) -> tf.Tensor:
  """Maps the number of an example on this host to one over all hosts."""
  if config.data_service is None:
    return layout.global_index(number)
  # No place in a batch belongs to it: any number of its own will do.
  return number * layout.num_hosts + layout.host


def _evaluation_examples(
  config: DataConfig, source: sources.Source, *, careful: bool
) -> tf.data.Dataset:
  """Returns each example once, then endless padding of weight 0."""

  def decode(encoded: tf.Tensor, limit: images.Limit | None) -> tf.Tensor:
    return images.decode_for_eval(
      encoded,
      image_size=config.image_size,
      center_crop=config.center_crop,
      crop_fraction=config.eval_crop_fraction,
      limit=limit,
    )

  def make_example(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    example = _decode(
      record, decode, config=config, source=source, careful=careful
    )
    example['weight'] = 1.0 - example.get('skipped', tf.constant(0.0))
    return example

  examples = streams.evaluation_records(source).map(
    make_example,
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


def _decode(
  record: dict[str, tf.Tensor],
  decoder: Callable[[tf.Tensor, images.Limit | None], tf.Tensor],
  *,
  config: DataConfig,
  source: sources.Source,
  careful: bool,
) -> dict[str, tf.Tensor]:
  """Makes 'image', 'label' and perhaps 'skipped' of a record."""
  example = source.parse(record['record'])
  image, skipped = decoding.decode(
    record,
    example['encoded'],
    decoder,
    shape=(*config.height_width, 3),
    schema=config.schema,
    max_pixels=config.max_pixels,
    skip=config.on_error == 'skip',
    careful=careful,
  )
  # A record without an image may have no labels either: first things first.
  with tf.control_dependencies([image]):
    example['labels'] = tf.identity(example['labels'])
  labels = _labels(example, record, config=config, source=source)
  example = {'image': image, 'label': labels}
  if config.on_error == 'skip':
    example['skipped'] = tf.cast(skipped, tf.float32)
  return example


def _labels(
  example: dict[str, tf.Tensor],
  record: dict[str, tf.Tensor],
  *,
  config: DataConfig,
  source: sources.Source,
) -> tf.Tensor:
  """Returns the padded labels of an example."""
  return labels_lib.clean_labels(
    example,
    file=record['file'],
    record=record['position'],
    num_classes=config.num_classes,
    label_offset=source.label_offset,
    max_labels=config.max_labels,
    single_label=source.single_label,
    confidence_threshold=config.confidence_threshold,
  )


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
