"""How a run hears that it is to end before its last step.

The library touches no signals. Who calls it hands a `Stop` down, and what takes
long asks it where it can be left: a run after each of its loops, an evaluation
and an export after each batch or part. There it raises a StoppedError.
"""

import enum


class Reason(enum.IntEnum):
  """Why a run is to end. Numbers that can be summed over many machines."""

  # The machine goes, and the run is to go on elsewhere or later.
  AGAIN = 1
  # A person wants it to end.
  END = 1 << 32


class StoppedError(Exception):
  """What ran has ended because it was asked to; nothing is half written.

  Attributes:
    reason: Why.
    step: At which step a run has ended, of which it has a checkpoint; None
      where nothing was to be saved.
  """

  def __init__(self, reason: Reason, step: int | None = None):
    """Takes the attributes."""
    where = '' if step is None else f' at step {step}, which is saved'
    super().__init__(f'stopped{where}')
    self.reason = reason
    self.step = step


class Stop:
  """Says whether what runs is to end. This one never does.

  Who hands down another one overrides `reason`, and may want to know from when
  on somebody asks: before `begin` and after `end` nobody does.
  """

  def reason(self) -> Reason | None:
    """Returns why to end here; None to go on."""
    return None

  def begin(self) -> None:
    """Says that from now on `reason` is asked often; may be said again."""

  def end(self) -> None:
    """Says that it is no longer asked."""

  def check(self) -> None:
    """Raises a StoppedError if there is a reason."""
    reason = self.reason()
    if reason is not None:
      raise StoppedError(reason)
