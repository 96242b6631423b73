"""Matrix products and what stands around them, with gradients for TPUs.

Attention. As `attention.RelativeAttention` writes it, softmax attention passes
about ten times over a tensor of [batch, heads, query, key] while training. Here
it is in pieces that XLA turns into one fusion each, six of them, with the
gradient of flash attention (Dao et al., 2022): no reduction over keys is left
in it, since sum(weights * d_weights) over the keys is sum(mixed * d_mixed) over
the channels of a head.

The keys come before the queries: a sum over keys is then an addition of rows,
where the other order sums within a row. The heads come before the batch, so
that the gradient of the bias is a sum over neighbours.

Squeeze-and-excitation and the projection behind it. As Keras writes them, these
pass eight times over the widest tensor of an MBConv block while training: the
mean, the gated product, its two gradients, the sums for the gate's gradient,
and those of the BatchNorm before it. Written as here, all but the last are
products that XLA computes its inputs within.
"""

import tensorflow as tf

from official_coatnet.modeling import layers

# Images whose means are one tile of the matrix unit.
_TILE = 128


def product(equation: str, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
  """An einsum with a result in float32 at least.

  A TPU multiplies float32 operands as bfloat16 at TensorFlow's default
  precision, which loses nothing where they are bfloat16; the casts cost nothing
  there, and the result is not rounded before it is used.
  """
  wide = layers.wide_dtype(x.dtype)
  return tf.einsum(equation, tf.cast(x, wide), tf.cast(y, wide))


@tf.custom_gradient
def convolve(x, kernel):
  """A SAME convolution without stride, its d(input) with a kernel of its own.

  d(input) is a convolution with the kernel turned around and its two channel
  axes swapped. XLA swaps them by a layout instead of moving anything, and such
  a kernel the matrix unit takes up to half as long again to work through. So it
  is moved, which is little, by a way that no layout stands for: as a matrix,
  whose rows are then reversed.

  Args:
    x: [batch, height, width, inputs].
    kernel: [rows, columns, inputs, outputs], rows and columns odd.

  Returns:
    [batch, height, width, outputs].
  """
  rows, columns, inputs, outputs = kernel.shape

  def gradient(d_result):
    # Reversing the rows of the matrix reverses outputs too: hence twice.
    turned = tf.transpose(tf.reverse(kernel, [3]), [0, 1, 3, 2])
    matrix = tf.reshape(turned, [rows * columns * outputs, inputs])
    turned = tf.reshape(
      tf.reverse(matrix, [0]), [rows, columns, outputs, inputs]
    )
    d_x = tf.nn.conv2d(d_result, turned, strides=1, padding='SAME')
    d_kernel = tf.raw_ops.Conv2DBackpropFilter(
      input=x,
      filter_sizes=kernel.shape,
      out_backprop=d_result,
      strides=[1] * 4,
      padding='SAME',
    )
    return d_x, d_kernel

  return tf.nn.conv2d(x, kernel, strides=1, padding='SAME'), gradient


@tf.custom_gradient
def project_to_heads(x, kernel):
  """Multiplies [batch, length, channels] by [channels, heads, head_size].

  The gradient treats the kernel as a matrix, and sums that of the kernel in
  float32 and casts it before the reshape. XLA would else merge the two, and lay
  the gradient of the result out by head, with a head's 32 channels padded to
  128.

  Args:
    x: [batch, length, channels].
    kernel: [channels, heads, head_size].

  Returns:
    [batch, heads, head_size, length], dtype of `x`.
  """
  channels, heads, head_size = kernel.shape

  def gradient(d_result):
    # [batch, heads, head_size, length] -> [batch, width, length]
    d_result = tf.reshape(d_result, [-1, heads * head_size, x.shape[1]])
    matrix = tf.reshape(kernel, [channels, heads * head_size])
    d_x = tf.einsum('bel,ce->blc', d_result, matrix)
    d_matrix = tf.cast(product('blc,bel->ce', x, d_result), kernel.dtype)
    return d_x, tf.reshape(d_matrix, kernel.shape)

  return tf.einsum('blc,cnd->bndl', x, kernel), gradient


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
  wide = layers.wide_dtype(dtype)
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
  mixed = product('bndk,nbkq->bndq', value_and_one, weights)
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
    d_weights = product('bndk,bndq->nbkq', value, d_mixed)
    d_logits = tf.cast(weights * (d_weights - _swap(delta)), dtype)
    d_value = product('bndq,nbkq->bndk', d_mixed, tf.cast(weights, dtype))
    d_query = product('bndk,nbkq->bndq', key, d_logits)
    d_key = product('bndq,nbkq->bndk', query, d_logits)
    gradients = [tf.cast(d, dtype) for d in (d_query, d_key, d_value)]
    if bias is not None:
      # Of the rounded gradient, so that it alone is kept.
      d_bias = tf.reduce_sum(tf.cast(d_logits, wide), axis=1)
      gradients.append(tf.cast(d_bias, bias.dtype))
    return gradients

  return mixed, gradient


@tf.custom_gradient
def spatial_mean(x):
  """The mean over height and width of [batch, height, width, channels].

  It is a product with ones where height, width and image agree: XLA computes
  the GELU before it within the product, and the matrix unit adds up, in float32
  at least. A batch that is larger than a tile of that unit, or of unknown size,
  is summed by the vector unit.

  The channels come first. Where a product is transposed, XLA swaps its
  operands, and does not compute the second one within the product.

  Args:
    x: [batch, height, width, channels].

  Returns:
    [channels, batch], dtype of `x`.
  """
  batch, height, width, _ = x.shape
  wide = layers.wide_dtype(x.dtype)
  positions = height * width
  if batch is None or batch > _TILE:
    total = tf.transpose(tf.reduce_sum(tf.cast(x, wide), axis=[1, 2]))
  else:
    # [batch, height, width, batch]
    same_image = tf.broadcast_to(
      tf.eye(batch, dtype=x.dtype)[:, tf.newaxis, tf.newaxis],
      [batch, height, width, batch],
    )
    total = product('nhwc,nhwm->cm', x, same_image)

  def gradient(d_mean):
    # [batch, 1, 1, channels]
    d_mean = tf.transpose(d_mean)[:, tf.newaxis, tf.newaxis]
    d_x = tf.cast(tf.cast(d_mean, wide) / positions, x.dtype)
    return tf.broadcast_to(d_x, tf.shape(x))

  return tf.cast(total / positions, x.dtype), gradient


@tf.custom_gradient
def gate_and_project(x, gate, kernel):
  """Multiplies `x` by `gate`, and then by a matrix.

  The gradient multiplies that of the result by the matrix twice: once for the
  gradient of the gate, of which only sums are kept, and once for that of `x`.
  One product would have to be stored until the gate's gradient is known.

  Args:
    x: [batch, height, width, channels].
    gate: [batch, 1, 1, channels].
    kernel: [1, 1, channels, width of the result].

  Returns:
    [batch, height, width, width of the result], dtype of `x`.
  """
  wide = layers.wide_dtype(x.dtype)
  result = tf.nn.conv2d(x * gate, kernel, strides=1, padding='SAME')

  def gradient(d_result):
    # [channels, width of the result]
    matrix = kernel[0, 0]
    d_kernel = product('nhwc,nhwo->co', x * gate, d_result)
    # By twice the matrix, and halved, which rounds nothing: XLA would make one
    # of two equal products.
    twice = product('nhwo,co->nhwc', d_result, matrix + matrix)
    d_gate = 0.5 * tf.reduce_sum(
      twice * tf.cast(x, wide), axis=[1, 2], keepdims=True
    )
    d_gated = product('nhwo,co->nhwc', d_result, matrix)
    d_x = tf.cast(d_gated * tf.cast(gate, wide), x.dtype)
    d_kernel = tf.cast(d_kernel, kernel.dtype)[tf.newaxis, tf.newaxis]
    return d_x, tf.cast(d_gate, gate.dtype), d_kernel

  return result, gradient
