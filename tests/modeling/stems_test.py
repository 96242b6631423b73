"""Tests of stems: each against the reference, and what it refuses."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import stems
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


def images(shape):
  # Away from zero, so that zero padding is no value like any other.
  values = np.random.default_rng(1).normal(0.5, 1.0, shape)
  return values.astype(np.float32)


class StemsTest(parameterized.TestCase, tf.test.TestCase):
  def check(self, stem, run, *, shape, unbiased=False):
    """Compares `stem` in both modes with `run`, of (reference, x)."""
    dtype = stem.compute_dtype
    x = images(shape).astype(dtype)
    stem(x)
    before = weights.randomize(stem)
    for training in (False, True):
      ref = reference.Reference(
        {k: v.astype(np.float64) for k, v in before.items()},
        training=training,
        momentum=BATCH_NORM['momentum'],
        batch_norm_epsilon=BATCH_NORM['epsilon'],
        unbiased=unbiased,
      )
      expected = run(ref, x.astype(np.float64))
      self.assert_near(stem(x, training=training), expected, dtype=dtype)
      after = weights.by_name(stem)
      for name, old in before.items():
        if name in ref.updates:
          self.assert_near(after[name], ref.updates[name], dtype=dtype)
        else:
          self.assertAllEqual(after[name], old)
    return ref.updates

  def assert_near(self, actual, expected, *, dtype):
    self.assertEqual(actual.dtype, dtype)
    self.assertEqual(actual.shape, expected.shape)
    bound = 1e-9
    if dtype == 'float32':
      bound = 1e-5 * np.max(np.abs(expected))
    self.assertLessEqual(np.max(np.abs(actual - expected)), bound)

  @parameterized.product(
    dtype=DTYPES,
    norm=list(NORMS),
    shape=[(3, 33, 47, 3), (3, 32, 20, 3)],
    count=[1, 2, 3],
  )
  def test_stem_is_the_reference(self, dtype, norm, shape, count):
    updates = self.check(
      stems.Stem(8, blocks=count, norm=NORMS[norm], name='s0', dtype=dtype),
      lambda ref, x: ref.stem(x, blocks=count),
      shape=shape,
      # Of the fused kernel.
      unbiased=norm == 'batch_norm' and dtype == 'float32',
    )
    statistics = 0 if norm == 'layer_norm' else 2 * (count - 1)
    self.assertLen(updates, statistics)

  def test_no_convolution_before_batch_norm_has_a_bias(self):
    for norm in ('batch_norm', 'layer_norm'):
      stem = stems.Stem(8, norm=NORMS[norm], name='s0')
      stem(images((1, 8, 8, 3)))
      names = weights.by_name(stem)
      self.assertEqual('s0/conv0/bias' in names, norm == 'layer_norm')
      self.assertIn('s0/conv1/bias', names)

  def test_stem_needs_a_block(self):
    with self.assertRaisesRegex(ValueError, '`blocks` of the stem is 0'):
      stems.Stem(8, blocks=0)

  # Sides that 16 divides, and sides of which the padding is even and odd.
  @parameterized.product(
    dtype=DTYPES, shape=[(3, 32, 48, 3), (3, 30, 47, 3), (3, 16, 17, 3)]
  )
  def test_patches_are_the_reference(self, dtype, shape):
    updates = self.check(
      stems.PatchStem(8, name='s0', dtype=dtype),
      lambda ref, x: ref.conv(x, 's0/conv', stride=16),
      shape=shape,
    )
    self.assertEmpty(updates)

  def test_a_patch_is_seen_by_its_own_place_alone(self):
    stem = stems.PatchStem(8)
    x = images((1, 32, 48, 3))
    before = stem(x).numpy()
    x[:, 16:, 16:32] += 1.0
    changed = np.any(stem(x).numpy() != before, axis=-1)[0]
    self.assertAllEqual(changed, [[False] * 3, [False, True, False]])

  @parameterized.parameters(
    stems.Stem(8, blocks=3, norm={'kind': 'layer_norm'}, kernel_stddev=0.1),
    stems.PatchStem(8, patch_size=4, kernel_stddev=0.1),
  )
  def test_config_round_trip(self, stem):
    x = images((2, 16, 16, 3))
    stem(x)
    weights.randomize(stem)
    copy = type(stem).from_config(stem.get_config())
    self.assertEqual(copy.get_config(), stem.get_config())
    copy(x)
    copy.set_weights(stem.get_weights())
    self.assertAllEqual(copy(x), stem(x))


if __name__ == '__main__':
  tf.test.main()
