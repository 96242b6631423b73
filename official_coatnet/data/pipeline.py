"""From a configuration to batches for the device.

The way of an image: record -> parse -> labels checked -> decode, crop, flip,
RandAugment (uint8) -> batch. The rest happens on the device, see `device`.

Random draws are stateless: functions of the run's seed and of the example's
global index, so that they do not depend on the number of hosts, replicas or
parallel calls, nor on where a run was stopped.
"""

import dataclasses

import tensorflow as tf

from official_coatnet.data import files, images, sources, streams
from official_coatnet.data import labels as labels_lib
from official_coatnet.data.config import DataConfig

__all__ = ['DataConfig', 'Layout', 'get_layout', 'make_dataset']


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a global batch is dealt out.

  The global batch is cut into consecutive runs, one a host in the order of
  their ids, and each of these into one a replica.

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


def get_layout(
  batch_size: int, input_context: tf.distribute.InputContext | None
) -> Layout:
  """Returns the layout of a global batch under a distribution strategy."""
  if input_context is None:
    return Layout(batch_size)
  return Layout(
    batch_size,
    num_hosts=input_context.num_input_pipelines,
    host=input_context.input_pipeline_id,
    num_replicas=input_context.num_replicas_in_sync,
  )


def make_dataset(
  config: DataConfig,
  *,
  seed: int,
  is_training: bool,
  input_context: tf.distribute.InputContext | None = None,
  start_step: int = 0,
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

  Args:
    config: what to read.
    seed: seed of the run: decides order, crops, flips, RandAugment and
      mixup.
    is_training: whether to shuffle, augment and repeat.
    input_context: position of this host among all, from the strategy.
    start_step: first step of training; what came before is left out.

  Returns:
    The dataset.

  Raises:
    ValueError: if there is nothing to read, or the batch cannot be shared out.
    tf.errors.InvalidArgumentError: while it runs, naming file and record, if a
      label is out of range or an example has too many.
  """
  layout = get_layout(config.batch_size, input_context)
  source = files.open_source(config, num_hosts=layout.num_hosts)
  source = source.shard(layout.num_hosts, layout.host)
  if is_training:
    examples = _training_examples(
      config, source, layout=layout, seed=seed, start_step=start_step
    )
  else:
    examples = _evaluation_examples(config, source)
  dataset = examples.batch(
    layout.replica_batch_size,
    drop_remainder=True,
    num_parallel_calls=None,
  )
  return dataset.prefetch(config.prefetch).with_options(_options(config))


def _training_examples(
  config: DataConfig,
  source: sources.Source,
  *,
  layout: Layout,
  seed: int,
  start_step: int,
) -> tf.data.Dataset:
  """Returns an endless stream of augmented examples."""
  if config.mixup_alpha is not None and layout.replica_batch_size % 2:
    raise ValueError(
      f'DataConfig.batch_size is {config.batch_size}, which gives each of '
      f'{layout.num_replicas} replicas {layout.replica_batch_size} examples, '
      'but mixup pairs them and needs an even number; use a multiple of '
      f'{2 * layout.num_replicas}, or set mixup_alpha to None.'
    )
  start = start_step * layout.host_batch_size
  records = streams.training_records(
    source,
    seed=seed,
    shuffle_buffer=config.shuffle_buffer,
    start=start,
    deterministic=config.deterministic,
  )
  randaugment = config.make_randaugment()

  def make_example(
    local_index: tf.Tensor, record: dict[str, tf.Tensor]
  ) -> dict[str, tf.Tensor]:
    index = layout.global_index(local_index)
    key = tf.stack([tf.constant(seed, tf.int64), index])
    crop_seed, augment_seed, mixup_seed = tf.unstack(tf.random.split(key, 3))
    encoded, labels = _parse(record, config=config, source=source)
    image = images.decode_and_crop_train(
      encoded,
      image_size=config.image_size,
      seed=crop_seed,
      center_crop=config.center_crop,
      area_range=config.crop_area_range,
      aspect_range=config.crop_aspect_range,
      random_flip=config.random_flip,
    )
    if randaugment is not None:
      image = randaugment(image, seed=augment_seed)
    example = {'image': image, 'label': labels, 'index': index}
    if config.mixup_alpha is not None:
      example['mixup_ratio'] = sample_beta(config.mixup_alpha, seed=mixup_seed)
    return example

  return records.enumerate(start).map(
    make_example,
    num_parallel_calls=config.parallel_calls or tf.data.AUTOTUNE,
    deterministic=config.deterministic,
  )


def _evaluation_examples(
  config: DataConfig, source: sources.Source
) -> tf.data.Dataset:
  """Returns each example once, then endless padding of weight 0."""

  def make_example(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    encoded, labels = _parse(record, config=config, source=source)
    image = images.decode_for_eval(
      encoded,
      image_size=config.image_size,
      center_crop=config.center_crop,
      crop_fraction=config.eval_crop_fraction,
    )
    return {'image': image, 'label': labels, 'weight': tf.constant(1.0)}

  examples = streams.evaluation_records(source).map(
    make_example,
    num_parallel_calls=config.parallel_calls or tf.data.AUTOTUNE,
    deterministic=True,
  )
  padding = tf.data.Dataset.from_tensors(
    {
      'image': tf.zeros([*config.height_and_width, 3], tf.uint8),
      'label': tf.fill([config.max_labels], -1),
      'weight': tf.constant(0.0),
    }
  )
  return examples.concatenate(padding.repeat())


def sample_beta(alpha: float, *, seed: tf.Tensor) -> tf.Tensor:
  """Draws from Beta(alpha, alpha), for any alpha > 0.

  The share of one of two Gamma(alpha) draws in their sum. A Gamma(alpha) draw
  is a Gamma(alpha + 1) draw times u ** (1 / alpha) with u uniform; taking
  logarithms, small alphas do not underflow to 0 / 0. On the host, since
  gamma has no TPU kernel.

  Args:
    alpha: parameter of the distribution.
    seed: integer [2] tensor.

  Returns:
    A scalar float32 tensor in [0, 1].
  """
  gamma_seed, uniform_seed = tf.unstack(tf.random.split(seed, 2))
  gammas = tf.random.stateless_gamma([2], gamma_seed, alpha=alpha + 1.0)
  # In (0, 1], for the logarithm.
  uniforms = 1.0 - tf.random.stateless_uniform([2], uniform_seed)
  logs = tf.math.log(gammas) + tf.math.log(uniforms) / alpha
  return tf.sigmoid(logs[0] - logs[1])


def _parse(
  record: dict[str, tf.Tensor], *, config: DataConfig, source: sources.Source
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the encoded image and the padded labels of a record."""
  example = source.parse(record['record'])
  has_image = labels_lib.require(
    tf.strings.length(example['encoded']) > 0,
    lambda: [
      record['file'],
      ', record ',
      record['position'],
      f': no image under the key of schema {config.schema!r}; check schema.',
    ],
  )
  with tf.control_dependencies([has_image]):
    encoded = tf.identity(example['encoded'])
  labels = labels_lib.clean_labels(
    example,
    file=record['file'],
    record=record['position'],
    num_classes=config.num_classes,
    label_offset=source.label_offset,
    max_labels=config.max_labels,
    single_label=source.single_label,
    confidence_threshold=config.confidence_threshold,
  )
  return encoded, labels


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
