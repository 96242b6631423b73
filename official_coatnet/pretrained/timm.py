"""Names and layouts of timm's CoAtNets (timm 1.0.31, timm/models/maxxvit.py).

timm keeps kernels as [out, in, height, width], query, key and value in one
array, head by head, and tables of relative bias as [(2H-1)(2W-1), heads], query
minus key, as here.
"""

from collections.abc import Iterator

import numpy as np

from official_coatnet.modeling import config as config_lib, families
from official_coatnet.pretrained.conversion import SAME, Layout, Line

# Counts of the batches that a BatchNorm has seen.
_IGNORED = '.num_batches_tracked'


def is_ignored(name: str) -> bool:
  """Whether a name carries nothing that a network here has."""
  return name.endswith(_IGNORED)


def _transposed(ours: tuple[int, ...], theirs: tuple[int, ...]) -> Layout:
  return Layout(
    lambda array, *, shape: np.transpose(array, ours),
    lambda array, into: np.transpose(array, theirs),
  )


# [out, in, height, width] <-> [height, width, in, out]
_CONV = _transposed((2, 3, 1, 0), (3, 2, 0, 1))
# [channels, 1, height, width] <-> [height, width, channels, 1]
_DEPTHWISE = _transposed((2, 3, 0, 1), (2, 3, 0, 1))
# [out, in, 1, 1] <-> [in, out]
_POINTWISE = Layout(
  lambda array, *, shape: array[:, :, 0, 0].T,
  lambda array, into: array.T[:, :, np.newaxis, np.newaxis],
)
# [out, in] <-> [in, out]
_DENSE = _transposed((1, 0), (1, 0))
# [out, heads * size, 1, 1] <-> [heads, size, out]
_OUTPUT = Layout(
  lambda array, *, shape: array[:, :, 0, 0].T.reshape(shape),
  lambda array, into: array.reshape(-1, array.shape[-1]).T[:, :, None, None],
)


def _part(index: int, *, is_kernel: bool) -> Layout:
  """Query (0), key or value (2) of the one array that has all three.

  It is [heads * 3 * size, in, 1, 1], or the bias [heads * 3 * size]; here it is
  [in, heads, size], or [heads, size].
  """

  def to_ours(array: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    heads, size = shape[-2:]
    # [heads * 3 * size, ...] -> [heads, 3, size, ...] -> [heads, size, ...]
    part = array.reshape(heads, 3, size, *array.shape[1:])[:, index]
    # [heads, size, in, 1, 1] -> [in, heads, size]
    return np.moveaxis(part[..., 0, 0], -1, 0) if is_kernel else part

  def to_theirs(array: np.ndarray, into: np.ndarray | None) -> np.ndarray:
    heads, size = array.shape[-2:]
    inner = (*array.shape[:-2], 1, 1) if is_kernel else ()
    if into is None:
      into = np.zeros((heads * 3 * size, *inner), array.dtype)
    part = np.moveaxis(array, 0, -1)[..., None, None] if is_kernel else array
    into.reshape(heads, 3, size, *inner)[:, index] = part
    return into

  return Layout(to_ours, to_theirs)


def _table_to_ours(array: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
  """[(2H-1)(2W-1), heads] -> [heads, 2H-1, 2W-1] of the file's own grid."""
  entries = array.shape[0]
  if entries == shape[1] * shape[2]:
    return array.T.reshape(array.shape[1], *shape[1:])
  side = round(entries**0.5)
  if side * side != entries:
    raise ValueError(
      f'{entries} relative offsets are of no square grid, and not of the '
      f"network's, {shape[1]} x {shape[2]}"
    )
  return array.T.reshape(array.shape[1], side, side)


# Of a BatchNorm behind a convolution that has a bias there, and none here.
_MEAN = Layout(lambda array, bias, *, shape: array - bias, None)
_TABLE = Layout(
  _table_to_ours, lambda array, into: array.reshape(array.shape[0], -1).T
)


def _evaluate_mlp(
  kernel1: np.ndarray,
  bias1: np.ndarray,
  kernel2: np.ndarray,
  bias2: np.ndarray,
  *,
  shape: tuple[int, ...],
) -> np.ndarray:
  """What an `rmlp` network computes for each offset, as a table.

  Args:
    kernel1: [hidden, 2].
    bias1: [hidden].
    kernel2: [heads, hidden].
    bias2: [heads].
    shape: (heads, 2H-1, 2W-1).

  Returns:
    The table: of sign(d) log(1 + |d|), along both axes, a linear layer, ReLU
    and a linear layer.
  """
  rows, columns = (
    np.sign(d) * np.log1p(np.abs(d))
    for d in (np.arange(side) - side // 2 for side in shape[1:])
  )
  # [2H-1, 2W-1, 2]
  offsets = np.stack(np.meshgrid(rows, columns, indexing='ij'), axis=-1)
  hidden = np.maximum(offsets @ kernel1.T + bias1, 0.0)
  # [2H-1, 2W-1, heads] -> [heads, 2H-1, 2W-1]
  table = np.moveaxis(hidden @ kernel2.T + bias2, -1, 0)
  return table.astype(kernel1.dtype)


_MLP = Layout(_evaluate_mlp, None, evaluates=True)
_MLP_NAMES = ('fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias')
_NORM = (
  ('gamma', 'weight'),
  ('beta', 'bias'),
  ('moving_mean', 'running_mean'),
  ('moving_variance', 'running_var'),
)
_QKV = ('query', 'key', 'value')

# Ours, theirs, layout; of one block, relative to it.
Row = tuple[str, str, Layout]
_CONVOLUTIONS: tuple[Row, ...] = (
  ('shortcut_projection/kernel', 'shortcut.expand.weight', _CONV),
  ('expand_conv/kernel', 'conv1_1x1.weight', _CONV),
  ('depthwise_conv/depthwise_kernel', 'conv2_kxk.weight', _DEPTHWISE),
  ('squeeze_excitation/reduce/kernel', '{se}.fc1.weight', _CONV),
  ('squeeze_excitation/reduce/bias', '{se}.fc1.bias', SAME),
  ('squeeze_excitation/expand/kernel', '{se}.fc2.weight', _CONV),
  ('squeeze_excitation/expand/bias', '{se}.fc2.bias', SAME),
  ('project_conv/kernel', 'conv3_1x1.weight', _CONV),
)
_CONVOLUTION_NORMS: tuple[tuple[str, str], ...] = (
  ('pre_norm', 'pre_norm'),
  ('expand_norm', 'norm1'),
  ('depthwise_norm', 'norm2'),
)
_TRANSFORMER = (
  ('shortcut_projection/kernel', 'shortcut.expand.weight', _CONV),
  ('attention/relative_bias', '{table}', _TABLE),
  ('attention/output/kernel', 'attn.proj.weight', _OUTPUT),
  ('attention/output/bias', 'attn.proj.bias', SAME),
  ('attention_scale/gamma', 'ls1.gamma', SAME),
  ('ffn_expand/kernel', 'mlp.fc1.weight', _POINTWISE),
  ('ffn_expand/bias', 'mlp.fc1.bias', SAME),
  ('ffn_project/kernel', 'mlp.fc2.weight', _POINTWISE),
  ('ffn_project/bias', 'mlp.fc2.bias', SAME),
  ('ffn_scale/gamma', 'ls2.gamma', SAME),
)
# Zero where timm's network has none.
_OPTIONAL_BIASES = (
  ('shortcut_projection/bias', 'shortcut.expand.bias'),
  ('project_conv/bias', 'conv3_1x1.bias'),
)


def _norm_lines(ours: str, theirs: str) -> Iterator[Line]:
  for own, their in _NORM:
    yield Line(f'{ours}/{own}', (f'{theirs}.{their}',), SAME)


def _stem_lines() -> Iterator[Line]:
  yield Line('s0/conv0/kernel', ('stem.conv1.weight',), _CONV)
  mean = 's0/norm0/moving_mean'
  yield Line(mean, ('stem.norm1.running_mean', 'stem.conv1.bias'), _MEAN)
  yield from _norm_lines('s0/norm0', 'stem.norm1')
  yield Line('s0/conv1/kernel', ('stem.conv2.weight',), _CONV)
  yield Line('s0/conv1/bias', ('stem.conv2.bias',), SAME, optional=True)


def _block_lines(
  ours: str, theirs: str, *, kind: str, strides: bool, family: families.Family
) -> Iterator[Line]:
  # Where a block has a stride, timm's first norm and its pooling are a pair.
  first_norm = 'norm1.norm' if strides else 'norm1'
  words = {
    'se': 'se_early' if family.se_before_norm else 'se',
    'table': 'attn.rel_pos.relative_position_bias_table',
  }
  weights, norms = _CONVOLUTIONS, _CONVOLUTION_NORMS
  if kind == 'T':
    weights = _TRANSFORMER
    norms = (('attention_norm', first_norm), ('ffn_norm', 'norm2'))
  for own, their, layout in weights:
    name = f'{theirs}.{their.format(**words)}'
    yield Line(f'{ours}/{own}', (name,), layout)
  for own, their in norms:
    yield from _norm_lines(f'{ours}/{own}', f'{theirs}.{their}')
  for own, their in _OPTIONAL_BIASES:
    yield Line(f'{ours}/{own}', (f'{theirs}.{their}',), SAME, optional=True)
  if kind == 'T':
    for index, name in enumerate(_QKV):
      for own, their, is_kernel in (
        ('kernel', 'weight', True),
        ('bias', 'bias', False),
      ):
        yield Line(
          f'{ours}/attention/{name}/{own}',
          (f'{theirs}.attn.qkv.{their}',),
          _part(index, is_kernel=is_kernel),
        )
    mlp = tuple(f'{theirs}.attn.rel_pos.mlp.{name}' for name in _MLP_NAMES)
    yield Line(f'{ours}/attention/relative_bias', mlp, _MLP)


def _head_lines(family: families.Family) -> Iterator[Line]:
  norm = 'head.norm' if family.head_norm == 'after' else 'norm'
  yield from _norm_lines('head_norm', norm)
  yield Line('pre_logits/kernel', ('head.pre_logits.fc.weight',), _DENSE)
  yield Line('pre_logits/bias', ('head.pre_logits.fc.bias',), SAME)
  yield Line('logits/kernel', ('head.fc.weight',), _DENSE)
  yield Line('logits/bias', ('head.fc.bias',), SAME)


def lines(config: config_lib.ModelConfig) -> list[Line]:
  """Returns the table for a network.

  Args:
    config: The network; its layout has a convolutional stem.
  """
  family = families.get_family(config.family)
  table = list(_stem_lines())
  for i, stage in enumerate(config.stages[1:], start=1):
    for j in range(config.blocks[i]):
      table += _block_lines(
        f's{i}_block{j}',
        f'stages.{i - 1}.blocks.{j}',
        kind=stage.kind,
        strides=j == 0,
        family=family,
      )
  return table + list(_head_lines(family))
