"""A run's training step as XLA modules, whole and in parts; and its inference.

The parts are made of what the trainer itself runs: its device half, the
network's layers, its losses, `optimizer.apply_gradients` and the moving
average. A block's part is its forward and backward pass, given its input and
the gradient of its output; the whole step is `Trainer.train_step`.

Both are of one replica: the sum of the gradients over replicas is not in them.
A part of inference is the same layers' forward pass.
"""

import dataclasses
from collections.abc import Callable, Collection

import tensorflow as tf

from official_coatnet.analysis.tpu import lowering
from official_coatnet.data import pipeline
from official_coatnet.modeling import network
from official_coatnet.training import (
  checkpoints,
  dry_run,
  ema,
  experiment as experiment_lib,
  objective,
  optimizer,
  plan,
  reporting,
  trainer,
)

# Images, or else steps, for runs that count epochs: they change constants only.
_EXAMPLES, _STEPS = 1_000_000, 2**15


@dataclasses.dataclass(frozen=True)
class Part:
  """Part of a training step, or of inference.

  Attributes:
    name: The first layer that it stands for, such as 's3_block1'.
    stage: 's0' and on, 'head' or 'optimizer'.
    count: How many times the step has it; of a block, in each microbatch.
    module: From `lowering.lower`.
  """

  name: str
  stage: str
  count: int
  module: bytes


def with_batch(
  experiment: experiment_lib.Experiment, batch_per_core: int
) -> experiment_lib.Experiment:
  """Returns the experiment as one core sees it."""
  # What a network built in the scope of a TPUStrategy is.
  form = experiment.model.implementation or 'tpu'
  return dataclasses.replace(
    experiment,
    model=dataclasses.replace(experiment.model, implementation=form),
    **{
      split: dataclasses.replace(
        getattr(experiment, split), batch_size=batch_per_core
      )
      for split in ('train_data', 'eval_data')
    },
  )


def lower_step(experiment: experiment_lib.Experiment) -> bytes:
  """Lowers `Trainer.train_step` as one core runs it.

  Args:
    experiment: From `with_batch`.

  Raises:
    ValueError: If the batch does not suit the experiment.
  """
  tf.keras.backend.clear_session()
  steps = _plan(experiment)
  with lowering.unallocated_variables():
    made = trainer.Trainer(
      experiment,
      network.classifier(experiment.model, draw_keys=True),
      plan=steps,
      strategy=tf.distribute.get_strategy(),
      clock=reporting.Clock(num_cores=1, batch_size=steps.batch_size),
    )
    return lowering.lower(made.train_step, batch_specs(experiment))


def lower_parts(
  experiment: experiment_lib.Experiment,
  *,
  stages: Collection[str] | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> list[Part]:
  """Lowers each distinct part of a training step once.

  Args:
    experiment: From `with_batch`.
    stages: The stages to lower, without their update; None means all, and the
      optimizer.
    progress: Called with how many parts are lowered, of how many.

  Returns:
    The parts in the network's order, and after them the optimizer's, one for
    the variables of each.

  Raises:
    ValueError: If the batch does not suit.
  """
  tf.keras.backend.clear_session()
  _plan(experiment)
  groups = [
    group
    for group in lowering.layer_groups(experiment)
    if stages is None or group.stage in stages
  ]
  rounds, micro = experiment.optimizer.microbatches, _microbatch(experiment)
  forward, update = [], []
  for group in groups:
    model = lowering.copy_layers(
      group.layers, recompute=group.stage in experiment.model.rematerialize
    )
    lowered = lowering.lower(*_pass(micro, group.stage, model))
    forward.append(Part(group.name, group.stage, rounds * group.count, lowered))
    if stages is None:
      lowered = lowering.lower(*_update(experiment, model))
      update.append(
        Part(f'update of {group.name}', 'optimizer', group.count, lowered)
      )
    if progress is not None:
      progress(len(forward), len(groups))
  return forward + update


def lower_forward(
  experiment: experiment_lib.Experiment,
  *,
  cache_bias: bool,
  progress: Callable[[int, int], None] | None = None,
) -> list[Part]:
  """Lowers each distinct part of the forward pass at inference once.

  Args:
    experiment: From `with_batch`. Images are normalised already.
    cache_bias: Whether relative biases are looked up beforehand (appendix A.1).
    progress: Called with how many parts are lowered, of how many.

  Returns:
    The parts, in the network's order.
  """
  tf.keras.backend.clear_session()
  parts = []
  groups = lowering.layer_groups(experiment)
  for group in groups:
    model = lowering.copy_layers(group.layers)
    if cache_bias:
      with lowering.unallocated_variables():
        network.cache_relative_bias(model)
    parts.append(_lower_forward(experiment, group, model))
    if progress is not None:
      progress(len(parts), len(groups))
  return parts


def _lower_forward(experiment, group, model) -> Part:
  x = model.input['x']
  keys = {
    # Nothing is drawn at inference; the compiler drops them.
    name: tf.zeros([experiment.train_data.batch_size], tensor.dtype)
    for name, tensor in model.input.items()
    if name != 'x'
  }
  # The network's own images are in the policy's compute type.
  policy = tf.keras.mixed_precision.Policy(experiment.model.dtype)
  dtype = policy.compute_dtype if group.stage == 's0' else x.dtype
  spec = tf.TensorSpec([experiment.train_data.batch_size, *x.shape[1:]], dtype)
  module = lowering.lower(
    lambda values: model({'x': values, **keys}, training=False), spec
  )
  return Part(group.name, group.stage, group.count, module)


def batch_specs(
  experiment: experiment_lib.Experiment,
) -> dict[str, tf.TensorSpec]:
  """Returns what the input pipeline hands to one core."""
  shrunk = dry_run.shrink(experiment, num_replicas=1)
  dataset = pipeline.make_dataset(shrunk.train_data, seed=0, is_training=True)
  batch_size = experiment.train_data.batch_size
  return {
    name: tf.TensorSpec([batch_size, *spec.shape[1:]], spec.dtype, name=name)
    for name, spec in dataset.element_spec.items()
  }


def _microbatch(experiment) -> experiment_lib.Experiment:
  """Returns the experiment as the network sees it, a microbatch at a time."""
  data = experiment.train_data
  size = data.batch_size // experiment.optimizer.microbatches
  if size % 2:  # Pairs are mixed before the cut.
    data = dataclasses.replace(data, mixup_alpha=None)
  return with_batch(dataclasses.replace(experiment, train_data=data), size)


def _plan(experiment) -> plan.Plan:
  images = max(_EXAMPLES, _STEPS * experiment.train_data.batch_size)
  return plan.make_plan(
    experiment,
    num_replicas=1,
    num_train_examples=images,
    num_eval_examples=None,
  )


def _pass(experiment, stage: str, model: tf.keras.Model) -> tuple:
  """Returns the forward and backward pass of a part, and its arguments.

  What it returns it has to compute: the output, which the next part needs, and
  the gradients of the variables and, but for the image, of the input.
  """
  specs = {
    name: tf.TensorSpec(
      [experiment.train_data.batch_size, *tensor.shape[1:]], tensor.dtype
    )
    for name, tensor in model.input.items()
  }
  gradient = tf.TensorSpec(
    [experiment.train_data.batch_size, *model.output.shape[1:]],
    model.output.dtype,
  )
  if stage == 'head':
    return _head_pass(experiment, model), specs['x'], batch_specs(experiment)
  if stage == 's0':
    return _stem_pass(experiment, model), batch_specs(experiment), gradient

  def run(inputs, gradient):
    with tf.GradientTape() as tape:
      tape.watch(inputs['x'])
      output = model(inputs, training=True)
    sources = [inputs['x'], *model.trainable_variables]
    return output, tape.gradient(output, sources, output_gradients=gradient)

  return run, specs, gradient


def _stem_pass(experiment, model: tf.keras.Model) -> Callable:
  def run(batch, gradient):
    images, _ = objective.device_half(experiment, batch, is_training=True)
    with tf.GradientTape() as tape:
      output = model({'x': images}, training=True)
    return output, tape.gradient(
      output, model.trainable_variables, output_gradients=gradient
    )

  return run


def _head_pass(experiment, model: tf.keras.Model) -> Callable:
  top_k = objective.metric_names(experiment.train_data.schema)

  def run(x, batch):
    _, targets = objective.device_half(experiment, batch, is_training=True)
    with tf.GradientTape() as tape:
      tape.watch(x)
      logits = model({'x': x}, training=True)
      per_example = objective.per_example_loss(
        experiment.loss, targets, logits=logits
      )
      loss = tf.reduce_sum(per_example) / experiment.train_data.batch_size
    gradients = tape.gradient(loss, [x, *model.trainable_variables])
    measured = [
      objective.precision_at_k(batch['label'], logits, k=k)
      for k in top_k.values()
    ]
    return loss, gradients, measured

  return run


def _update(experiment, model: tf.keras.Model) -> tuple:
  """Returns the update of a part's variables, and its arguments.

  The clip is by the norm of these gradients alone, which costs the same.
  """
  config = experiment.optimizer
  steps = _plan(experiment)
  variables = model.trainable_variables
  average = None
  with lowering.unallocated_variables():
    made = optimizer.make_optimizer(
      config,
      optimizer.make_schedule(
        config, total_steps=steps.total_steps, warmup_steps=steps.warmup_steps
      ),
      variables=variables,
    )
    if config.ema_decay is not None:
      average = ema.WeightAverage(
        checkpoints.named_weights(model),
        decay=config.ema_decay,
        dynamic_decay=config.ema_dynamic_decay,
      )

  def run(gradients):
    norm = optimizer.apply_gradients(
      made, gradients, variables=variables, clip_norm=config.clip_norm
    )
    if average is not None:
      average.update(made.iterations)
    return norm

  return run, [tf.TensorSpec(v.shape, v.dtype) for v in variables]
