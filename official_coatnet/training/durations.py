"""Where epochs become steps, and where "is it time" is decided."""


def to_steps(
  *,
  name: str,
  steps: int | None,
  epochs: float | None,
  num_examples: int,
  batch_size: int,
) -> int | None:
  """Returns a duration in steps.

  Args:
    name: What lasts so long; for the message.
    steps: In steps; wins where both are given.
    epochs: In passes over `num_examples`, rounded down to whole batches.
    num_examples: Examples of an epoch.
    batch_size: Examples of a step, over all replicas.

  Returns:
    The number of steps, or None if neither is given.

  Raises:
    ValueError: If the duration is negative, or epochs come to no whole step.
  """
  if steps is not None:
    if steps < 0:
      raise ValueError(f'`{name}` is {steps} steps; it must not be negative.')
    return int(steps)
  if epochs is None:
    return None
  result = int(epochs * num_examples) // batch_size
  if epochs < 0 or (epochs > 0 and result == 0):
    raise ValueError(
      f'`{name}` is {epochs} epochs of {num_examples} examples, which is '
      f'{result} steps of {batch_size}; give more epochs, a smaller batch '
      '(BATCH_SIZE) or the number of steps.'
    )
  return result


def is_time(step: int, *, every: int | None, last: int) -> bool:
  """Whether something done every so many steps, and at the end, is due."""
  if step >= last:
    return True
  return bool(every) and step % every == 0
