"""Names and layouts of the CoAtNets of keras-cv-attention-models ("kecam").

Version 1.4.3, coatnet/coatnet.py: Keras HDF5 files, whose arrays lie as here
but for query, key and value, which are one convolution, and the relative bias,
[heads, (2H-1)(2W-1)], query minus key, of square images alone.
"""

from collections.abc import Iterator

import numpy as np

from official_coatnet.modeling import config as config_lib
from official_coatnet.pretrained.conversion import SAME, Layout, Line

# [1, 1, in, out] -> [in, out]
_POINTWISE = Layout(lambda array, *, shape: array[0, 0], None)
# [heads * size, out] -> [heads, size, out]
_OUTPUT = Layout(lambda array, *, shape: array.reshape(shape), None)


def _part(index: int) -> Layout:
  """Query (0), key or value (2): [1, 1, in, 3 * width] -> [in, heads, size]."""

  def to_ours(array: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    part = np.split(array[0, 0], 3, axis=-1)[index]
    return part.reshape(part.shape[0], *shape[1:])

  return Layout(to_ours, None)


def _table_to_ours(array: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
  """[heads, (2H-1)(2H-1)] -> [heads, 2H-1, 2H-1] of the file's own grid."""
  del shape
  side = round(array.shape[1] ** 0.5)
  if side * side != array.shape[1]:
    raise ValueError(f'{array.shape[1]} relative offsets are of no square grid')
  return array.reshape(-1, side, side)


_TABLE = Layout(_table_to_ours, None)
_NORM = ('gamma', 'beta', 'moving_mean', 'moving_variance')

# Ours, theirs, layout; theirs is what follows `stack_<s>_block_<b>_`.
_CONVOLUTIONS: tuple[tuple[str, str, Layout], ...] = (
  ('shortcut_projection/kernel', 'shortcut_conv/kernel', SAME),
  ('expand_conv/kernel', 'expand_conv/kernel', SAME),
  (
    'depthwise_conv/depthwise_kernel',
    'MB_dw_conv/depthwise_kernel',
    SAME,
  ),
  ('squeeze_excitation/reduce/kernel', 'se_1_conv/kernel', SAME),
  ('squeeze_excitation/reduce/bias', 'se_1_conv/bias', SAME),
  ('squeeze_excitation/expand/kernel', 'se_2_conv/kernel', SAME),
  ('squeeze_excitation/expand/bias', 'se_2_conv/bias', SAME),
  ('project_conv/kernel', 'MB_pw_conv/kernel', SAME),
)
_CONVOLUTION_NORMS: tuple[tuple[str, str], ...] = (
  ('pre_norm', 'preact_bn'),
  ('expand_norm', 'expand_bn'),
  ('depthwise_norm', 'MB_dw_bn'),
)
_TRANSFORMER = (
  ('shortcut_projection/kernel', 'shortcut_conv/kernel', SAME),
  ('attention/query/kernel', 'mhsa_qkv_conv/kernel', _part(0)),
  ('attention/key/kernel', 'mhsa_qkv_conv/kernel', _part(1)),
  ('attention/value/kernel', 'mhsa_qkv_conv/kernel', _part(2)),
  (
    'attention/relative_bias',
    'mhsa_pos_emb/positional_embedding',
    _TABLE,
  ),
  ('attention/output/kernel', 'mhsa_output/kernel', _OUTPUT),
  ('ffn_expand/kernel', 'ffn_1_conv/kernel', _POINTWISE),
  ('ffn_project/kernel', 'ffn_2_conv/kernel', _POINTWISE),
)
_TRANSFORMER_NORMS = (
  ('attention_norm', 'preact_ln'),
  ('ffn_norm', 'ffn_preact_ln'),
)
# These networks have no biases in convolutions and attention: zero here.
_ZERO = (
  'shortcut_projection/bias',
  'project_conv/bias',
  'attention/query/bias',
  'attention/key/bias',
  'attention/value/bias',
  'attention/output/bias',
  'ffn_expand/bias',
  'ffn_project/bias',
)


def _norm_lines(ours: str, theirs: str) -> Iterator[Line]:
  for name in _NORM:
    yield Line(f'{ours}/{name}', (f'{theirs}/{name}',), SAME)


def _block_lines(ours: str, theirs: str, *, kind: str) -> Iterator[Line]:
  weights, norms = _CONVOLUTIONS, _CONVOLUTION_NORMS
  if kind == 'T':
    weights, norms = _TRANSFORMER, _TRANSFORMER_NORMS
  for own, their, layout in weights:
    yield Line(f'{ours}/{own}', (f'{theirs}{their}',), layout)
  for own, their in norms:
    yield from _norm_lines(f'{ours}/{own}', f'{theirs}{their}')
  for own in _ZERO:
    yield Line(f'{ours}/{own}', (f'{theirs}{own}',), SAME, optional=True)


def lines(config: config_lib.ModelConfig) -> list[Line]:
  """Returns the table for a network."""
  table = [
    Line('s0/conv0/kernel', ('stem_1_conv/kernel',), SAME),
    *_norm_lines('s0/norm0', 'stem_1_bn'),
    Line('s0/conv1/kernel', ('stem_2_conv/kernel',), SAME),
    Line('s0/conv1/bias', ('stem_2_conv/bias',), SAME, optional=True),
  ]
  for i, stage in enumerate(config.stages[1:], start=1):
    for j in range(config.blocks[i]):
      table += _block_lines(
        f's{i}_block{j}', f'stack_{i}_block_{j + 1}_', kind=stage.kind
      )
  return [
    *table,
    Line('logits/kernel', ('predictions/kernel',), SAME),
    Line('logits/bias', ('predictions/bias',), SAME),
  ]
