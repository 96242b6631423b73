"""Tests of model_garden.backbone."""

import dataclasses
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.configs import common, image_classification
from official.vision.modeling import factory as model_factory
from official.vision.modeling.backbones import factory

from official_coatnet.model_garden import backbone
from official_coatnet.modeling import config as config_lib, network
from official_coatnet.training import transfer
from tests.fixtures import experiments, runs, weights

# Fields of ModelConfig that Model Garden has settings of its own for.
_OF_MODEL_GARDEN = {
  'image_size',
  'num_classes',
  'batch_norm_momentum',
  'batch_norm_epsilon',
  'sync_batch_norm',
  'head_bias',
  'dtype',
}


def _build(
  name='coatnet_test', *, shape=(128, 128, 3), norms=None, l2=None, **fields
):
  """Builds a backbone as Model Garden's tasks do."""
  return factory.build_backbone(
    input_specs=tf.keras.layers.InputSpec(shape=[None, *shape]),
    backbone_config=backbone.Backbone(
      type='coatnet', coatnet=backbone.CoAtNet(name=name, **fields)
    ),
    norm_activation_config=norms or common.NormActivation(),
    l2_regularizer=l2,
  )


class EndpointsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    # Widths of Table 3.
    ('coatnet_0', (224, 224), (96, 192, 384, 768)),
    ('coatnet_2', (224, 224), (128, 256, 512, 1024)),
    ('coatnet_test', (240, 320), (16, 16, 32, 32)),
    ('coatnet_test', (100, 130), (16, 16, 32, 32)),
  )
  def test_levels_sizes_and_widths(self, name, size, widths):
    model = _build(name, shape=(*size, 3))
    expected = {
      str(level): [None, -(-size[0] // 2**level), -(-size[1] // 2**level), d]
      for level, d in zip((2, 3, 4, 5), widths)
    }
    specs = model.output_specs
    self.assertEqual({k: s.as_list() for k, s in specs.items()}, expected)
    outputs = model(tf.zeros([1, *size, 3]))
    for level, shape in expected.items():
      self.assertEqual(outputs[level].shape[1:], shape[1:])

  def test_same_as_the_backbone_of_the_package(self):
    ours = network.backbone(
      config_lib.ModelConfig('coatnet_test', image_size=(64, 96))
    )
    values = weights.randomize(ours)
    model = _build(shape=(64, 96, 3))
    named = weights.by_name(model)
    self.assertEqual(set(named), set(values))
    for name, value in values.items():
      named[name].assign(value)
    images = weights.images((2, 64, 96, 3))
    expected = ours(images)
    for level, features in model(images).items():
      self.assertAllClose(features, expected[level], rtol=1e-4, atol=1e-4)

  def test_more_blocks_a_stage(self):
    model = _build(blocks=(2, 1, 2, 3, 1))
    last = model.get_layer('s3_block2').output
    self.assertIs(model.output['4'], last)

  def test_layout_with_one_level(self):
    model = _build(layout='ViT_REL', blocks=(1, 2), widths=(32, 32))
    self.assertEqual(list(model.output_specs), ['4'])

  def test_config_round_trip(self):
    model = _build()
    copy = type(model).from_config(model.get_config())
    self.assertIsInstance(copy, backbone.CoAtNetBackbone)
    self.assertEqual(copy.output_specs, model.output_specs)


class SettingsTest(tf.test.TestCase, parameterized.TestCase):
  def test_fields_and_defaults_are_those_of_model_config(self):
    ours = {f.name: f for f in dataclasses.fields(config_lib.ModelConfig)}
    theirs = {f.name: f for f in dataclasses.fields(backbone.CoAtNet)}
    only_here = {'pre_logits', 'init_checkpoint', 'init_weights'}
    self.assertEqual(set(ours) - set(theirs), _OF_MODEL_GARDEN)
    self.assertEqual(set(theirs) - set(ours), only_here)
    for name in set(ours) & set(theirs) - {'name'}:
      self.assertEqual(theirs[name].default, ours[name].default, name)

  @parameterized.parameters(
    dict(name='coatnet_demo'),
    dict(layout='C-C-C-T'),
    dict(blocks=(1, 1, 2, 1, 2)),
    dict(widths=(16, 16, 16, 16, 48)),
    dict(head_size=8),
    dict(downsample='depthwise'),
    dict(expansion=2),
    dict(se_ratio=0.5),
    dict(shortcut_pool='avg'),
    dict(relative_attention='post_softmax'),
    dict(lookup='gather'),
    dict(norm='layer_norm'),
    dict(stochastic_depth=0.3),
    dict(representation_size=24),
    dict(kernel_stddev=0.1),
  )
  def test_fields_reach_the_network(self, **fields):
    with mock.patch.object(
      network, 'classifier', wraps=network.classifier
    ) as spy:
      _build(**fields)
    (config,) = spy.call_args.args
    for name, value in fields.items():
      self.assertEqual(getattr(config, name), value)

  def test_overrides_as_from_yaml(self):
    config = backbone.Backbone(type='coatnet')
    config.override({'coatnet': {'blocks': [1, 1, 2, 1, 1], 'norm': 'x'}})
    self.assertEqual(config.coatnet.as_dict()['blocks'], [1, 1, 2, 1, 1])
    with self.assertRaisesRegex(KeyError, 'no_such_field'):
      config.override({'coatnet': {'no_such_field': 1}})

  def test_norm_activation_reaches_every_batch_norm(self):
    norms = common.NormActivation(
      norm_momentum=0.7, norm_epsilon=0.02, use_sync_bn=True
    )
    model = _build(norms=norms)
    found = [
      layer
      for layer in model.submodules
      if isinstance(layer, tf.keras.layers.BatchNormalization)
    ]
    # One in the stem, three in each of two MBConv blocks.
    self.assertLen(found, 7)
    for layer in found:
      self.assertEqual((layer.momentum, layer.epsilon), (0.7, 0.02))
      self.assertTrue(layer.synchronized)

  def test_l2_of_kernels_alone(self):
    model = _build(l2=tf.keras.regularizers.l2(0.5))
    values = weights.randomize(model)
    # As in a task's model.
    outer = tf.keras.Model(model.input, model(model.input)['5'])
    squares = [np.sum(v**2) for k, v in values.items() if k.endswith('kernel')]
    self.assertLen(outer.losses, len(squares))
    self.assertAllClose(sum(outer.losses), 0.5 * sum(squares))
    self.assertEmpty(_build().losses)


class PrecisionTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    policy = tf.keras.mixed_precision.global_policy()
    self.addCleanup(tf.keras.mixed_precision.set_global_policy, policy)

  def test_bfloat16(self):
    tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')
    model = _build()
    for tensor in model.output.values():
      self.assertEqual(tensor.dtype, tf.bfloat16)
    for variable in model.variables:
      self.assertEqual(variable.dtype, tf.float32)

  def test_float16_is_refused(self):
    tf.keras.mixed_precision.set_global_policy('mixed_float16')
    with self.assertRaisesRegex(
      ValueError, "'mixed_float16'.*runtime.mixed_precision_dtype"
    ):
      _build()


class ErrorsTest(tf.test.TestCase):
  def test_unknown_model(self):
    with self.assertRaisesRegex(
      ValueError, "'coatnet-0'.*Did you mean 'coatnet_0'"
    ):
      _build('coatnet-0')

  def test_image_size_that_is_not_fixed(self):
    with self.assertRaisesRegex(
      ValueError, r'\[None, None, None, 3\].*`task.model.input_size`'
    ):
      _build(shape=(None, None, 3))

  def test_other_channels(self):
    with self.assertRaisesRegex(ValueError, r'\[None, 64, 64, 1\]'):
      _build(shape=(64, 64, 1))


class ClassificationTest(tf.test.TestCase):
  def test_with_pre_logits_it_is_the_network_of_the_paper(self):
    model = model_factory.build_classification_model(
      tf.keras.layers.InputSpec(shape=[None, 224, 224, 3]),
      image_classification.ImageClassificationModel(
        num_classes=1000,
        backbone=backbone.Backbone(
          type='coatnet',
          coatnet=backbone.CoAtNet(name='coatnet_0', pre_logits=True),
        ),
      ),
    )
    trained = sum(np.prod(v.shape) for v in model.trainable_variables)
    self.assertEqual(round(trained / 1e6, 2), 25.04)

  def test_same_logits_as_the_classifier_of_the_package(self):
    ours = network.classifier(
      config_lib.ModelConfig('coatnet_test', image_size=64, num_classes=5)
    )
    values = weights.randomize(ours)
    theirs = model_factory.build_classification_model(
      tf.keras.layers.InputSpec(shape=[None, 64, 64, 3]),
      image_classification.ImageClassificationModel(
        num_classes=5,
        backbone=backbone.Backbone(
          type='coatnet',
          coatnet=backbone.CoAtNet(name='coatnet_test', pre_logits=True),
        ),
      ),
    )
    for name, variable in weights.by_name(theirs.backbone).items():
      variable.assign(values.pop(name))
    self.assertEqual(set(values), {'logits/kernel', 'logits/bias'})
    kernel, bias = theirs.layers[-1].weights
    kernel.assign(values['logits/kernel'])
    bias.assign(values['logits/bias'])
    images = weights.images((3, 64, 64, 3))
    self.assertAllClose(theirs(images), ours(images), rtol=1e-5, atol=1e-5)


class InitCheckpointTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    experiment = experiments.make_experiment(
      model={'image_size': 64},
      train_data={'image_size': 64},
      eval_data={'image_size': 64},
      optimizer={'ema_decay': 0.99},
    )
    self.model_dir = runs.write_run(
      f'{self.create_tempdir().full_path}/run', experiment
    )
    ours = network.classifier(experiment.model)
    self.values = {
      'raw': weights.randomize(ours, seed=0),
      'ema': weights.randomize(ours, seed=1),
    }

  def _check(self, model, values):
    for name, variable in weights.by_name(model).items():
      value = values[name]
      if name.endswith('relative_bias'):
        value = transfer.resize_table(value, tuple(variable.shape))
      self.assertAllEqual(variable, value)

  def test_average_at_another_size(self):
    model = _build(init_checkpoint=self.model_dir)
    table = weights.by_name(model)['s3_block0/attention/relative_bias']
    self.assertEqual(table.shape, [2, 15, 15])  # It was [2, 7, 7].
    self._check(model, self.values['ema'])

  def test_raw_weights_with_the_pooled_endpoint(self):
    model = _build(
      init_checkpoint=self.model_dir, init_weights='raw', pre_logits=True
    )
    self._check(model, self.values['raw'])

  def test_checkpoint_of_another_network(self):
    with self.assertRaisesRegex(ValueError, 'is not of the same network'):
      _build('coatnet_demo', init_checkpoint=self.model_dir)

  def test_head_of_the_checkpoint_does_not_matter_to_a_decoder(self):
    model = _build(init_checkpoint=self.model_dir, representation_size=None)
    self._check(model, self.values['ema'])

  def test_no_checkpoint(self):
    with self.assertRaisesRegex(ValueError, 'No checkpoint at'):
      _build(init_checkpoint='/no/such/folder')


if __name__ == '__main__':
  tf.test.main()
