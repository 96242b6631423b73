"""Multi-head attention with relative bias (paper, Eq. 3 and appendix A.1)."""

import math

import tensorflow as tf

from official_coatnet.modeling import implementations, layers, relative_bias

RELATIVE_ATTENTION = ('pre_softmax', 'post_softmax', 'none')
# Ends the names of the variables of `cache_bias`.
CACHE_SUFFIX = '_cache'


@tf.keras.utils.register_keras_serializable('official_coatnet')
class RelativeAttention(tf.keras.layers.Layer):
  """Self-attention over all positions of a grid, with a bias by offset.

  Each head owns a table of [2H-1, 2W-1] scalars; tables are shared neither
  between heads nor between layers. Query, key and value are projected to the
  output width, and the scale is head_size**-0.5. Logits, bias and softmax are
  in float32 at least, whatever the policy.

  Input [batch, H, W, channels], output [batch, H, W, output_width]. H and W
  must be static: the table depends on them.
  """

  def __init__(
    self,
    width: int,
    *,
    output_width: int | None = None,
    head_size: int = 32,
    relative_attention: str = 'pre_softmax',
    lookup: str = 'einsum',
    kernel_stddev: float = 0.02,
    implementation: implementations.Implementation = 'reference',
    **kwargs,
  ):
    """Creates the layer.

    Args:
      width: Channels of query, key and value, and of the output; the number of
        heads is width / head_size.
      output_width: Channels of the output, where they are others.
      head_size: Channels of one head (32 in Table 3, 64 in Table 11).
      relative_attention: Where the bias enters. 'pre_softmax' adds it to the
        logits (y^pre of Eq. 3, the paper's choice), 'post_softmax' to the
        weights (y^post), 'none' leaves it out (Table 6).
      lookup: How the table is read, one of `relative_bias.LOOKUPS`.
      kernel_stddev: Standard deviation of kernels and table at the start.
      implementation: Of `implementations.get`. 'tpu' computes the same in
        fewer passes, and looks the table up in its own way; with
        'post_softmax', and with a cached bias, it is the reference.
      **kwargs: Of `tf.keras.layers.Layer`.

    Raises:
      ValueError: If `head_size` does not divide `width`, or an option is
        unknown.
    """
    super().__init__(**kwargs)
    if width % head_size:
      raise ValueError(
        f'`head_size` is {head_size}, which does not divide the width {width}; '
        'choose a head size that does.'
      )
    if relative_attention not in RELATIVE_ATTENTION:
      raise ValueError(
        f'`relative_attention` is {relative_attention!r}; it must be one of '
        f'{RELATIVE_ATTENTION}.'
      )
    if lookup not in relative_bias.LOOKUPS:
      raise ValueError(
        f'`lookup` is {lookup!r}; it must be one of {relative_bias.LOOKUPS}.'
      )
    self.width = width
    self.output_width = output_width or width
    self.head_size = head_size
    self.num_heads = width // head_size
    self.relative_attention = relative_attention
    self.lookup = lookup
    self.kernel_stddev = kernel_stddev
    self.implementation = implementations.get(implementation)
    self.relative_bias_cache = None

  def build(self, input_shape):
    self.grid = tuple(input_shape[1:3])
    if None in self.grid:
      raise ValueError(
        f'Layer {self.name!r} got an input of shape {tuple(input_shape)}; '
        'height and width must be static, since the relative-bias table '
        'depends on them. Build the network with a fixed image size.'
      )

    def project(equation, output_shape, bias_axes, name):
      return tf.keras.layers.EinsumDense(
        equation,
        output_shape=output_shape,
        bias_axes=bias_axes,
        kernel_initializer=layers.kernel_initializer(self.kernel_stddev),
        name=name,
        dtype=self.dtype_policy,
      )

    heads = (None, self.num_heads, self.head_size)
    self.query = project('blc,cnd->blnd', heads, 'nd', 'query')
    self.key = project('blc,cnd->blnd', heads, 'nd', 'key')
    self.value = project('blc,cnd->blnd', heads, 'nd', 'value')
    self.output_projection = project(
      'blnd,ndc->blc', (None, self.output_width), 'c', 'output'
    )
    # Built here, since an implementation may use their variables alone.
    flat = tf.TensorShape([None, math.prod(self.grid), input_shape[-1]])
    for layer in (self.query, self.key, self.value):
      self._build_inner(layer, flat)
    self._build_inner(
      self.output_projection, flat[:2] + [self.num_heads, self.head_size]
    )
    if self.relative_attention != 'none':
      height, width = self.grid
      self.relative_bias = self.add_weight(
        'relative_bias',
        shape=relative_bias.table_shape(
          self.num_heads, height=height, width=width
        ),
        initializer=layers.kernel_initializer(self.kernel_stddev),
        dtype=layers.wide_dtype(self.compute_dtype),
        # Stays in float32 under a bfloat16 policy, as the logits do.
        experimental_autocast=False,
      )
    super().build(input_shape)

  def _build_inner(self, layer, shape):
    # Within the name scope that calling the layer would open.
    with tf.name_scope(layer.name):
      layer.build(shape)

  def bias(self, training: bool | None = None) -> tf.Tensor:
    """Returns the bias, [heads, H*W, H*W], in float32 at least.

    Args:
      training: While training, the table is looked up even if there is a cache.
    """
    if self.reads_cache(training):
      return self.relative_bias_cache
    height, width = self.grid
    return relative_bias.lookup(
      self.relative_bias, height=height, width=width, method=self.lookup
    )

  def reads_cache(self, training: bool | None) -> bool:
    """Whether the bias is the one that `cache_bias` has left."""
    return self.relative_bias_cache is not None and not training

  def cache_bias(self):
    """Looks the bias up once, for all inference that follows (appendix A.1).

    The cache is a non-trainable variable: as a constant it would be written
    into the graph of an export, which protobuf limits to 2 GB (CoAtNet-4 at 512
    needs 2.8 GB). It does not follow the table; call this again after loading
    weights.
    """
    if self.relative_attention == 'none':
      return
    bias = self.bias(training=True)
    if self.relative_bias_cache is None:
      name = self.relative_bias.name.removesuffix(':0') + CACHE_SUFFIX
      self.relative_bias_cache = tf.Variable(bias, trainable=False, name=name)
    else:
      self.relative_bias_cache.assign(bias)

  def attention_weights(
    self, x: tf.Tensor, *, training: bool | None = None
  ) -> tf.Tensor:
    """Returns [batch, heads, query, key], after any relative bias.

    In float32, or in float64 if `x` is.

    Args:
      x: [batch, H*W, channels].
      training: As in `bias`.
    """
    scale = self.head_size**-0.5
    # [batch, length, heads, head_size], twice -> [batch, heads, query, key]
    logits = tf.einsum('bqnd,bknd->bnqk', self.query(x) * scale, self.key(x))
    logits = tf.cast(logits, layers.wide_dtype(x.dtype))
    if self.relative_attention == 'pre_softmax':
      return tf.nn.softmax(logits + self.bias(training))
    if self.relative_attention == 'post_softmax':
      return tf.nn.softmax(logits) + self.bias(training)
    return tf.nn.softmax(logits)

  def attend(self, x: tf.Tensor, *, training: bool | None = None) -> tf.Tensor:
    """Returns [batch, H*W, output_width]: mixed values, projected.

    Args:
      x: [batch, H*W, channels].
      training: As in `bias`.
    """
    weights = self.attention_weights(x, training=training)
    weights = tf.cast(weights, x.dtype)
    # [batch, heads, query, key], [batch, key, heads, head_size]
    #   -> [batch, query, heads, head_size]
    mixed = tf.einsum('bnqk,bknd->bqnd', weights, self.value(x))
    return self.output_projection(mixed)

  def call(self, x, training=None):
    height, width = self.grid
    # [batch, H, W, channels] -> [batch, H*W, channels]
    x = tf.reshape(x, [-1, height * width, x.shape[-1]])
    x = self.implementation.attend(self, x, training=training)
    # [batch, H*W, output_width] -> [batch, H, W, output_width]
    return tf.reshape(x, [-1, height, width, self.output_width])

  def get_config(self):
    return {
      **super().get_config(),
      'width': self.width,
      'output_width': self.output_width,
      'head_size': self.head_size,
      'relative_attention': self.relative_attention,
      'lookup': self.lookup,
      'kernel_stddev': self.kernel_stddev,
      'implementation': self.implementation.name,
    }
