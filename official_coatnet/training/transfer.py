"""Starting a run from the weights of another: fine-tuning.

What changes between pre-training and fine-tuning is the image size, and with it
the relative-bias tables, and the classes, and with them the last layer. All
else must fit, or the run does not start.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from official_coatnet.training import checkpoints

_TABLE = '/relative_bias'
LAST_LAYER = ('logits/kernel', 'logits/bias')
HEAD = ('head_norm/', 'pre_logits/', 'logits/')


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of each weight.

  Attributes:
    prefix: The checkpoint.
    group: 'ema' or 'raw': which of its weights were taken.
    loaded: Names of the weights taken as they are.
    resized: Name, old and new shape of each relative-bias table resized.
    new: Names of the weights that keep their initial values: the last layer,
      where the classes differ.
    left_out: Names in the checkpoint that the network has no use for.
  """

  prefix: str
  group: str
  loaded: list[str]
  resized: list[tuple[str, tuple[int, ...], tuple[int, ...]]]
  new: list[str]
  left_out: list[str]

  def table(self) -> str:
    """Returns it as a table for people."""
    rows = [
      f'Weights from {self.prefix} ({self.group}):',
      f'  loaded    {len(self.loaded):5d}',
      f'  resized   {len(self.resized):5d}  {resized_text(self.resized)}',
      f'  new       {len(self.new):5d}  {", ".join(self.new)}',
      f'  left out  {len(self.left_out):5d}  {", ".join(self.left_out)}',
    ]
    return '\n'.join(row.rstrip() for row in rows)


def resized_text(
  resized: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]],
) -> str:
  """Returns 'relative-bias tables [27, 27] to [47, 47] (14), ...'.

  Args:
    resized: Name, old and new shape of each table; '' if there is none.
  """
  counts: dict[str, int] = {}
  for _, old, new in resized:
    key = f'{list(old[1:])} to {list(new[1:])}'
    counts[key] = counts.get(key, 0) + 1
  shown = ', '.join(f'{key} ({n})' for key, n in counts.items())
  return f'relative-bias tables {shown}' if shown else ''


def is_table(name: str) -> bool:
  """Whether a weight is a table of relative bias, which may be resized."""
  return name.endswith(_TABLE)


def resize_table(table: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Resizes a relative-bias table bilinearly (paper, appendix A.1).

  With half-pixel centres and no antialiasing, the reading of `tf.image.resize`.

  Args:
    table: [heads, 2H-1, 2W-1].
    shape: (heads, 2H'-1, 2W'-1).

  Returns:
    A table of that shape; the same values if the shape is the same.
  """
  if table.shape == tuple(shape):
    return table
  # [heads, 2H-1, 2W-1] -> [heads, 2H-1, 2W-1, 1], images of one channel.
  resized = tf.image.resize(
    tf.constant(table)[..., tf.newaxis], shape[1:], method='bilinear'
  )
  return tf.squeeze(resized, axis=-1).numpy()


def initialize(
  model: tf.keras.Model,
  path: str,
  *,
  weights: str | None = None,
  new_last_layer: bool = False,
) -> Outcome:
  """Sets the weights of a network from a checkpoint of a kindred one.

  Relative-bias tables are resized; the last layer stays as it is where the
  number of classes differs, and the checkpoint's head is left out where the
  network has none; everything else must be there in the same shape.

  Args:
    model: From `network.classifier` or `network.backbone`. Under a strategy,
      call within its scope.
    path: A model_dir or a checkpoint.
    weights: 'ema', 'raw', or None for EMA where there is one.
    new_last_layer: Whether the last layer stays as it is even where the number
      of classes agrees, because the classes or the loss are others.

  Returns:
    What became of each weight; also logged.

  Raises:
    ValueError: If something does not fit. Nothing is changed then.
    guard.NonFiniteWeightsError: If weights are not finite. Likewise.
  """
  stored = checkpoints.StoredWeights(path, weights=weights)
  variables = checkpoints.named_weights(model)
  outcome = _match(variables, stored, new_last_layer=new_last_layer)
  stored.check_finite(what='No network starts from')
  for name in outcome.loaded:
    variables[name].assign(stored.read(name))
  for name, _, shape in outcome.resized:
    variables[name].assign(resize_table(stored.read(name), shape))
  logging.info('%s', outcome.table())
  return outcome


def _match(
  variables, stored: checkpoints.StoredWeights, *, new_last_layer: bool
) -> Outcome:
  """Decides for each weight, or says all that does not fit."""
  outcome = Outcome(stored.prefix, stored.group, [], [], [], [])
  problems = []
  head_differs = new_last_layer or any(
    name in stored.shapes
    and stored.shapes[name] != tuple(variables[name].shape)
    for name in LAST_LAYER
    if name in variables
  )
  for name, variable in variables.items():
    shape, old = tuple(variable.shape), stored.shapes.get(name)
    if name in LAST_LAYER and (old is None or head_differs):
      outcome.new.append(name)
    elif old is None:
      problems.append(f'{name}: not in the checkpoint')
    elif old == shape:
      outcome.loaded.append(name)
    elif is_table(name) and old[0] == shape[0]:
      outcome.resized.append((name, old, shape))
    else:
      problems.append(
        f'{name}: {list(old)} in the checkpoint, {list(shape)} in the network'
      )
  has_head = any(name in variables for name in LAST_LAYER)
  for name in stored.shapes:
    if name in variables:
      continue
    if name.startswith(HEAD) and not has_head:
      outcome.left_out.append(name)
    else:
      problems.append(f'{name}: only in the checkpoint')
  if problems:
    raise ValueError(
      f'The checkpoint {stored.prefix!r} is not of the same network: '
      f'{checkpoints.shorten(problems)}\nFine-tuning may change the image size '
      'and the classes alone. Make `ModelConfig` what it was in that run '
      '(config.gin beside the checkpoint): name, layout, blocks, widths, '
      'head_size, norm, relative_attention, representation_size.'
    )
  return outcome
