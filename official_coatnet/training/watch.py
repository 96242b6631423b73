"""The watch of a step: what is not finite changes nothing.

A step is sound if its loss, the norm of its gradient, its update and the
BatchNorm statistics of its forward pass are finite. One that is not is taken
with a learning rate of zero and decays of one: weights, moments and averages
keep their values, and the statistics get theirs back. Nothing branches, so that
the host is not asked, XLA fuses what there is to compute, and all strategies
can do it; what it costs are a few numbers, and copies of the statistics.

The step counts all the same: data and learning rate stay where they would be.

The update is watched by a bound (`highest_rate`), not by a pass over weights
and moments.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Of `Watch._counts`.
_COUNT, _IN_A_ROW, _LONGEST, _STEP, _GRADIENT, _STATISTIC = range(6)
_NONE = -1
# Below it the square of a gradient is lost in float32.
_SQUARE_VANISHES = 1e-18


@dataclasses.dataclass(frozen=True)
class Found:
  """What the watch has found in a loop.

  Attributes:
    count: Steps that were not sound, and changed nothing.
    in_a_row: The most of them in a row; the row may have begun before the loop.
    step: The first of them, counted from 1; 0 if there is none.
    loss: Mean loss of that step's batch.
    gradient_norm: Global norm of its gradient.
    variable: The first weight whose gradient is not finite, or the first
      BatchNorm statistic that is not; None if there is none.
  """

  count: int = 0
  in_a_row: int = 0
  step: int = 0
  loss: float = 0.0
  gradient_norm: float = 0.0
  variable: str | None = None


class Watch(tf.Module):
  """Judges steps on the device, and counts those that are not sound.

  All replicas come to one verdict: it is made of sums over them.
  """

  def __init__(
    self,
    *,
    statistics: Mapping[str, tf.Variable],
    trained: Sequence[tf.Variable],
    batch_size: int,
    highest_rate: float,
    max_loss: float | None = None,
  ):
    """Creates the counters. Call within the strategy's scope.

    Args:
      statistics: Name to what a forward pass moves: BatchNorm statistics.
      trained: The variables that gradients are of, in their order.
      batch_size: Images of a step, over all replicas.
      highest_rate: Learning rate above which an update might not be finite.
      max_loss: Mean loss of a batch above which a step is not sound, or None.
    """
    super().__init__(name='watch')
    self._strategy = tf.distribute.get_strategy()
    self._statistics = dict(statistics)
    self._names = [variable.name.removesuffix(':0') for variable in trained]
    self._batch_size = batch_size
    self._highest_rate = min(highest_rate, float(np.finfo(np.float32).max))
    self._max_loss = max_loss
    # int64, since a GPU keeps int32 on the host.
    self._counts = _counter([0, 0, 0, 0, _NONE, _NONE], tf.int64)
    # Loss and gradient norm of the first step that was not sound.
    self._values = _counter([0.0, 0.0], tf.float32)

  def start_loop(self):
    """Counts anew, but for the row that may go on."""
    in_a_row = int(self._local(self._counts)[0][_IN_A_ROW])
    self._counts.assign([0, in_a_row, 0, 0, _NONE, _NONE])

  def end_row(self):
    """Begins a new row with the next step."""
    self._counts.assign([0, 0, 0, 0, _NONE, _NONE])

  def statistics(self) -> list[tf.Tensor]:
    """Returns what the forward pass is about to move. In replica context."""
    return [tf.identity(variable) for variable in self._statistics.values()]

  def judge(
    self,
    norms: tf.Tensor,
    *,
    losses: tf.Tensor,
    before: list[tf.Tensor],
    step: tf.Tensor,
    rate: tf.Tensor,
  ) -> tf.Tensor:
    """Judges a step, counts it, and puts statistics back. In replica context.

    Args:
      norms: Of the gradients summed over replicas: half of the square of each
        variable's, and last the global norm, [variables + 1].
      losses: float32 [batch] of this replica's examples.
      before: From `statistics`, before the forward pass.
      step: int64 [], steps before this one.
      rate: float32 [], its learning rate.

    Returns:
      float32 [], 1.0 for a step that is sound, and 0.0 for one that is to
      change nothing.
    """
    after = [tf.identity(variable) for variable in self._statistics.values()]
    flat = tf.concat([tf.reshape(x, [-1]) for x in after] or [[0.0]], axis=0)
    # A sum is not finite where a part is not.
    seen = tf.stack(
      [
        tf.reduce_sum(losses) / self._batch_size,
        tf.cast(tf.reduce_sum(flat), tf.float32),
      ]
    )
    seen = tf.distribute.get_replica_context().all_reduce(
      tf.distribute.ReduceOp.SUM, seen
    )
    loss, norm = seen[0], tf.cast(norms[-1], tf.float32)
    # Comparisons with NaN are False.
    is_sound = (
      tf.reduce_all(tf.math.is_finite(seen))
      & tf.math.is_finite(norm)
      & (rate <= self._highest_rate)
    )
    if self._max_loss is not None:
      is_sound &= loss <= self._max_loss
    for variable, old, new in zip(self._statistics.values(), before, after):
      variable.assign(tf.where(is_sound, new, old))
    places = [_first_not_finite(norms[:-1]), _first_not_finite(flat)]
    self._count(is_sound, step=step, places=places, values=[loss, norm])
    return tf.cast(is_sound, tf.float32)

  def _count(self, is_sound, *, step, places, values):
    counts = tf.unstack(self._counts.read_value())
    bad = tf.cast(~is_sound, tf.int64)
    in_a_row = bad * (counts[_IN_A_ROW] + 1)
    is_first = ~is_sound & (counts[_COUNT] == 0)
    first = [tf.cast(step, tf.int64) + 1, *places]
    self._counts.assign(
      tf.stack(
        [
          counts[_COUNT] + bad,
          in_a_row,
          tf.maximum(counts[_LONGEST], in_a_row),
          *[tf.where(is_first, *pair) for pair in zip(first, counts[_STEP:])],
        ]
      )
    )
    self._values.assign(
      tf.where(is_first, tf.stack(values), self._values.read_value())
    )

  def found(self) -> Found:
    """Returns what was found since `start_loop`. On the host."""
    local = self._local(self._counts)
    counts = local[0]
    if not counts[_COUNT]:
      return Found()
    loss, norm = self._local(self._values)[0]
    return Found(
      count=int(counts[_COUNT]),
      in_a_row=int(counts[_LONGEST]),
      step=int(counts[_STEP]),
      loss=float(loss),
      gradient_norm=float(norm),
      variable=self._name_of(
        int(counts[_GRADIENT]),
        # Each replica has statistics of its own.
        max(int(each[_STATISTIC]) for each in local),
      ),
    )

  def _name_of(self, gradient: int, statistic: int) -> str | None:
    if gradient != _NONE:
      return self._names[gradient]
    if statistic == _NONE:
      return None
    for name, variable in self._statistics.items():
      statistic -= math.prod(variable.shape)
      if statistic < 0:
        return name
    return None

  def _local(self, variable: tf.Variable) -> list[np.ndarray]:
    parts = self._strategy.experimental_local_results(variable)
    return [part.numpy() for part in parts]


class Inspector:
  """Finds what is not finite, on the devices that have it."""

  def __init__(self, variables: Mapping[str, tf.Variable]):
    """Takes what it looks at. Call within the strategy's scope.

    Args:
      variables: Floats, by name.
    """
    self._strategy = tf.distribute.get_strategy()
    self._variables = dict(variables)

  def not_finite(self) -> list[str]:
    """Returns the names of those that hold what is not finite."""
    flags = self._flags().numpy()
    return [name for name, bad in zip(self._variables, flags) if bad]

  @tf.function
  def _flags(self) -> tf.Tensor:
    """Returns for each how many devices have it not finite; [variables]."""

    def flags():
      return tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM,
        tf.stack(
          [
            1.0 - tf.cast(tf.reduce_all(tf.math.is_finite(v)), tf.float32)
            for v in self._variables.values()
          ]
        ),
      )

    results = self._strategy.run(flags)
    return self._strategy.experimental_local_results(results)[0]


def highest_rate(
  *,
  beta_1: float,
  beta_2: float,
  epsilon: float,
  weight_decay: float,
  clip_norm: float | None,
  dtype: Any = np.float32,
) -> float:
  """Returns the learning rate up to which AdamW's update is finite for sure.

  The gradient g of a sound step has a finite norm, so that no part of it is
  above the root of the largest number, or above the clipping norm. The first
  moment m is a mean of gradients, and no larger. What Adam takes from a weight
  is rate x c x m / (sqrt(v) + epsilon), c being at most 1 / (1 - beta_1). With
  beta_1^2 < beta_2, Cauchy and Schwarz say besides that m is at most a multiple
  of sqrt(v). What is less than half the distance between the two largest
  numbers never takes a finite weight to infinity; and weight decay, with rate x
  weight_decay of at most one, makes it smaller.

  Args:
    beta_1: As in `OptimizerConfig`, likewise what follows.
    beta_2: See above.
    epsilon: See above.
    weight_decay: See above.
    clip_norm: See above.
    dtype: Of the weights.

  Returns:
    The rate; 0.0 where nothing is for sure, as with an epsilon of 0.
  """
  info = np.finfo(dtype)
  largest = float(info.max)
  # A quarter of the distance: there are roundings, too.
  room = 2.0 ** (int(info.maxexp) - 1 - info.nmant) / 4
  if epsilon <= 0 or not beta_1 < 1 or not beta_2 < 1:
    return 0.0
  most = (clip_norm or math.sqrt(largest)) / epsilon
  if beta_1**2 < beta_2:
    multiple = (1 - beta_1) / math.sqrt((1 - beta_2) * (1 - beta_1**2 / beta_2))
    most = min(most, 2 * multiple + _SQUARE_VANISHES / epsilon)
  rate = room * (1 - beta_1) / most
  return min(rate, 1 / weight_decay) if weight_decay > 0 else rate


def _counter(values: list, dtype: tf.DType) -> tf.Variable:
  """Returns a variable that each replica updates alike, without a merge."""
  return tf.Variable(
    values,
    trainable=False,
    dtype=dtype,
    synchronization=tf.VariableSynchronization.ON_READ,
    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
  )


def _first_not_finite(values: tf.Tensor) -> tf.Tensor:
  """Returns the place of the first that is not finite, or -1; int64 []."""
  bad = tf.cast(~tf.math.is_finite(values), tf.float32)
  place = tf.argmax(bad, output_type=tf.int64)
  none = tf.constant(_NONE, tf.int64)
  return tf.where(tf.reduce_max(bad) > 0, place, none)
