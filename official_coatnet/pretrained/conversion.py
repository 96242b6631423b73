"""Weights of other packages under our names, and ours under theirs.

A format is a table, one line a weight: its name here, its name there, and how
the array is laid out there. `timm` and `kecam` have the tables; this module
applies them, in both directions, and accounts for every weight of either side.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from official_coatnet.training import transfer

Shape = tuple[int, ...]
_MAX_LISTED = 5


@dataclasses.dataclass(frozen=True)
class Layout:
  """How an array is laid out elsewhere.

  Attributes:
    to_ours: Maps the arrays there, and the shape that ours has, to ours.
    to_theirs: Maps ours, and the array there as far as others have filled it
      (or None), to the array there. None where there is no way back.
    evaluates: Whether it computes, and does not only arrange.
  """

  to_ours: Callable[..., np.ndarray]
  to_theirs: Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None
  evaluates: bool = False


# As it is here.
SAME = Layout(lambda array, *, shape: array, lambda array, into: array)


@dataclasses.dataclass(frozen=True)
class Line:
  """One line of a table. A weight may have several: the first that fits counts.

  Attributes:
    ours: Our name.
    theirs: Their name, or names, whose arrays the layout takes in this order.
    layout: How it is laid out there.
    optional: Whether it is zero here where they do not have it.
  """

  ours: str
  theirs: tuple[str, ...]
  layout: Layout
  optional: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
  """What became of each weight.

  Attributes:
    loaded: Our names of what was taken as it is.
    resized: Our name, shape in the file and shape here, of each relative-bias
      table that was resized.
    evaluated: Our names of the relative-bias tables that an MLP gave.
    zero: Our names of what the file does not have, and is zero.
    left_out: Their names of what is of no use here.
  """

  loaded: list[str] = dataclasses.field(default_factory=list)
  resized: list[tuple[str, Shape, Shape]] = dataclasses.field(
    default_factory=list
  )
  evaluated: list[str] = dataclasses.field(default_factory=list)
  zero: list[str] = dataclasses.field(default_factory=list)
  left_out: list[str] = dataclasses.field(default_factory=list)

  def table(self) -> str:
    """Returns it as a table for people."""
    rows = [
      ('loaded', len(self.loaded), ''),
      ('resized', len(self.resized), transfer.resized_text(self.resized)),
      ('evaluated', len(self.evaluated), _joined(self.evaluated)),
      ('zero', len(self.zero), _joined(self.zero)),
      ('left out', len(self.left_out), _joined(self.left_out)),
    ]
    return '\n'.join(
      f'  {name:9} {number:5d}  {text}'.rstrip() for name, number, text in rows
    )


def to_ours(
  state: Mapping[str, np.ndarray],
  shapes: Mapping[str, Shape],
  *,
  lines: Iterable[Line],
  ignored: Callable[[str], bool] = lambda name: False,
) -> tuple[dict[str, np.ndarray], Report]:
  """Arranges weights of another package for a network of this one.

  Args:
    state: Their arrays by name.
    shapes: Names and shapes of the network's weights.
    lines: The table.
    ignored: Which of their names carry nothing, such as counters.

  Returns:
    An array for each name of `shapes`, in its shape, and what became of each.

  Raises:
    ValueError: If a weight of either side has no counterpart, or another shape.
      All are named that do not fit, as far as there is space.
  """
  lines = list(lines)
  report = Report()
  problems: list[str] = []
  weights: dict[str, np.ndarray] = {}
  used: set[str] = set()
  for line in lines:
    if line.ours in weights or line.ours not in shapes:
      continue
    if all(name in state for name in line.theirs):
      used.update(line.theirs)
      weights[line.ours] = _arranged(
        line, state, shapes[line.ours], report=report, problems=problems
      )
  optional = {line.ours for line in lines if line.optional}
  for name, shape in shapes.items():
    if name in weights:
      continue
    if name in optional:
      weights[name] = np.zeros(shape, np.float32)
      report.zero.append(name)
    else:
      problems.append(f'{name}: not in the file')
  for name in state:
    if name in used:
      continue
    if ignored(name):
      report.left_out.append(name)
    else:
      problems.append(f'{name}: in the file, but of no use in this network')
  if problems:
    raise ValueError(_shorten(problems))
  return weights, report


def _arranged(
  line: Line,
  state: Mapping[str, np.ndarray],
  shape: Shape,
  *,
  report: Report,
  problems: list[str],
) -> np.ndarray:
  """Returns what a line makes of its arrays; notes how, or what is amiss."""
  arrays = [state[name] for name in line.theirs]
  try:
    array = line.layout.to_ours(*arrays, shape=shape)
  except (ValueError, IndexError) as error:
    problems.append(f'{line.theirs[0]}, {list(arrays[0].shape)}: {error}')
    return arrays[0]
  if array.shape == shape:
    noted = report.evaluated if line.layout.evaluates else report.loaded
    noted.append(line.ours)
  elif transfer.is_table(line.ours) and array.shape[0] == shape[0]:
    report.resized.append((line.ours, array.shape, shape))
    array = transfer.resize_table(array, shape)
  else:
    problems.append(
      f'{line.theirs[0]}: {list(array.shape)} in the file, {list(shape)} in '
      'the network'
    )
  return array


def to_theirs(
  weights: Mapping[str, np.ndarray], *, lines: Iterable[Line]
) -> dict[str, np.ndarray]:
  """Arranges our weights for another package.

  Args:
    weights: Our arrays by name.
    lines: The table; of several lines for a weight, the first with a way back.

  Returns:
    Their arrays by name.

  Raises:
    ValueError: If a weight has no line.
  """
  state: dict[str, np.ndarray] = {}
  done = set()
  for line in lines:
    back = line.layout.to_theirs
    if line.ours in done or line.ours not in weights or back is None:
      continue
    (name,) = line.theirs
    state[name] = back(weights[line.ours], state.get(name))
    done.add(line.ours)
  missing = sorted(set(weights) - done)
  if missing:
    raise ValueError(
      f'{_joined(missing)}: there is no such weight in the other package.'
    )
  return {name: np.ascontiguousarray(each) for name, each in state.items()}


def _joined(names: list[str]) -> str:
  more = len(names) - _MAX_LISTED
  shown = ', '.join(names[:_MAX_LISTED])
  return f'{shown}, and {more} more' if more > 0 else shown


def _shorten(problems: list[str]) -> str:
  more = len(problems) - _MAX_LISTED
  shown = ''.join(f'\n  {problem}' for problem in problems[:_MAX_LISTED])
  return f'{shown}\n  and {more} more' if more > 0 else shown
