"""Looking up the relative bias of 2-D attention (paper, appendix A.1).

Each head of each attention layer owns a table P of [2H-1, 2W-1] scalars. The
bias between the query at (i, k) and the key at (j, l) of an H x W grid is

    P[i - j + H - 1, k - l + W - 1]

which is the paper's sign, query minus key. (Google's MaxViT code reads the
table with key minus query; flip both spatial axes to convert.)

The result is the same for every lookup. They differ in what the accelerator
has to do: `einsum` contracts with two constant one-hot tensors, one along each
axis, and is what the paper uses on TPU; `gather` reads memory, and is what the
paper recommends on GPU.
"""

import numpy as np
import tensorflow as tf

LOOKUPS = ('einsum', 'gather')
# The name scope that lets the counter of multiply-adds tell the look-up, which
# the paper caches at inference, from the attention proper.
SCOPE = 'relative_bias_lookup'
# The largest grid, 24 x 24, that `lookup_by_key` has its constant for: 64 MB.
_MAX_POSITIONS = 576


def table_shape(
  num_heads: int, *, height: int, width: int
) -> tuple[int, int, int]:
  """Returns [heads, 2H-1, 2W-1], the shape of the table of one layer."""
  return (num_heads, 2 * height - 1, 2 * width - 1)


def _one_hot_offsets(length: int) -> np.ndarray:
  """Returns float32 [query, key, 2 * length - 1]: 1 at query - key."""
  offsets = np.arange(length)[:, None] - np.arange(length)[None, :]
  # [query, key] -> [query, key, 2 * length - 1]
  return np.eye(2 * length - 1, dtype=np.float32)[offsets + length - 1]


def lookup_einsum(table: tf.Tensor, *, height: int, width: int) -> tf.Tensor:
  """Looks the bias up by two einsums, O(HW(H+W)) multiply-adds a head.

  On CPU and GPU the result is the table's own values, bit for bit: each sum has
  one non-zero term. A TPU multiplies float32 matrices in bfloat16 passes; at
  its default precision the values come out rounded to bfloat16, the gradient
  accumulates in float32.

  Args:
    table: [heads, 2H-1, 2W-1], any float dtype.
    height: H, rows of the grid of positions.
    width: W, columns of the grid of positions.

  Returns:
    [heads, H*W, H*W], query by key, dtype of `table`.
  """
  rows = tf.constant(_one_hot_offsets(height), table.dtype)
  columns = tf.constant(_one_hot_offsets(width), table.dtype)
  # [heads, 2H-1, 2W-1] -> [heads, query row, key row, 2W-1]
  bias = tf.einsum('nxy,ijx->nijy', table, rows)
  # -> [heads, query row, query column, key row, key column]
  bias = tf.einsum('nijy,kly->nikjl', bias, columns)
  # -> [heads, query, key]
  return tf.reshape(bias, [-1, height * width, height * width])


def lookup_gather(table: tf.Tensor, *, height: int, width: int) -> tf.Tensor:
  """Looks the bias up by one gather. Arguments and result as `lookup_einsum`.

  Where several tables entries are read many times the gradient is a scatter-add
  in float32, whose order of summation differs from that of `lookup_einsum`.
  """
  row, column = np.divmod(np.arange(height * width), width)
  row_offset = row[:, None] - row[None, :] + height - 1
  column_offset = column[:, None] - column[None, :] + width - 1
  # [query, key], an index into the flattened table.
  index = row_offset * (2 * width - 1) + column_offset
  # [heads, 2H-1, 2W-1] -> [heads, (2H-1) * (2W-1)]
  flat = tf.reshape(table, [-1, (2 * height - 1) * (2 * width - 1)])
  return tf.gather(flat, tf.constant(index, tf.int32), axis=1)


def _block_offsets(height: int, width: int) -> np.ndarray:
  """Returns float32 [H * (2W-1), W, H*W]: see `lookup_by_key`.

  1 where a query (i, k) and a key of column l read entry (i, k - l + W - 1) of
  H rows of the table.
  """
  # [2W-1, key column, query column]
  columns = _one_hot_offsets(width).transpose(2, 1, 0)
  rows = np.eye(height, dtype=np.float32)
  # [query row, 2W-1, key column, query row, query column]
  blocks = np.einsum('hi,ylk->hylik', rows, columns)
  return blocks.reshape(height * (2 * width - 1), width, height * width)


def lookup_by_key(table: tf.Tensor, *, height: int, width: int) -> tf.Tensor:
  """Looks the bias up in the order that the fused attention needs it in.

  The queries of a key in row j read the rows H-1-j to 2H-2-j of the table,
  whole: a slice. What is left, the columns, is one product with a constant
  one-hot matrix, whose result has all H*W queries side by side. The two einsums
  of `lookup_einsum` leave tensors whose last axis is W or H, which a TPU pads
  to 128; rearranging them costs ten times the look-up.

  The constant has H (2W-1) W H W entries: 1 M for a grid of 14 x 14, 16 M for
  24 x 24. For a larger grid this is `lookup_einsum`, transposed.

  Args:
    table: [heads, 2H-1, 2W-1], any float dtype.
    height: H, rows of the grid of positions.
    width: W, columns of the grid of positions.

  Returns:
    [heads, H*W, H*W], key by query, dtype of `table`.
  """
  with tf.name_scope(SCOPE):
    if height * width > _MAX_POSITIONS:
      bias = lookup_einsum(table, height=height, width=width)
      return tf.transpose(bias, [0, 2, 1])
    return _lookup_by_product(table, height=height, width=width)


def _lookup_by_product(table, *, height, width):
  columns = 2 * width - 1
  # [heads, 2H-1, 2W-1] -> [heads, (2H-1) * (2W-1)]
  flat = tf.reshape(table, [-1, (2 * height - 1) * columns])
  # [heads, key row, query row * (2W-1)]
  rows = tf.stack(
    [
      flat[:, first * columns : (first + height) * columns]
      for first in range(height - 1, -1, -1)
    ],
    axis=1,
  )
  # -> [heads, key row, key column, query]
  bias = tf.einsum(
    'njv,vlq->njlq',
    rows,
    tf.constant(_block_offsets(height, width), rows.dtype),
  )
  # -> [heads, key, query]
  return tf.reshape(bias, [-1, height * width, height * width])


def lookup(
  table: tf.Tensor, *, height: int, width: int, method: str = 'einsum'
) -> tf.Tensor:
  """Looks the bias up by the named method, one of `LOOKUPS`."""
  with tf.name_scope(SCOPE):
    if method == 'einsum':
      return lookup_einsum(table, height=height, width=width)
    if method == 'gather':
      return lookup_gather(table, height=height, width=width)
  raise ValueError(f'`lookup` is {method!r}; it must be one of {LOOKUPS}.')
