"""The settings of AdamW, and the step it takes."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_coatnet import fields, kinds
from official_coatnet.training import adamw, schedules

# What weight decay shrinks. Norms, biases and relative-bias tables are left
# out, as in Google's own ImageNet recipes.
_DECAYED = re.compile(r'(^|/)(depthwise_)?kernel(:\d+)?$')


def _differ(names: tuple[str, ...]) -> bool:
  return len(set(names)) == len(names) > 0


@fields.rules(
  peak_learning_rate=kinds.Number('(0, inf)'),
  min_learning_rate=kinds.Number('[0, inf)'),
  decay=kinds.Choice(schedules.DECAYS),
  warmup_steps=kinds.Whole(0, none='for `warmup_epochs`'),
  warmup_epochs=kinds.Number('[0, inf)', none='for no warm-up'),
  weight_decay=kinds.Number('[0, inf)', fix='Use 0 for none.'),
  beta_1=kinds.Number('[0, 1)'),
  beta_2=kinds.Number('[0, 1)'),
  epsilon=kinds.Number('(0, inf)'),
  clip_norm=kinds.Number('(0, inf)', none='for no clipping'),
  microbatches=kinds.Whole(
    1, kinds.LARGEST_INT32, fix='Use 1 for no gradient accumulation.'
  ),
  trainable=kinds.Several(
    kinds.Text(),
    "a tuple of different stages, such as ('s4', 'head')",
    together=_differ,
    lone=True,
    none="or 'all' for all of them",
  ),
  layer_decay=kinds.Number('(0, 1]', none='for one learning rate'),
  ema_decay=kinds.Number('(0, 1)', none='for no average'),
  ema_dynamic_decay=kinds.Flag(),
)
@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW, its learning rate and what happens to the gradient (Table 10).

  Attributes:
    peak_learning_rate: Learning rate after the warm-up.
    min_learning_rate: Learning rate at the end of the decay.
    decay: 'cosine', 'linear' or 'constant'.
    warmup_steps: Steps of linear warm-up; wins over `warmup_epochs`.
    warmup_epochs: The same in epochs.
    weight_decay: Rate; each step a kernel w loses learning_rate x rate x w.
    beta_1: Decay of the first moment.
    beta_2: Decay of the second moment.
    epsilon: Added to the root of the second moment before its bias is
      corrected, as TensorFlow's Adam does.
    clip_norm: Largest global norm of the (all-reduced) gradient, or None.
    microbatches: Parts into which each core cuts its batch. They go through the
      network one after the other and their gradients are summed, so that a
      large batch needs the memory of a small one. The update equals that of the
      batch in one piece: masked examples, mixup, the draws of stochastic depth,
      clipping, EMA and metrics are those of the whole batch. BatchNorm is the
      exception: it takes its statistics from each microbatch alone, and moves
      its averages once a microbatch, `microbatches` times a step, so that its
      momentum is to be chosen for that.
    trainable: Stages that are trained, such as ('head',) or ('s4', 'head');
      None or 'all' for all of them. The others keep their values: no weight
      decay, no moments, BatchNorms that normalise as at inference, no part in
      the norm that is clipped. Stochastic depth acts in them all the same.
    layer_decay: What the learning rate (and with it the weight decay) of a
      block is multiplied by once for each block between it and the head, and
      once more: the head has the whole rate, the last block layer_decay times
      as much, the stem the least. In (0, 1], or None for one rate.
    ema_decay: Decay of the moving average of the weights, or None for none.
    ema_dynamic_decay: Whether a young average decays faster: update n by (1 +
      n) / (10 + n) at most, which reaches 0.9999 at n = 89,990.
  """

  peak_learning_rate: float
  min_learning_rate: float = 0.0
  decay: str = 'cosine'
  warmup_steps: int | None = None
  warmup_epochs: float | None = None
  weight_decay: float = 0.05
  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-6
  clip_norm: float | None = 1.0
  microbatches: int = 1
  trainable: tuple[str, ...] | None = None
  layer_decay: float | None = None
  ema_decay: float | None = None
  ema_dynamic_decay: bool = True

  def __post_init__(self) -> None:
    # Which stages there are, only the network says: `stages.check`.
    trainable: Any = self.trainable
    if trainable == 'all':
      object.__setattr__(self, 'trainable', None)
    fields.check(self)
    fields.require(
      self.min_learning_rate <= self.peak_learning_rate,
      'OptimizerConfig.min_learning_rate',
      value=self.min_learning_rate,
      rule='must be between 0 and the peak learning rate, '
      f'{self.peak_learning_rate}',
      fix='lower it',
    )


def is_decayed(variable: tf.Variable) -> bool:
  """Whether weight decay applies to the variable: to kernels alone."""
  return bool(_DECAYED.search(variable.name))


def make_schedule(
  config: OptimizerConfig, *, total_steps: int, warmup_steps: int
) -> schedules.WarmupSchedule:
  """Returns the learning rate by step."""
  return schedules.WarmupSchedule(
    config.peak_learning_rate,
    floor=config.min_learning_rate,
    warmup_steps=warmup_steps,
    total_steps=total_steps,
    decay=config.decay,
  )


def make_optimizer(
  config: OptimizerConfig,
  schedule: schedules.WarmupSchedule,
  *,
  variables: Sequence[tf.Variable] = (),
  shares: Mapping[str, float] | None = None,
) -> tf.keras.optimizers.legacy.Optimizer:
  """Returns AdamW whose decay follows the learning rate.

  The moments of `variables` are made at once, and not at the first step: a run
  that is resumed at its last step takes none, and TensorFlow would warn of all
  that it could not restore.

  `adamw.AdamW` subtracts weight_decay x w, without the learning rate: its
  weight decay has to be scheduled to give Loshchilov and Hutter's (and
  Google's) learning_rate x rate x w.

  Args:
    config: Its settings.
    schedule: The learning rate by step.
    variables: What it will update.
    shares: Name of a layer to its share of the learning rate, or None for all
      of it (`stages.learning_rates`).
  """
  make: Any = adamw.skipping(adamw.AdamW)
  if shares is not None:
    layerwise = adamw.skipping(adamw.LayerwiseAdamW)
    make = functools.partial(layerwise, shares=shares)
  optimizer = make(
    weight_decay=schedules.Scaled(schedule, config.weight_decay),
    learning_rate=schedule,
    beta_1=config.beta_1,
    beta_2=config.beta_2,
    epsilon=config.epsilon,
  )
  optimizer._create_all_weights(list(variables))
  return optimizer


def apply_gradients(
  optimizer: tf.keras.optimizers.legacy.Optimizer,
  gradients: list[tf.Tensor],
  *,
  variables: list[tf.Variable],
  clip_norm: float | None,
) -> tf.Tensor:
  """Reduces over replicas, clips by global norm, updates. In replica context.

  The order is explicit because libraries differ in it: clipped before the
  reduction, a norm of 1.0 would clip each replica's share instead.

  Args:
    optimizer: From `make_optimizer`.
    gradients: Of this replica's share of the loss, one a variable.
    variables: What to update.
    clip_norm: Largest global norm, or None.

  Returns:
    The global norm before clipping, float32 [].
  """
  gradients, norms = reduce_gradients(gradients)
  update(
    optimizer,
    gradients,
    variables=variables,
    norm=norms[-1],
    clip_norm=clip_norm,
  )
  return norms[-1]


def reduce_gradients(
  gradients: list[tf.Tensor],
) -> tuple[list[tf.Tensor], tf.Tensor]:
  """Sums gradients over replicas. In replica context.

  Returns:
    The sums; and their norms, [variables + 1]: half of the square of each
    one's, and last the global norm, as of `tf.linalg.global_norm`.
  """
  replica_context = tf.distribute.get_replica_context()
  gradients = replica_context.all_reduce(
    tf.distribute.ReduceOp.SUM, list(gradients)
  )
  halves = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])
  norm = tf.sqrt(tf.reduce_sum(halves) * 2.0)
  return gradients, tf.concat([halves, [norm]], axis=0)


def update(
  optimizer: tf.keras.optimizers.legacy.Optimizer,
  gradients: list[tf.Tensor],
  *,
  variables: list[tf.Variable],
  norm: tf.Tensor,
  clip_norm: float | None,
  applies: tf.Tensor | None = None,
) -> None:
  """Clips reduced gradients by global norm, and updates. In replica context.

  Args:
    optimizer: From `make_optimizer`.
    gradients: From `reduce_gradients`.
    variables: What to update.
    norm: The global norm of the gradients.
    clip_norm: Largest global norm, or None.
    applies: float32 [], from `Watch.judge`: with 0.0 nothing but the step
      changes, whatever the gradients are; None for 1.0.
  """
  scale = None
  if clip_norm is not None:
    # As tf.clip_by_global_norm has it.
    scale = clip_norm * tf.minimum(1.0 / norm, 1.0 / clip_norm)
  if applies is not None:
    applied = tf.cast(applies, norm.dtype)
    scale = applied if scale is None else tf.where(applied > 0, scale, 0.0)
  if scale is not None:
    # Zeros, where the scale is 0.0, even of what is not a number.
    gradients = [tf.math.multiply_no_nan(g, scale) for g in gradients]
  context = contextlib.nullcontext()
  if applies is not None:
    context = optimizer.applying(applies)
  with context:
    optimizer.apply_gradients(
      zip(gradients, variables),
      decay_var_list=_with_parts([v for v in variables if is_decayed(v)]),
      experimental_aggregate_gradients=False,
    )


def _with_parts(variables: list[tf.Variable]) -> list[tf.Variable]:
  """Returns the variables and, of mirrored ones, those of each replica.

  A mirrored variable is updated replica by replica, and `adamw.AdamW` asks of
  what it is given then whether it is in the list. With the mirrored variables
  alone it would decay nothing on several GPUs, and not say so.
  """
  strategy = tf.distribute.get_strategy()
  parts = []
  for variable in variables:
    parts += strategy.experimental_local_results(variable)
  return [*variables, *parts]
