"""Tests of blocks: each against the reference, and what it refuses."""

import itertools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import blocks
from tests import reference
from tests.fixtures import weights

# Keras rounds 1 - momentum to float32 whatever the dtype; of 0.75 it need not.
BATCH_NORM = {'kind': 'batch_norm', 'momentum': 0.75, 'epsilon': 1e-2}
NORMS = {
  'batch_norm': {**BATCH_NORM, 'synchronized': False},
  'sync_batch_norm': {**BATCH_NORM, 'synchronized': True},
  'layer_norm': {'kind': 'layer_norm'},
}
DTYPES = ('float32', 'float64')
# Odd and unequal, so that SAME padding and a mix-up of the axes both show.
INPUT_SHAPE = (3, 9, 6, 8)


def images(shape=INPUT_SHAPE, *, seed=1):
  # Away from zero, so that zero padding is no value like any other.
  values = np.random.default_rng(seed).normal(0.5, 1.0, shape)
  return values.astype(np.float32)


class BlocksTest(parameterized.TestCase, tf.test.TestCase):
  def check(self, block, run, *, norm='batch_norm', shape=INPUT_SHAPE):
    """Compares `block` in both modes with `run`, of (reference, x)."""
    dtype = block.compute_dtype
    x = images(shape).astype(dtype)
    block(x)
    before = weights.randomize(block)
    for training in (False, True):
      ref = reference.Reference(
        {k: v.astype(np.float64) for k, v in before.items()},
        training=training,
        momentum=BATCH_NORM['momentum'],
        batch_norm_epsilon=BATCH_NORM['epsilon'],
        unbiased=norm == 'batch_norm' and dtype == 'float32',
      )
      expected = run(ref, x.astype(np.float64))
      actual = block(x, training=training)
      self.assertEqual(actual.dtype, dtype)
      self.assert_near(actual, expected, dtype=dtype)
      after = weights.by_name(block)
      changed = {k for k, v in before.items() if np.any(after[k] != v)}
      self.assertEqual(changed, set(ref.updates))
      for name, value in ref.updates.items():
        self.assert_near(after[name], value, dtype=dtype)
    if norm != 'layer_norm':
      self.assertNotEmpty(changed)

  def assert_near(self, actual, expected, *, dtype):
    self.assertEqual(actual.shape, expected.shape)
    error = np.max(np.abs(actual - expected))
    bound = 1e-9
    if dtype == 'float32':
      bound = 1e-5 * np.max(np.abs(expected))
    self.assertLessEqual(error, bound)

  @parameterized.parameters(
    *itertools.product(
      DTYPES, NORMS, [1, 2], ['expand_conv', 'depthwise'], [8, 12]
    )
  )
  def test_mbconv_is_the_reference(
    self, dtype, norm, stride, downsample, width
  ):
    block = blocks.MBConvBlock(
      width,
      stride=stride,
      downsample=downsample,
      norm=NORMS[norm],
      name='block',
      dtype=dtype,
    )
    self.check(
      block,
      lambda ref, x: ref.mbconv(
        x, 'block', stride=stride, downsample=downsample
      ),
      norm=norm,
    )

  @parameterized.parameters(
    *itertools.product(
      DTYPES, [1, 2], ['pre_softmax', 'post_softmax', 'none'], [8, 16]
    )
  )
  def test_transformer_is_the_reference(
    self, dtype, stride, relative_attention, width
  ):
    block = blocks.TransformerBlock(
      width,
      head_size=4,
      stride=stride,
      relative_attention=relative_attention,
      name='block',
      dtype=dtype,
    )
    self.check(
      block,
      lambda ref, x: ref.transformer(
        x, 'block', stride=stride, relative_attention=relative_attention
      ),
      norm='layer_norm',
    )

  @parameterized.parameters(*itertools.product(DTYPES, ['mbconv', 'tfm']))
  def test_average_pooling_is_the_reference(self, dtype, kind):
    options = dict(stride=2, shortcut_pool='avg', name='block', dtype=dtype)
    if kind == 'mbconv':
      block = blocks.MBConvBlock(12, norm=NORMS['batch_norm'], **options)
      run = reference.Reference.mbconv
    else:
      block = blocks.TransformerBlock(12, head_size=4, **options)
      run = reference.Reference.transformer
    self.check(
      block,
      lambda ref, x: run(ref, x, 'block', stride=2, shortcut_pool='avg'),
      norm='batch_norm' if kind == 'mbconv' else 'layer_norm',
    )

  def test_gather_gives_the_output_of_einsum(self):
    outputs = []
    for lookup in ('einsum', 'gather'):
      block = blocks.TransformerBlock(
        8, head_size=4, lookup=lookup, name='block'
      )
      block(images())
      weights.randomize(block)
      outputs.append(block(images()))
    self.assertAllEqual(*outputs)

  @parameterized.parameters((2, 1, 8), (3, 8, 24), (0.25, 2, 8))
  def test_expansion_and_se_ratio_are_of_the_output_width(
    self, ratio, se_hidden, expanded
  ):
    expansion = {2: 1, 3: 3, 0.25: 1}[ratio]
    se_ratio = {2: 0.01, 3: 1.0, 0.25: 0.25}[ratio]
    block = blocks.MBConvBlock(8, expansion=expansion, se_ratio=se_ratio)
    block(images((1, 4, 4, 6)))
    self.assertEqual(block.expand_conv.kernel.shape, [1, 1, 6, expanded])
    self.assertEqual(block.squeeze_excitation.hidden_size, se_hidden)

  def test_no_convolution_before_batch_norm_has_a_bias(self):
    for norm in ('batch_norm', 'layer_norm'):
      block = blocks.MBConvBlock(8, norm=NORMS[norm], name='block')
      block(images())
      names = weights.by_name(block)
      for conv in ('block/expand_conv', 'block/depthwise_conv'):
        self.assertEqual(f'{conv}/bias' in names, norm == 'layer_norm')
      self.assertIn('block/project_conv/bias', names)

  def test_stochastic_depth_drops_each_residual_branch_alone(self):
    x = images((64, 4, 4, 8))
    keys = tf.range(64)
    conv = blocks.MBConvBlock(8, drop_rate=0.5, salt=3)
    conv(x)
    weights.randomize(conv)
    # Inference statistics: those of the batch would tie the images together.
    conv.drop.rate = 0.0
    whole = conv(x, draw_keys=keys)
    conv.drop.rate = 0.5
    dropped = self._dropped(conv.drop, keys)
    self.assertBetween(dropped.sum(), 16, 48)
    actual = x + conv.drop(whole - x, draw_keys=keys, training=True)
    self.assertAllClose(actual[dropped], x[dropped], rtol=0, atol=0)
    self.assertAllClose(
      actual[~dropped], (x + 2 * (whole - x))[~dropped], atol=1e-5
    )

  def test_transformer_draws_apart_for_attention_and_ffn(self):
    x = images((64, 3, 3, 8))
    keys = tf.range(64)
    block = blocks.TransformerBlock(8, head_size=4, drop_rate=0.5, salt=7)
    block(x)
    weights.randomize(block)
    out = block(x, draw_keys=keys, training=True).numpy()
    no_attention = self._dropped(block.attention_drop, keys)
    no_ffn = self._dropped(block.ffn_drop, keys)
    self.assertAllEqual(np.all(out == x, axis=(1, 2, 3)), no_attention & no_ffn)
    # Each of the four cases occurs.
    for a, f in itertools.product([False, True], repeat=2):
      self.assertGreater(np.sum((no_attention == a) & (no_ffn == f)), 5)
    attended = x + 2 * block.attention(block.attention_norm(x)).numpy()
    only_attention = ~no_attention & no_ffn
    self.assertAllClose(
      out[only_attention], attended[only_attention], atol=1e-5
    )

  def _dropped(self, layer, keys):
    kept = layer(tf.ones([len(keys), 1]), draw_keys=keys, training=True)
    return kept.numpy()[:, 0] == 0

  @parameterized.parameters(0, 3)
  def test_stride_is_checked(self, stride):
    for block in (blocks.MBConvBlock, blocks.TransformerBlock):
      with self.assertRaisesRegex(ValueError, f'`stride` is {stride}; .*1 or'):
        block(8, stride=stride)

  def test_unknown_downsample_is_named_with_the_choices(self):
    with self.assertRaisesRegex(
      ValueError, "`downsample` is 'pool'; .*'expand_conv', 'depthwise'"
    ):
      blocks.MBConvBlock(8, downsample='pool')

  @parameterized.parameters(
    blocks.MBConvBlock(
      8,
      stride=2,
      expansion=2,
      shortcut_pool='avg',
      drop_rate=0.1,
      salt=5,
      kernel_stddev=0.1,
      downsample='depthwise',
      se_ratio=0.5,
      norm={'kind': 'layer_norm'},
    ),
    blocks.TransformerBlock(
      8,
      stride=2,
      expansion=2,
      shortcut_pool='avg',
      drop_rate=0.1,
      salt=5,
      kernel_stddev=0.1,
      head_size=4,
      relative_attention='post_softmax',
      lookup='gather',
    ),
  )
  def test_config_round_trip(self, block):
    config = block.get_config()
    copy = type(block).from_config(config)
    self.assertEqual(copy.get_config(), config)
    x = images((2, 6, 5, 3))
    block(x)
    copy(x)
    copy.set_weights(block.get_weights())
    self.assertAllEqual(block(x), copy(x))


if __name__ == '__main__':
  tf.test.main()
