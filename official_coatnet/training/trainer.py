"""The trainer: from a batch on the device to an update of the weights.

`controller.run` drives `Trainer.train` between evaluations and checkpoints;
`train_loop` takes steps without the host; `train_step` is the whole step.
"""

import math
from collections.abc import Callable
from typing import Any

import orbit
import tensorflow as tf

from official_coatnet.training import (
  accumulation,
  ema,
  experiment as experiment_lib,
  norms as norms_lib,
  objective,
  optimizer as optimizer_lib,
  plan as plan_lib,
  reporting,
  stages,
  watch as watch_lib,
)
from official_coatnet.training.checkpoints import named_weights


class Trainer(orbit.AbstractTrainer):
  """Trains a network on distributed batches.

  Attributes:
    model: The network, with draw keys.
    optimizer: AdamW; its `iterations` are the global step.
    average: The moving average of the weights, or None.
    watch: What it has found of steps that are not finite.
    clock: Training time and speed.
    stage_norms: Norms by stage, or None.
  """

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    model: tf.keras.Model,
    *,
    plan: plan_lib.Plan,
    strategy: tf.distribute.Strategy,
    clock: reporting.Clock,
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
    stages.freeze(model, config.trainable)
    self._schedule = optimizer_lib.make_schedule(
      config, total_steps=plan.total_steps, warmup_steps=plan.warmup_steps
    )
    self.optimizer = optimizer_lib.make_optimizer(
      config,
      self._schedule,
      variables=model.trainable_variables,
      shares=stages.learning_rates(model, config.layer_decay),
    )
    weights = named_weights(model)
    self._statistics = {
      name: variable
      for name, variable in weights.items()
      if not variable.trainable and not stages.is_frozen(name, config.trainable)
    }
    self.watch = self._make_watch()
    self.average = None
    if config.ema_decay is not None:
      self.average = ema.WeightAverage(
        weights,
        decay=config.ema_decay,
        dynamic_decay=config.ema_dynamic_decay,
        fixed={n for n in weights if stages.is_frozen(n, config.trainable)},
      )
    self.stage_norms = None
    if experiment.run.stage_norms:
      self.stage_norms = norms_lib.StageNorms(model.trainable_variables)
    self._inspector = watch_lib.Inspector(self._lasting_variables())
    self._metrics = objective.Metrics(experiment.train_data, name='train_data')
    self._gradient_norm = tf.keras.metrics.Mean('gradient_norm')
    # By this process.
    self._num_images = 0
    self._num_skipped = 0.0

  def _make_watch(self) -> watch_lib.Watch:
    experiment, config = self._experiment, self._experiment.optimizer
    trained = self.model.trainable_variables
    return watch_lib.Watch(
      statistics=self._statistics,
      trained=trained,
      batch_size=self._plan.batch_size,
      highest_rate=watch_lib.highest_rate(
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        epsilon=config.epsilon,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        dtype=trained[0].dtype.as_numpy_dtype,
      ),
      max_loss=experiment.run.max_loss,
    )

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

    Returns:
      Means over the steps that were sound (NaN if none was), 'bad_steps', the
      number of the others, and speeds.

    Raises:
      ValueError: If more images than `max_skipped` were left out.
    """
    self._metrics.reset_state()
    self._gradient_norm.reset_state()
    self.watch.start_loop()
    with self.clock.training(int(num_steps)):
      waited = self.train_loop(self._iterator, num_steps)
      # The loop is dispatched asynchronously; reading a result waits for it.
      results = self._metrics.results()
      results['gradient_norm'] = float(self._gradient_norm.result())
      self.clock.waited(float(waited))
    bad_steps = self.watch.found().count
    if bad_steps == int(num_steps):
      results = dict.fromkeys(results, math.nan)
    results['bad_steps'] = float(bad_steps)
    skipped = self._metrics.skipped
    results |= skipped.results()
    self._num_skipped += skipped.result()
    self._num_images += int(num_steps) * self._plan.batch_size
    skipped.check(
      count=self._num_skipped,
      # Early in a run the share of one image is large.
      seen=max(self._num_images, self._plan.num_train_examples),
    )
    results['learning_rate'] = float(
      self._schedule(self.optimizer.iterations - 1)
    )
    speeds = {
      'images_per_second': self.clock.images_per_second(),
      'images_per_second_per_core': self.clock.images_per_second_per_core(),
    }
    # None in the first loop.
    results |= {name: v for name, v in speeds.items() if v is not None}
    results['core_hours'] = self.clock.core_hours
    return results

  def go_back(self, restore: Callable[[], Any]):
    """Restores a checkpoint, but for the step and the core-hours of now.

    Data and learning rate follow from the step: they go on from here.

    Args:
      restore: Restores all that a checkpoint holds.
    """
    step = self.optimizer.iterations.numpy()
    with self.clock.kept():
      restore()
    self.optimizer.iterations.assign(step)

  def not_finite(self) -> list[str]:
    """Returns the names of the weights that hold what is not finite.

    Moments and averages are looked at, too: on the devices, and on all of them.
    """
    return self._inspector.not_finite()

  def _lasting_variables(self) -> dict[str, tf.Variable]:
    """Returns the floats that a checkpoint holds, by name."""
    variables = dict(named_weights(self.model))
    if self.average is not None:
      averages = self.average.averages
      variables |= {f'average of {n}': v for n, v in averages.items()}
    for variable in self.optimizer.variables():
      if variable.dtype.is_floating:
        variables[variable.name.removesuffix(':0')] = variable
    return variables

  @tf.function
  def train_loop(self, iterator, num_steps):
    """Runs `num_steps` steps on all replicas without Python.

    Returns:
      float64 []: seconds in which the loop waited for its batches, on the host
      that drives the devices. They are not waited for.
    """
    step = self.train_step
    if self._experiment.run.jit_compile:
      step = tf.function(step, jit_compile=True)
    waited = tf.zeros([], tf.float64)
    for _ in tf.range(num_steps):
      # Without it the loop's variables would get a name scope of their own.
      with tf.name_scope(''):
        start = tf.timestamp()
        with tf.control_dependencies([start]):
          batch = next(iterator)
        with tf.control_dependencies(
          tf.nest.flatten(batch, expand_composites=True)
        ):
          waited += tf.timestamp() - start
        self._strategy.run(step, args=(batch,))
    if self._strategy.num_replicas_in_sync > 1:
      self._strategy.run(
        lambda: ema.share_statistics(self._statistics.values())
      )
    return waited

  def train_step(self, batch: dict[str, tf.Tensor]):
    """Takes one step on one replica's share of a batch.

    Args:
      batch: As `pipeline.make_dataset` makes it for training: uint8 `image`
        [b, height, width, 3], int32 `label` [b, max_labels] padded with -1,
        int64 `index` [b], with mixup float32 `mixup_ratio` [b], and where
        images are left out float32 `skipped` [b].
    """
    config, variables = self._experiment, self.model.trainable_variables
    # Floats, smoothed rows of targets, mixtures; and what each image counts.
    images, targets = objective.device_half(config, batch, is_training=True)
    examples = {
      'image': images,
      'draw_keys': draw_keys(batch['index'], seed=config.run.seed),
      'targets': targets,
    }
    weight = self._metrics.skipped.update_state(batch)
    if weight is not None:
      examples['weight'] = weight
    class_weight = objective.example_weights(config.loss, targets)
    if class_weight is not None:
      examples['class_weight'] = class_weight
    # Forward pass, loss, gradients: of the batch, or of its parts in turn.
    statistics = self.watch.statistics()
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
    # Sum over replicas. If anything is not finite, `applies` is 0.0, and the
    # step changes nothing but its number.
    gradients, norms = optimizer_lib.reduce_gradients(gradients)
    if self.stage_norms is not None:
      self.stage_norms.observe(norms)
    step = self.optimizer.iterations
    applies = self.watch.judge(
      norms,
      losses=results['loss'],
      before=statistics,
      step=step,
      rate=self._schedule(step),
    )
    # Clip, AdamW: here the learning rate is applied, which follows
    # `schedules.WarmupSchedule`.
    optimizer_lib.update(
      self.optimizer,
      gradients,
      variables=variables,
      norm=norms[-1],
      clip_norm=config.optimizer.clip_norm,
      applies=applies,
    )
    if self.average is not None:
      self.average.update(step, applies=applies)
    self._update_metrics(
      batch, results, weight=weight, norm=norms[-1], applies=applies
    )

  def _gradients(self, examples: dict[str, tf.Tensor]):
    """Returns the gradients of a (micro)batch, its losses and its logits."""
    inputs = {name: examples[name] for name in ('image', 'draw_keys')}
    variables = self.model.trainable_variables
    # Where stages are frozen, nothing is kept for a backward pass that goes
    # below all that is trained.
    watches_all = self._experiment.optimizer.trainable is None
    with tf.GradientTape(watch_accessed_variables=watches_all) as tape:
      if not watches_all:
        tape.watch(variables)
      logits = self.model(inputs, training=True)
      per_example = objective.per_example_loss(
        self._experiment.loss, examples['targets'], logits=logits
      )
      if 'weight' in examples:
        per_example *= examples['weight']
      # The gradients of the microbatches and of the replicas are summed: each
      # divides by the whole batch.
      counted = per_example
      if 'class_weight' in examples:
        counted = per_example * examples['class_weight']
      loss = tf.reduce_sum(counted) / self._plan.batch_size
    gradients = tape.gradient(loss, variables)
    return gradients, {'loss': per_example, 'logits': logits}

  def _update_metrics(self, batch, results, *, weight, norm, applies):
    """Adds a step to the means, if it is sound."""
    self._metrics.update_state(
      batch['label'],
      results['logits'],
      losses=tf.math.multiply_no_nan(results['loss'], applies),
      weight=applies if weight is None else weight * applies,
    )
    self._gradient_norm.update_state(
      tf.math.multiply_no_nan(tf.cast(norm, tf.float32), applies),
      sample_weight=applies,
    )

  def _merges_in_forward_pass(self) -> bool:
    """Whether replicas meet within the network, by a merge call."""
    return (
      self._experiment.model.sync_batch_norm
      and self._strategy.num_replicas_in_sync > 1
      and not isinstance(self._strategy, tf.distribute.TPUStrategy)
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
