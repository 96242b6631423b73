"""What the machines of a run decide alike.

To save is a common act of all of them, and so is to end: where one is told to,
all hear of it at the same step.
"""

import tensorflow as tf

from official_coatnet.training import stop as stop_lib


class Agreement:
  """Sums numbers over the machines of a run; alone, it returns them.

  To ask is a common act: all machines ask as often, in the same order.
  """

  def __init__(self, strategy: tf.distribute.Strategy):
    """Creates it.

    Args:
      strategy: Where the run is. Of a TPU, one program drives all hosts, and
        there is nobody to ask.
    """
    self._strategy = strategy
    self.is_alone = not isinstance(
      strategy, tf.distribute.MultiWorkerMirroredStrategy
    )

  def sum(self, value: int) -> int:
    """Returns the sum of a number, not negative, over all machines."""
    if self.is_alone:
      return value
    # Each replica of a machine adds the machine's number.
    total = int(self._sum(tf.constant(value, tf.int64)))
    return total // len(self._strategy.extended.worker_devices)

  @tf.function
  def _sum(self, value):
    values = self._strategy.run(tf.identity, args=(value,))
    return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

  def any(self, value: bool) -> bool:
    """Whether it is so on any machine."""
    return self.sum(int(value)) > 0

  def wait(self) -> None:
    """Waits until all machines are here."""
    self.sum(0)


class AgreedStop(stop_lib.Stop):
  """A `Stop` that holds for all machines if it does for one.

  Where one machine is to end for good, all are.
  """

  def __init__(self, stop: stop_lib.Stop, agreement: Agreement):
    """Takes the stop of this machine, and how it hears of the others'."""
    self._stop = stop
    self._agreement = agreement

  def begin(self) -> None:
    self._stop.begin()

  def end(self) -> None:
    self._stop.end()

  def reason(self) -> stop_lib.Reason | None:
    total = self._agreement.sum(int(self._stop.reason() or 0))
    for reason in sorted(stop_lib.Reason, reverse=True):
      if total >= reason:
        return reason
    return None
