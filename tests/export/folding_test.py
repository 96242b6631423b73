"""Tests of folding: the network that is served is the one that was trained."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.export import folding
from official_coatnet.modeling import config as config_lib, network
from tests.fixtures import weights


def make_config(**kwargs):
  settings = dict(
    name='coatnet_test',
    image_size=(41, 66),  # Odd and unequal: SAME padding shows.
    num_classes=7,
    stochastic_depth=0.5,
    batch_norm_epsilon=1e-2,
  )
  return config_lib.ModelConfig(**{**settings, **kwargs})


def make_model(config):
  model = network.classifier(config)
  weights.randomize(model)
  return model


def graph_of(model, *, images):
  function = tf.function(lambda x: model(x, training=False))
  return function.get_concrete_function(images).graph


class FoldingTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.product(
    layout=('C-C-C-C', 'C-C-C-T', 'C-C-T-T', 'C-T-T-T'),
    downsample=('expand_conv', 'depthwise'),
  )
  def test_layouts_and_strides(self, **kwargs):
    self.check_same_logits(make_config(**kwargs))

  @parameterized.parameters(
    {},
    dict(layout='ViT_REL', blocks=(1, 2), widths=(32, 32)),
    dict(blocks=(3, 2, 2, 1, 1), widths=(8, 16, 24, 32, 32)),
    dict(blocks=(1, 1, 1, 1, 1), shortcut_pool='avg'),
    dict(norm='layer_norm'),
    dict(relative_attention='none', representation_size=None),
    dict(dtype='float64'),
  )
  def test_other_settings(self, **kwargs):
    self.check_same_logits(make_config(**kwargs))

  @parameterized.parameters(
    # One of each kind of order.
    'timm',
    'timm_nano_rw',
    'timm_0_rw',
    'timm_bn_0_rw',
    'timm_rmlp_2_rw',
  )
  def test_families(self, family):
    self.check_same_logits(make_config(family=family))

  @parameterized.parameters(
    ('coatnet_0', True),
    ('timm_coatnet_nano_rw', True),
    ('timm_coatnet_0_rw', False),
  )
  def test_where_it_pays(self, name, expected):
    self.assertEqual(folding.pays(config_lib.ModelConfig(name)), expected)

  def check_same_logits(self, config):
    model = make_model(config)
    before = weights.by_name(model)
    before = {name: variable.numpy() for name, variable in before.items()}
    images = weights.images((17, *config.height_width, 3))
    expected = model(images, training=False).numpy()
    folded = folding.fold_classifier(model, config)
    actual = folded(images, training=False).numpy()
    # What is left is rounding.
    bound = 1e-9 if config.dtype == 'float64' else 1e-4
    error = np.abs(actual - expected) / np.maximum(1, np.abs(expected))
    self.assertLess(error.max(), bound)
    self.assertAllEqual(actual.argmax(-1), expected.argmax(-1))
    # The model itself is as it was.
    for name, variable in weights.by_name(model).items():
      self.assertAllEqual(variable, before[name])

  def test_no_norm_is_left(self):
    config = make_config()
    model = make_model(config)
    folded = folding.fold_classifier(model, config)
    images = weights.images((1, *config.height_width, 3))
    operations = graph_of(folded, images=images).get_operations()
    self.assertNotIn('FusedBatchNormV3', [op.type for op in operations])
    self.assertEmpty([op.name for op in operations if 'drop' in op.name])
    # Of each convolution with what it absorbed, the bias alone is new.
    new = set(weights.by_name(folded)) - set(weights.by_name(model))
    convs = ['s0/conv0'] + [
      f's{i}_block0/{conv}'
      for i in (1, 2)
      for conv in ('expand_conv', 'depthwise_conv')
    ]
    self.assertEqual(new, {f'{conv}/bias' for conv in convs})
    gone = set(weights.by_name(model)) - set(weights.by_name(folded))
    self.assertLen(gone, 4 * (1 + 2 * 3))

  def test_untouched_weights_are_the_same_bits(self):
    config = make_config()
    model = make_model(config)
    folded = weights.by_name(folding.fold_classifier(model, config))
    for name in (
      's0/conv1/kernel',
      's2_block0/squeeze_excitation/reduce/kernel',
      's3_block0/attention/relative_bias',
      's4_block0/ffn_norm/gamma',
      'logits/bias',
    ):
      self.assertAllEqual(folded[name], weights.by_name(model)[name])

  def test_batch_norm_is_all_that_changes_in_the_configuration(self):
    config = make_config()
    self.assertEqual(
      folding.inference_config(config),
      dataclasses.replace(
        config, norm='none', implementation='onednn', stochastic_depth=0.0
      ),
    )
    self.assertEqual(
      folding.inference_config(make_config(norm='layer_norm')).norm,
      'layer_norm',
    )

  def test_weights_by_hand(self):
    # Variance and epsilon come to 4: the scales are gamma / 2.
    def norm(name, *, gamma, beta, mean):
      return {
        f'{name}/gamma': np.float32(gamma),
        f'{name}/beta': np.float32(beta),
        f'{name}/moving_mean': np.float32(mean),
        f'{name}/moving_variance': np.full(2, 3.75, np.float32),
      }

    kernel = np.float32([[[[1, 2], [3, 4]]]])
    folded = folding.fold_weights(
      {
        'b/expand_conv/kernel': kernel,
        'b/depthwise_conv/depthwise_kernel': np.ones([3, 3, 2, 1], np.float32),
        **norm('b/pre_norm', gamma=[2, 4], beta=[1, 0], mean=[0, 1]),
        **norm('b/expand_norm', gamma=[2, 6], beta=[5, 6], mean=[1, 0]),
        **norm('b/depthwise_norm', gamma=[4, 8], beta=[0, 1], mean=[1, 1]),
      },
      epsilon=0.25,
    )
    self.assertEqual(
      {name: value.tolist() for name, value in folded.items()},
      {
        # Rows by 1 and 2, then columns by 1 and 3.
        'b/expand_conv/kernel': [[[[1, 6], [6, 24]]]],
        # Shifts (1, -2) through the kernel: (-5, -6); then by 1 and 3, and the
        # shifts (4, 6).
        'b/expand_conv/bias': [-1, -12],
        'b/depthwise_conv/depthwise_kernel': [[[[2], [4]]] * 3] * 3,
        'b/depthwise_conv/bias': [-2, -3],
      },
    )

  @parameterized.parameters(
    ('b/last_norm', 'b/expand_conv/kernel', "BatchNorm 'b/last_norm'.*nofold"),
    (
      'b/pre_norm',
      'b/project_conv/kernel',
      "not the kernel of 'b/expand_conv'",
    ),
    ('b/pre_norm', 'b/expand_conv/kernel', 'only a 1x1 convolution'),
  )
  def test_what_cannot_be_folded_is_said(self, norm, kernel, message):
    kinds = ('gamma', 'beta', 'moving_mean', 'moving_variance')
    values = {f'{norm}/{kind}': np.ones(2) for kind in kinds}
    values[kernel] = np.ones([3, 3, 2, 2])
    with self.assertRaisesRegex(ValueError, message):
      folding.fold_weights(values, epsilon=1e-3)

  @parameterized.parameters(
    (dict(norm='layer_norm'), 's0/conv0/bias'),
    (dict(layout='C-C-C-T'), 's3_block0/attention/key/bias'),
  )
  def test_the_configuration_of_another_network_is_refused(self, other, name):
    model = make_model(make_config())
    with self.assertRaisesRegex(ValueError, f'not the one.*{name}'):
      folding.fold_classifier(model, make_config(**other))


if __name__ == '__main__':
  tf.test.main()
