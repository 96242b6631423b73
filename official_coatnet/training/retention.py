"""Which checkpoints of a run are kept."""

import math
from collections.abc import Mapping


def choose(
  times: Mapping[int, float],
  latest: int,
  *,
  max_to_keep: int,
  every_steps: int | None = None,
  every_hours: float | None = None,
) -> list[int]:
  """Chooses which checkpoints of a run stay.

  It depends on what is there alone, so that a run that is started again goes on
  choosing as before.

  Args:
    times: When each was saved, in seconds, by step.
    latest: Step of the latest. Those of later steps are of a time that the run
      has gone back from, and the first to go.
    max_to_keep: So many of the last stay.
    every_steps: And the first at or after each multiple of so many steps.
    every_hours: And the first of all, and each that is so many hours younger
      than the one that stayed before.

  Returns:
    Their steps, the latest last.
  """
  past = sorted(step for step in times if step <= latest)
  future = sorted(step for step in times if step > latest)
  kept = set([*future, *past][-max_to_keep:])
  if every_steps is not None:
    reached = 0
    for step in past:
      if step // every_steps > reached:
        kept.add(step)
        reached = step // every_steps
  if every_hours is not None:
    last = -math.inf
    for step in past:
      if times[step] - last >= every_hours * 3600:
        kept.add(step)
        last = times[step]
  return sorted(kept, key=lambda step: (step <= latest, step))
