"""Exponential moving average of the weights, BatchNorm statistics included.

Model Garden's `ExponentialMovingAverage` would be the part to use. It is not,
for four reasons seen in its 2.15.0 code: it averages trainable weights only
unless told otherwise, and then takes the BatchNorm statistics of replica 0
alone; it starts from zeros, so that early averages are too small; it swaps by
adding and subtracting, which changes the weights in their last bits at every
evaluation; and its `apply_gradients` cannot be told that gradients are already
reduced.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping

import tensorflow as tf
from official.modeling.optimization import ema_optimizer


class WeightAverage(tf.Module):
  """Averages of named variables.

  Attributes:
    averages: Name to average, in the order and shape of the variables. Mirrored
      over the replicas.
  """

  def __init__(
    self,
    variables: Mapping[str, tf.Variable],
    *,
    decay: float,
    dynamic_decay: bool = True,
    fixed: Collection[str] = (),
  ):
    """Creates the averages, equal to the variables. Call within the strategy.

    Args:
      variables: Name to variable: all that the network's output depends on.
      decay: Weight of the old average in an update (Table 10: 0.9999).
      dynamic_decay: Whether the decay of update n is at most (1 + n) / (10 +
        n), so that a young average is not dominated by its first value.
      fixed: Names of variables that are not trained: their averages stay as
        `reset` leaves them, without a rounding.

    Raises:
      ValueError: If the decay is not in (0, 1).
    """
    super().__init__(name='weight_average')
    if not 0.0 < decay < 1.0:
      raise ValueError(f'`ema_decay` is {decay}; it must be in (0, 1) or None.')
    self._decay = decay
    self._dynamic_decay = dynamic_decay
    self._variables = dict(variables)
    self._moving = {n: v for n, v in variables.items() if n not in fixed}
    self.averages = {
      name: tf.Variable(
        v, trainable=False, name=f'average/{name}', dtype=v.dtype
      )
      for name, v in self._variables.items()
    }

  def reset(self):
    """Sets the averages to the variables. Call in cross-replica context."""
    for name, variable in self._variables.items():
      self.averages[name].assign(variable.read_value())

  def update(self, step: tf.Tensor, *, applies: tf.Tensor | None = None):
    """Moves the averages towards the variables. Call in replica context.

    Args:
      step: Number of updates of the weights so far, at least 1.
      applies: float32 [], from `Watch.judge`: with 0.0 the averages stay, with
        1.0 or None they move.
    """
    replica_context = tf.distribute.get_replica_context()
    values = []
    for variable in self._moving.values():
      value = tf.convert_to_tensor(variable)
      if not variable.trainable:
        # BatchNorm statistics differ between replicas: average those first.
        # The copy has a device where the read of a variable has none, and the
        # reduction over several machines asks for it.
        value = tf.identity(value)
        value = replica_context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
      values.append(value)
    decay = tf.constant(self._decay, tf.float32)
    if self._dynamic_decay:
      step = tf.cast(step, tf.float32)
      decay = tf.minimum(decay, (1.0 + step) / (10.0 + step))
    if applies is not None:
      decay = tf.where(applies > 0, decay, 1.0)

    def assign(strategy, values, decay):
      for name, value in zip(self._moving, values):
        strategy.extended.update(
          self.averages[name], _move, args=(value, decay), group=False
        )

    ema_optimizer.maybe_merge_call(
      assign, tf.distribute.get_strategy(), values, decay
    )

  @contextlib.contextmanager
  def swapped(self, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Within this context the variables hold the averages.

    The values are exchanged, not recomputed: afterwards variables and averages
    are what they were, bit for bit, on each replica.
    """
    self._swap(strategy)
    try:
      yield
    finally:
      self._swap(strategy)

  def _swap(self, strategy):
    with strategy.scope():
      for name, variable in self._variables.items():
        strategy.extended.update(
          self.averages[name], _exchange, args=(variable,), group=False
        )


def share_statistics(variables: Collection[tf.Variable]):
  """Gives all replicas the mean of what is each one's own. In replica context.

  A checkpoint has these means. With them in all replicas, a run that is resumed
  goes on where one that was not stopped goes on, to the last bit.

  Args:
    variables: Of BatchNorm; those that all replicas have alike are left alone.
  """
  own = [
    v
    for v in variables
    if v.synchronization == tf.VariableSynchronization.ON_READ
  ]
  if not own:
    return
  context = tf.distribute.get_replica_context()
  values = [tf.identity(tf.convert_to_tensor(v)) for v in own]
  means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
  for variable, mean in zip(own, means):
    variable.assign(mean)


def _move(average, value, decay):
  # Not a number times zero is zero here: what stays, stays.
  average.assign_sub(
    tf.math.multiply_no_nan(average - value, 1.0 - tf.cast(decay, value.dtype))
  )


def _exchange(a, b):
  old = tf.identity(a)
  a.assign(b)
  b.assign(old)
