"""AdamW as the paper uses it. The one module that knows TensorFlow Addons.

TensorFlow Addons is at its end of life; what replaces it replaces this module.
"""

import dataclasses
import re
import warnings
from collections.abc import Sequence

import tensorflow as tf

from official_coatnet.training import schedules

with warnings.catch_warnings():
  # Its farewell, which would open every log. We know; see above.
  warnings.simplefilter('ignore')
  import tensorflow_addons as tfa

# What weight decay shrinks. Norms, biases and relative-bias tables are left
# out, as in Google's own ImageNet recipes.
_DECAYED = re.compile(r'(^|/)(depthwise_)?kernel(:\d+)?$')


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
    ema_decay: Decay of the moving average of the weights, or None for none.
    ema_dynamic_decay: Whether a young average decays faster.
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
  ema_decay: float | None = None
  ema_dynamic_decay: bool = True

  def __post_init__(self):
    if self.peak_learning_rate <= 0:
      raise ValueError(
        f'`peak_learning_rate` is {self.peak_learning_rate}; it must be '
        'positive.'
      )
    if self.decay not in schedules.DECAYS:
      raise ValueError(
        f'`decay` is {self.decay!r}; it must be one of {schedules.DECAYS}.'
      )
    if self.clip_norm is not None and self.clip_norm <= 0:
      raise ValueError(
        f'`clip_norm` is {self.clip_norm}; it must be positive, or None.'
      )
    # Not by isinstance: True is an int, and no count.
    if type(self.microbatches) is not int or self.microbatches < 1:
      raise ValueError(
        f'`microbatches` is {self.microbatches!r}; it must be an integer of at '
        'least 1, and 1 for no gradient accumulation.'
      )
    if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
      raise ValueError(
        f'`ema_decay` is {self.ema_decay}; it must be in (0, 1), or None.'
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
) -> tf.keras.optimizers.legacy.Optimizer:
  """Returns AdamW whose decay follows the learning rate.

  The moments of `variables` are made at once, and not at the first step: a run
  that is resumed at its last step takes none, and TensorFlow would warn of all
  that it could not restore.

  `tfa.optimizers.AdamW` subtracts weight_decay x w, without the learning rate:
  its weight decay has to be scheduled to give Loshchilov and Hutter's (and
  Google's) learning_rate x rate x w.
  """
  optimizer = tfa.optimizers.AdamW(
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
  replica_context = tf.distribute.get_replica_context()
  gradients = replica_context.all_reduce(
    tf.distribute.ReduceOp.SUM, list(gradients)
  )
  norm = tf.linalg.global_norm(gradients)
  if clip_norm is not None:
    gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
  optimizer.apply_gradients(
    zip(gradients, variables),
    decay_var_list=_with_parts([v for v in variables if is_decayed(v)]),
    experimental_aggregate_gradients=False,
  )
  return norm


def _with_parts(variables: list[tf.Variable]) -> list[tf.Variable]:
  """Returns the variables and, of mirrored ones, those of each replica.

  A mirrored variable is updated replica by replica, and `tfa.optimizers.AdamW`
  asks of what it is given then whether it is in the list. With the mirrored
  variables alone it would decay nothing on several GPUs, and not say so.
  """
  strategy = tf.distribute.get_strategy()
  parts = []
  for variable in variables:
    parts += strategy.experimental_local_results(variable)
  return [*variables, *parts]
