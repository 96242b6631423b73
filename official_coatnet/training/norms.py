"""Norms by stage, for who wants to see where a network learns."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.modeling import complexity


class StageNorms(tf.Module):
  """Norms by stage: of gradients, weights, and how far weights have moved."""

  def __init__(self, variables: Sequence[tf.Variable]):
    """Creates it at zero. Call within the strategy's scope.

    Args:
      variables: Those that are trained, in the order of their gradients.
    """
    super().__init__(name='stage_norms')
    self._strategy = tf.distribute.get_strategy()
    self._variables = list(variables)
    self._halves = tf.Variable(
      tf.zeros([len(variables)]),
      trainable=False,
      synchronization=tf.VariableSynchronization.ON_READ,
      aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    self._before: list[np.ndarray] | None = None

  def observe(self, norms: tf.Tensor):
    """Keeps the norms of a step's gradients. In replica context.

    Args:
      norms: From `optimizer.reduce_gradients`.
    """
    self._halves.assign(tf.cast(norms[:-1], tf.float32))

  def results(self) -> Mapping[str, float]:
    """Returns 'gradient/s0' and so on; movement from the second call on."""
    # That of one replica; all of them are alike.
    halves = self._strategy.experimental_local_results(self._halves)[0]
    values = [variable.numpy() for variable in self._variables]
    squares = {
      'gradient': [2 * half for half in halves.numpy()],
      'weight': [np.sum(np.square(v, dtype=np.float64)) for v in values],
    }
    if self._before is not None:
      squares['moved'] = [
        np.sum(np.square(a - b, dtype=np.float64))
        for a, b in zip(values, self._before)
      ]
    self._before = values
    found: dict[str, float] = {}
    for kind, of_variables in squares.items():
      for variable, square in zip(self._variables, of_variables):
        name = f'{kind}/{complexity.stage_of(variable.name)}'
        found[name] = found.get(name, 0.0) + float(square)
    return {name: float(np.sqrt(value)) for name, value in found.items()}
