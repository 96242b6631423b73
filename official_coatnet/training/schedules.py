"""The learning rate by step, and the weight decay that follows it."""

import math
from typing import Any

import tensorflow as tf

DECAYS = ('cosine', 'linear', 'constant')


@tf.keras.utils.register_keras_serializable('official_coatnet')
class WarmupSchedule(tf.keras.optimizers.schedules.LearningRateSchedule):
  """Linear warm-up to a peak, then a decay to a floor.

  Step s of the warm-up (counted from 0) has peak x (s + 1) / warmup_steps. From
  there the rate goes to the floor, which it reaches at `total_steps`, along
  half a cosine, a line, or not at all.
  """

  def __init__(
    self,
    peak: float,
    *,
    total_steps: int,
    floor: float = 0.0,
    warmup_steps: int = 0,
    decay: str = 'cosine',
  ):
    """Creates the schedule.

    Args:
      peak: Highest learning rate.
      total_steps: Steps of the run.
      floor: Learning rate at the end.
      warmup_steps: Steps of the warm-up.
      decay: One of `DECAYS`.

    Raises:
      ValueError: If the warm-up is longer than the run, the floor above the
        peak, or the decay unknown.
    """
    super().__init__()
    if warmup_steps > total_steps:
      raise ValueError(
        f'`warmup_steps` is {warmup_steps}, more than the {total_steps} steps '
        'of the run; lower it (WARMUP_STEPS in a gin file).'
      )
    if not 0 <= floor <= peak:
      raise ValueError(
        f'`min_learning_rate` is {floor}; it must be between 0 and the peak '
        f'learning rate {peak}.'
      )
    if decay not in DECAYS:
      raise ValueError(f'`decay` is {decay!r}; it must be one of {DECAYS}.')
    self.peak = peak
    self.total_steps = total_steps
    self.floor = floor
    self.warmup_steps = warmup_steps
    self.decay = decay

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    step = tf.cast(step, tf.float32)
    warmup = self.peak * (step + 1.0) / max(1, self.warmup_steps)
    decay_steps = max(1, self.total_steps - self.warmup_steps)
    progress = tf.clip_by_value((step - self.warmup_steps) / decay_steps, 0, 1)
    if self.decay == 'cosine':
      remaining = 0.5 * (1.0 + tf.cos(math.pi * progress))
    elif self.decay == 'linear':
      remaining = 1.0 - progress
    else:
      remaining = tf.ones_like(progress)
    decayed = self.floor + (self.peak - self.floor) * remaining
    return tf.where(step < self.warmup_steps, warmup, decayed)

  def get_config(self) -> dict[str, Any]:
    return {
      'peak': self.peak,
      'total_steps': self.total_steps,
      'floor': self.floor,
      'warmup_steps': self.warmup_steps,
      'decay': self.decay,
    }


@tf.keras.utils.register_keras_serializable('official_coatnet')
class Scaled(tf.keras.optimizers.schedules.LearningRateSchedule):
  """Another schedule times a factor: the weight decay that follows the rate."""

  def __init__(
    self,
    schedule: tf.keras.optimizers.schedules.LearningRateSchedule,
    factor: float,
  ):
    super().__init__()
    self.schedule = schedule
    self.factor = factor

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    return self.factor * self.schedule(step)

  def get_config(self) -> dict[str, Any]:
    return {'schedule': self.schedule, 'factor': self.factor}
