"""The trainer: from a batch on the device to an update of the weights.

The path of a training run, four hops:

    tools/train.py: main
      -> controller.run             drives orbit.Controller: resume, loops,
                                    evaluations, checkpoints, summaries
        -> Trainer.train_loop       steps_per_loop steps without the host
          -> Trainer.train_step     one step on one replica: here the learning
                                    rate is applied, by `optimizer.AdamW`, whose
                                    schedule `optimizer.make_schedule` made
"""

import orbit
import tensorflow as tf

from official_coatnet.data import device
from official_coatnet.training import (
  accumulation,
  clock as clock_lib,
  ema,
  experiment as experiment_lib,
  losses,
  metrics,
  optimizer as optimizer_lib,
  plan as plan_lib,
  skipped as skipped_lib,
)
from official_coatnet.training.checkpoints import named_weights


class Trainer(orbit.AbstractTrainer):
  """Trains a network on distributed batches.

  Attributes:
    model: The network, with draw keys.
    optimizer: AdamW; its `iterations` are the global step.
    average: The moving average of the weights, or None.
    clock: Training time and speed.
  """

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    model: tf.keras.Model,
    *,
    plan: plan_lib.Plan,
    strategy: tf.distribute.Strategy,
    clock: clock_lib.Clock,
  ):
    """Creates optimizer, average and metrics. Call in the strategy's scope.

    Args:
      experiment: What to train.
      model: From `network.classifier(..., draw_keys=True)`.
      plan: Its steps.
      strategy: Where it runs.
      clock: Times the loops.
    """
    self._experiment = experiment
    self._plan = plan
    self._strategy = strategy
    self._iterator = None
    self.model = model
    self.clock = clock
    config = experiment.optimizer
    self._schedule = optimizer_lib.make_schedule(
      config, total_steps=plan.total_steps, warmup_steps=plan.warmup_steps
    )
    self.optimizer = optimizer_lib.make_optimizer(
      config, self._schedule, variables=model.trainable_variables
    )
    self.average = None
    if config.ema_decay is not None:
      self.average = ema.WeightAverage(
        named_weights(model),
        decay=config.ema_decay,
        dynamic_decay=config.ema_dynamic_decay,
      )
    self._top_k = metrics.metric_names(experiment.train_data.schema)
    self._means = {
      name: tf.keras.metrics.Mean(f'train_{name}')
      for name in ('loss', *self._top_k, 'gradient_norm')
    }
    self._skipped = skipped_lib.SkippedImages(
      experiment.train_data, name='train_data'
    )
    # By this process.
    self._num_images = 0
    self._num_skipped = 0.0

  def set_dataset(self, dataset: tf.distribute.DistributedDataset):
    """Starts to take batches from a distributed dataset.

    Args:
      dataset: Batches of `pipeline.make_dataset` for training, from the step at
        which the run is.
    """
    self._iterator = iter(dataset)

  def train(self, num_steps: tf.Tensor) -> dict[str, float]:
    """Trains `num_steps` steps and returns their mean loss and metrics.

    Args:
      num_steps: int32 []; a tensor, since a Python int would compile the loop
        anew for each value.

    Raises:
      ValueError: If more images than `max_skipped` were left out.
    """
    for metric in self._means.values():
      metric.reset_state()
    self._skipped.reset_state()
    with self.clock.training(int(num_steps)):
      self.train_loop(self._iterator, num_steps)
      # The loop is dispatched asynchronously; reading a result waits for it.
      results = {name: float(m.result()) for name, m in self._means.items()}
    results |= self._skipped.results()
    self._num_skipped += self._skipped.result()
    self._num_images += int(num_steps) * self._plan.batch_size
    self._skipped.check(
      count=self._num_skipped,
      # Early in a run the share of one image is large.
      seen=max(self._num_images, self._plan.num_train_examples),
    )
    results['learning_rate'] = float(
      self._schedule(self.optimizer.iterations - 1)
    )
    speed = self.clock.images_per_second()
    if speed is not None:
      results['images_per_second'] = speed
      results['images_per_second_per_core'] = (
        self.clock.images_per_second_per_core()
      )
    results['core_hours'] = self.clock.core_hours
    return results

  @tf.function
  def train_loop(self, iterator, num_steps):
    """Runs `num_steps` steps on all replicas without the host."""
    step = self.train_step
    if self._experiment.run.jit_compile:
      step = tf.function(step, jit_compile=True)
    for _ in tf.range(num_steps):
      # Without it the loop's variables would get a name scope of their own.
      with tf.name_scope(''):
        self._strategy.run(step, args=(next(iterator),))

  def train_step(self, batch: dict[str, tf.Tensor]):
    """Takes one step on one replica's share of a batch.

    Args:
      batch: As `pipeline.make_dataset` makes it for training: uint8 `image`
        [b, height, width, 3], int32 `label` [b, max_labels] padded with -1,
        int64 `index` [b], with mixup float32 `mixup_ratio` [b], and where
        images are left out float32 `skipped` [b].
    """
    config = self._experiment
    images, targets = device_half(config, batch)
    examples = {
      'image': images,
      'draw_keys': draw_keys(batch['index'], seed=config.run.seed),
      'targets': targets,
    }
    weight = self._skipped.update_state(batch)
    if weight is not None:
      examples['weight'] = weight
    variables = self.model.trainable_variables
    gradients, results = accumulation.accumulate(
      self._gradients,
      examples,
      microbatches=config.optimizer.microbatches,
      variables=variables,
      result_specs={
        'loss': tf.TensorSpec([], tf.float32),
        'logits': tf.TensorSpec(
          self.model.output.shape[1:], self.model.output.dtype
        ),
      },
      unroll=self._merges_in_forward_pass(),
    )
    gradient_norm = optimizer_lib.apply_gradients(
      self.optimizer,
      gradients,
      variables=variables,
      clip_norm=config.optimizer.clip_norm,
    )
    if self.average is not None:
      self.average.update(self.optimizer.iterations)

    self._means['loss'].update_state(results['loss'], sample_weight=weight)
    self._means['gradient_norm'].update_state(gradient_norm)
    for name, k in self._top_k.items():
      values, weights = metrics.precision_at_k(
        batch['label'], results['logits'], k=k
      )
      if weight is not None:
        weights *= weight
      self._means[name].update_state(values, sample_weight=weights)

  def _gradients(self, examples: dict[str, tf.Tensor]):
    """Returns the gradients of a (micro)batch, its losses and its logits."""
    inputs = {name: examples[name] for name in ('image', 'draw_keys')}
    with tf.GradientTape() as tape:
      logits = self.model(inputs, training=True)
      per_example = per_example_loss(
        self._experiment.loss, examples['targets'], logits=logits
      )
      if 'weight' in examples:
        per_example *= examples['weight']
      # The gradients of the microbatches and of the replicas are summed: each
      # divides by the whole batch.
      loss = tf.reduce_sum(per_example) / self._plan.batch_size
    gradients = tape.gradient(loss, self.model.trainable_variables)
    return gradients, {'loss': per_example, 'logits': logits}

  def _merges_in_forward_pass(self) -> bool:
    """Whether replicas meet within the network, by a merge call."""
    return (
      self._experiment.model.sync_batch_norm
      and self._strategy.num_replicas_in_sync > 1
      and not isinstance(self._strategy, tf.distribute.TPUStrategy)
    )


def device_half(
  config: experiment_lib.Experiment, batch: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
  """Makes what the host does not ship: floats, multi-hot rows, mixtures.

  Args:
    config: The experiment.
    batch: As in `Trainer.train_step`.

  Returns:
    Images [b, height, width, 3] in the network's compute dtype, and targets,
    float32 [b, classes].
  """
  policy = tf.keras.mixed_precision.Policy(config.model.dtype)
  images = device.normalize(batch['image'], policy.compute_dtype)
  targets = device.multi_hot(batch['label'], config.model.num_classes)
  smoothing = config.loss.label_smoothing
  if config.loss.name == 'softmax':
    targets = device.smooth_softmax(targets, smoothing)
  else:
    targets = device.smooth_sigmoid(
      targets, smoothing, mode=config.loss.smoothing
    )
  if 'mixup_ratio' in batch:
    images, targets = device.mixup(images, targets, batch['mixup_ratio'])
  return images, targets


def per_example_loss(
  config: experiment_lib.LossConfig, targets: tf.Tensor, *, logits: tf.Tensor
) -> tf.Tensor:
  """Returns the configured loss of each example, float32 [batch].

  Args:
    config: Which loss.
    targets: float32 [batch, classes], from `device_half`.
    logits: float32 [batch, classes].
  """
  if config.name == 'softmax':
    return losses.softmax_cross_entropy(targets, logits)
  return losses.sigmoid_cross_entropy(
    targets, logits, reduction=config.reduction
  )


def draw_keys(index: tf.Tensor, *, seed: int) -> tf.Tensor:
  """Returns int32 [b] keys of random draws: of the seed and the example.

  Args:
    index: int64 [b], the examples' places in the training stream.
    seed: Of the run.
  """
  # Odd multipliers, so that neighbouring indices and seeds do not collide.
  mixed = index * 0x9E3779B1 + seed * 0x85EBCA77
  return tf.bitcast(tf.cast(mixed & 0xFFFFFFFF, tf.uint32), tf.int32)
