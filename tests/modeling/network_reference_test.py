"""Tests of network: whole networks against the reference in NumPy."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import config, network
from tests import reference
from tests.fixtures import weights

# What differs from the paper's network. All of them are on odd, oblong images;
# S3 is 3x3 and S4 is 2x2 for 33x47, so that no stage is without neighbours.
VARIANTS = {
  'paper': {},
  'blocks': dict(blocks=(2, 1, 2, 2, 2)),
  'C-C-C-C': dict(layout='C-C-C-C', downsample='depthwise'),
  'C-C-C-T': dict(layout='C-C-C-T', shortcut_pool='avg'),
  'C-T-T-T': dict(layout='C-T-T-T', relative_attention='post_softmax'),
  'depthwise': dict(downsample='depthwise', relative_attention='none'),
  'layer_norm': dict(norm='layer_norm', image_size=(64, 96)),
  'plain_head': dict(representation_size=None, head_size=8, lookup='gather'),
}
# Of the reference's `stages`.
OPTIONS = (
  'blocks', 'layout', 'downsample', 'shortcut_pool', 'relative_attention'
)  # fmt: skip
MOMENTUM = 0.75


def make(dtype, **kwargs):
  kwargs = {'image_size': (33, 47), 'num_classes': 7, **kwargs}
  return config.ModelConfig(
    'coatnet_test', dtype=dtype, batch_norm_momentum=MOMENTUM, **kwargs
  )


def images(c):
  return weights.images((3, *c.height_width, 3))


class NetworkReferenceTest(parameterized.TestCase, tf.test.TestCase):
  def reference_of(self, c, values, *, training=False):
    return reference.Reference(
      {k: v.astype(np.float64) for k, v in values.items()},
      training=training,
      momentum=MOMENTUM,
      unbiased=c.dtype == 'float32',
    )

  def assert_near(self, actual, expected, dtype):
    self.assertEqual(actual.shape, expected.shape)
    error = np.max(np.abs(actual - expected))
    bound = 1e-9
    if dtype == 'float32':
      bound = 1e-5 * np.max(np.abs(expected))
    self.assertLessEqual(error, bound)

  @parameterized.product(
    variant=list(VARIANTS),
    dtype=['float32', 'float64'],
    training=[False, True],
  )
  def test_classifier_is_the_reference(self, variant, dtype, training):
    c = make(dtype, **VARIANTS[variant])
    model = network.classifier(c)
    before = weights.randomize(model)
    x = images(c)
    ref = self.reference_of(c, before, training=training)
    expected = ref.classifier(
      x.astype(np.float64), **{v: getattr(c, v) for v in OPTIONS}
    )
    # The images differ, and so do their logits.
    self.assertGreater(np.min(np.std(expected, axis=0)), 0.01)
    actual = model(x, training=training)
    self.assertEqual(actual.dtype, dtype)
    self.assert_near(actual, expected, dtype)

    after = weights.by_name(model)
    moving = {k for k in before if '/moving_' in k}
    self.assertEqual(set(ref.updates), moving if training else set())
    for name, old in before.items():
      if name in ref.updates:
        self.assert_near(after[name], ref.updates[name], dtype)
      else:
        self.assertAllEqual(after[name], old)

  @parameterized.parameters('float32', 'float64')
  def test_backbone_is_the_reference(self, dtype):
    c = make(dtype, blocks=(2, 2, 1, 1, 2))
    model = network.backbone(c)
    ref = self.reference_of(c, weights.randomize(model))
    x = images(c)
    expected = ref.stages(
      x.astype(np.float64), **{v: getattr(c, v) for v in OPTIONS}
    )
    endpoints = model(x)
    self.assertEqual(list(endpoints), ['1', '2', '3', '4', '5'])
    for actual, stage in zip(endpoints.values(), expected):
      self.assert_near(actual, stage, dtype)

  def test_every_weight_counts(self):
    # What the reference does not read could be wrong in the network.
    c = make('float64')
    values = weights.randomize(network.classifier(c))
    ref = self.reference_of(c, values)
    read = set()

    class Noting(dict):
      def __getitem__(self, key):
        read.add(key)
        return super().__getitem__(key)

      def get(self, key, default=None):
        read.update({key} & self.keys())
        return super().get(key, default)

    ref.weights = Noting(ref.weights)
    ref.classifier(
      images(c).astype(np.float64), **{v: getattr(c, v) for v in OPTIONS}
    )
    self.assertEqual(read, set(values))


if __name__ == '__main__':
  tf.test.main()
