"""The core of attention in few passes over the logits, for TPUs.

Written as in `attention.RelativeAttention`, softmax attention passes about ten
times over a tensor of [batch, heads, query, key] while training. Here it is in
pieces that XLA turns into one fusion each, six of them, with the gradient of
flash attention (Dao et al., 2022): no reduction over keys is left in it, since
sum(weights * d_weights) over the keys is sum(mixed * d_mixed) over the channels
of a head.

The keys come before the queries: a sum over keys is then an addition of rows,
where the other order sums within a row. The heads come before the batch, so
that the gradient of the bias is a sum over neighbours.
"""

import tensorflow as tf

from official_coatnet.modeling.implementations import tpu_ops


def attend(
  query: tf.Tensor,
  key: tf.Tensor,
  value: tf.Tensor,
  *,
  bias: tf.Tensor | None,
) -> tf.Tensor:
  """Mixes values by softmax(query x key + bias).

  Logits and their gradient are kept in the dtype of the query; products are
  summed, and the softmax is computed, in float32 at least. The weights are
  not divided by their sum: the mixed values are, of which there are fewer. The
  sum comes out of the same product, of weights and a value of ones.

  Args:
    query: [batch, heads, head_size, query], scaled.
    key: [batch, heads, head_size, key].
    value: [batch, heads, head_size, key].
    bias: [heads, key, query], or None.

  Returns:
    [batch, heads, head_size, query], dtype of `query`.
  """
  # A custom gradient is given tensors alone, and returns one for each.
  if bias is None:
    return _attend_without_bias(query, key, value)
  return _attend(query, key, value, bias)


@tf.custom_gradient
def _attend(query, key, value, bias):
  return _forward(query, key, value, bias=bias)


@tf.custom_gradient
def _attend_without_bias(query, key, value):
  mixed, gradient = _forward(query, key, value, bias=None)
  return mixed, lambda d_mixed: gradient(d_mixed)[:3]


def _swap(x: tf.Tensor) -> tf.Tensor:
  """[batch, heads, ...] from [heads, batch, ...], and back."""
  return tf.transpose(x, [1, 0, 2, 3])


def _forward(query, key, value, *, bias):
  dtype = query.dtype
  wide = tpu_ops.wide_dtype(dtype)
  # -> [heads, batch, key, query]
  logits = tf.einsum('bndk,bndq->nbkq', key, query)
  if bias is not None:
    # In their own dtype: XLA would store a bias that is cast, and the whole of
    # it is read again for each image.
    logits += tf.cast(bias, dtype)[:, tf.newaxis]
  # [heads, batch, 1, query]
  peak = tf.cast(tf.reduce_max(logits, axis=2, keepdims=True), wide)
  weights = tf.cast(tf.exp(tf.cast(logits, wide) - peak), dtype)
  # [batch, heads, head_size + 1, key]
  value_and_one = tf.concat([value, tf.ones_like(value[:, :, :1])], axis=2)
  # -> [batch, heads, head_size + 1, query]
  mixed = tpu_ops.product('bndk,nbkq->bndq', value_and_one, weights)
  mixed, total = mixed[:, :, :-1], mixed[:, :, -1:]
  mixed = tf.cast(mixed / total, dtype)
  log_total = peak + _swap(tf.math.log(total))

  def gradient(d_mixed):
    d_mixed = tf.cast(d_mixed, dtype)
    weights = tf.exp(tf.cast(logits, wide) - log_total)
    # [batch, heads, 1, query]
    delta = tf.reduce_sum(
      tf.cast(d_mixed, wide) * tf.cast(mixed, wide), axis=2, keepdims=True
    )
    # -> [heads, batch, key, query]
    d_weights = tpu_ops.product('bndk,bndq->nbkq', value, d_mixed)
    d_logits = tf.cast(weights * (d_weights - _swap(delta)), dtype)
    d_value = tpu_ops.product(
      'bndq,nbkq->bndk', d_mixed, tf.cast(weights, dtype)
    )
    d_query = tpu_ops.product('bndk,nbkq->bndq', key, d_logits)
    d_key = tpu_ops.product('bndq,nbkq->bndk', query, d_logits)
    gradients = [tf.cast(d, dtype) for d in (d_query, d_key, d_value)]
    if bias is not None:
      # Of the rounded gradient, so that it alone is kept.
      d_bias = tf.reduce_sum(tf.cast(d_logits, wide), axis=1)
      gradients.append(tf.cast(d_bias, bias.dtype))
    return gradients

  return mixed, gradient
