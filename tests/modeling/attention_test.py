"""Tests of attention."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import attention
from tests import reference
from tests.fixtures import weights


def random(shape, dtype='float32'):
  return np.random.default_rng(1).normal(size=shape).astype(dtype)


def make(width=12, *, shape=(2, 3, 5, 6), dtype='float32', **kwargs):
  """Returns a built layer of random weights, its input and its weights."""
  layer = attention.RelativeAttention(
    width, name='attention', dtype=dtype, **{'head_size': 4, **kwargs}
  )
  x = random(shape, layer.compute_dtype)
  layer(x)
  return layer, x, weights.randomize(layer)


def flat(x):
  # [batch, H, W, channels] -> [batch, H*W, channels]
  return x.reshape(len(x), -1, x.shape[-1])


class AttentionTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.product(
    relative_attention=attention.RELATIVE_ATTENTION,
    dtype=['float32', 'float64'],
    lookup=['einsum', 'gather'],
    head_size=[2, 3, 4],
  )
  def test_is_the_reference(self, relative_attention, dtype, lookup, head_size):
    layer, x, values = make(
      relative_attention=relative_attention,
      dtype=dtype,
      lookup=lookup,
      head_size=head_size,
    )
    values = {k: v.astype(np.float64) for k, v in values.items()}
    expected = reference.Reference(values).attention(
      x.astype(np.float64), 'attention', relative_attention=relative_attention
    )
    error = np.max(np.abs(layer(x) - expected))
    bound = 1e-9
    if dtype == 'float32':
      bound = 1e-5 * np.max(np.abs(expected))
    self.assertLessEqual(error, bound)

  def test_weights_and_bias_of_the_three_places(self):
    layers = {}
    for place in attention.RELATIVE_ATTENTION:
      layers[place], x, _ = make(relative_attention=place, dtype='float64')
      # The same projections in all three.
      for v in ('query', 'key'):
        values = getattr(layers['pre_softmax'], v).get_weights()
        getattr(layers[place], v).set_weights(values)
    none, pre, post = (
      layers[place].attention_weights(flat(x)).numpy()
      for place in ('none', 'pre_softmax', 'post_softmax')
    )
    self.assertEqual(none.shape, (2, 3, 15, 15))
    self.assertAllClose(none.sum(-1), np.ones([2, 3, 15]), rtol=1e-12)
    # y^pre of Eq. 3: the bias multiplies each weight by its exponential.
    scaled = none * np.exp(layers['pre_softmax'].bias())
    scaled /= scaled.sum(-1, keepdims=True)
    self.assertAllClose(pre, scaled, rtol=1e-9)
    # y^post: the bias is added to the weights, which then sum to what they may.
    self.assertAllClose(
      post, none + layers['post_softmax'].bias(), rtol=1e-9, atol=1e-12
    )
    self.assertGreater(np.max(np.abs(post - none)), 0.1)
    self.assertGreater(np.max(np.abs(pre - none)), 0.1)

  def test_tables_are_one_a_head_of_the_grid(self):
    layer, _, _ = make(12, head_size=3, shape=(1, 3, 5, 6))
    self.assertEqual(layer.num_heads, 4)
    self.assertEqual(layer.relative_bias.shape, [4, 5, 9])
    self.assertEqual(layer.bias().shape, [4, 15, 15])

  def test_without_relative_attention_there_is_no_table(self):
    layer, _, _ = make(relative_attention='none')
    self.assertNotIn('attention/relative_bias', weights.by_name(layer))
    self.assertLen(layer.trainable_variables, 8)

  def test_tables_are_shared_neither_by_heads_nor_by_layers(self):
    first, second = make()[0], make()[0]
    self.assertIsNot(first.relative_bias, second.relative_bias)
    # One query through one head's table only: other heads do not move.
    layer, x, _ = make(dtype='float64')
    before = layer.attention_weights(flat(x)).numpy()
    change = np.zeros(layer.relative_bias.shape)
    change[1] = np.random.default_rng(2).normal(size=change[1].shape)
    layer.relative_bias.assign_add(change)
    moved = np.abs(layer.attention_weights(flat(x)).numpy() - before)
    self.assertAllEqual(moved.max(axis=(0, 2, 3)) > 1e-6, [False, True, False])

  def test_scale_is_the_root_of_the_head_size(self):
    layer, x, _ = make(8, head_size=8, relative_attention='none')
    # With these, every logit is scale x head_size x 3 x 5 for the first key and
    # 0 for all others.
    for projection, bias in ((layer.query, 3.0), (layer.key, 0.0)):
      projection.kernel.assign(tf.zeros_like(projection.kernel))
      projection.bias.assign(tf.fill(projection.bias.shape, bias))
    layer.key.kernel.assign(tf.ones_like(layer.key.kernel))
    x = np.zeros([1, 2, 6])
    x[0, 0, 0] = 0.1
    ratio = layer.attention_weights(tf.constant(x, tf.float32)).numpy()
    logits = np.log(ratio[0, 0, 0, 0] / ratio[0, 0, 0, 1])
    self.assertAllClose(logits, 8**-0.5 * 8 * 3 * 0.1, rtol=1e-5)

  def test_bfloat16_keeps_table_logits_and_softmax_in_float32(self):
    layer, x, values = make(dtype='mixed_bfloat16')
    self.assertEqual(layer.relative_bias.dtype, tf.float32)
    self.assertEqual(layer.bias().dtype, tf.float32)
    self.assertEqual(layer.attention_weights(flat(x)).dtype, tf.float32)
    # The table is not rounded to bfloat16 on its way.
    self.assertAllEqual(
      layer.bias(),
      reference.relative_bias(
        values['attention/relative_bias'], height=3, width=5
      ),
    )
    out = layer(x)
    self.assertEqual(out.dtype, tf.bfloat16)
    layer32, _, _ = make()
    self.assertAllClose(out, layer32(x.astype('float32')), atol=0.05)

  def test_projections_start_from_different_values(self):
    layer = attention.RelativeAttention(8, head_size=4)
    layer(random([1, 2, 2, 8]))
    kernels = [
      layer.query.kernel,
      layer.key.kernel,
      layer.value.kernel,
      tf.reshape(layer.output_projection.kernel, [8, 2, 4]),
    ]
    for i, kernel in enumerate(kernels):
      for other in kernels[:i]:
        self.assertNotAllClose(kernel, other)

  def test_a_grid_that_is_not_static_is_refused(self):
    layer = attention.RelativeAttention(8, head_size=4, name='mine')
    for shape in ((None, None, 8), (7, None, 8), (None, 7, 8)):
      with self.assertRaisesRegex(
        ValueError, r"'mine'.*None.*height and width must be static.*fixed"
      ):
        layer(tf.keras.Input(shape))

  @parameterized.parameters(
    (dict(width=12, head_size=5), '`head_size` is 5, .*the width 12'),
    (
      dict(width=12, head_size=4, relative_attention='both'),
      "`relative_attention` is 'both'; .*'pre_softmax', 'post_softmax', 'none'",
    ),
    (
      dict(width=12, head_size=4, lookup='scatter'),
      "`lookup` is 'scatter'; .*'einsum', 'gather'",
    ),
  )
  def test_errors(self, kwargs, message):
    with self.assertRaisesRegex(ValueError, message):
      attention.RelativeAttention(kwargs.pop('width'), **kwargs)

  def test_config_round_trip(self):
    layer, x, _ = make(
      relative_attention='post_softmax', lookup='gather', kernel_stddev=0.5
    )
    copy = attention.RelativeAttention.from_config(layer.get_config())
    copy(x)
    copy.set_weights(layer.get_weights())
    self.assertEqual(copy.get_config(), layer.get_config())
    self.assertAllEqual(copy(x), layer(x))


if __name__ == '__main__':
  tf.test.main()
