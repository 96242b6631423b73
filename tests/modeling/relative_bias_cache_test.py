"""Tests of the relative bias that is looked up once, for inference."""

import os

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import config, network


def _model(**kwargs):
  settings = dict(
    name='coatnet_test',
    image_size=(64, 96),
    num_classes=5,
    kernel_stddev=0.5,
  )
  return network.classifier(config.ModelConfig(**{**settings, **kwargs}))


def _attention(model):
  return model.get_layer('s3_block0').attention


class RelativeBiasCacheTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.images = tf.random.stateless_normal([2, 64, 96, 3], seed=(1, 2))

  @parameterized.product(
    lookup=('einsum', 'gather'),
    relative_attention=('pre_softmax', 'post_softmax', 'none'),
    dtype=('float32', 'mixed_bfloat16'),
  )
  def test_same_logits(self, **kwargs):
    model = _model(**kwargs)
    before = model(self.images)
    network.cache_relative_bias(model)
    self.assertAllEqual(model(self.images), before)

  def test_the_cache_is_what_is_read(self):
    model = _model()
    before = model(self.images)
    network.cache_relative_bias(model)
    _attention(model).relative_bias.assign_add(
      tf.random.stateless_normal(_attention(model).relative_bias.shape, (3, 4))
    )
    self.assertAllEqual(model(self.images), before)
    network.cache_relative_bias(model)
    self.assertNotAllClose(model(self.images), before)

  def test_training_reads_the_table(self):
    model = _model()
    network.cache_relative_bias(model)
    table = _attention(model).relative_bias
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model(self.images, training=True) ** 2)
    self.assertGreater(tf.norm(tape.gradient(loss, table)), 0.0)

  def test_a_variable_that_is_not_trained(self):
    model = _model()
    trainable = len(model.trainable_variables)
    network.cache_relative_bias(model)
    cache = _attention(model).relative_bias_cache
    # S3 is 4 x 6 positions with two heads.
    self.assertEqual(cache.shape, [2, 24, 24])
    self.assertFalse(cache.trainable)
    self.assertEqual(cache.name, 's3_block0/attention/relative_bias_cache:0')
    self.assertLen(model.trainable_variables, trainable)

  def test_exported_as_a_variable_without_a_lookup(self):
    model = _model(image_size=512)
    network.cache_relative_bias(model)

    @tf.function(input_signature=[tf.TensorSpec([None, 512, 512, 3])])
    def serve(images):
      return model(images, training=False)

    module = tf.Module()
    module.model, module.serve = model, serve
    folder = self.create_tempdir().full_path
    tf.saved_model.save(module, folder, signatures=serve)
    # S3 has 2 x 1024 x 1024 biases, 8 MiB: in the variables, not in the graph.
    graph = os.path.getsize(os.path.join(folder, 'saved_model.pb'))
    self.assertLess(graph, 2**22)
    names = [
      op.name for op in serve.get_concrete_function().graph.get_operations()
    ]
    self.assertEmpty([name for name in names if 'relative_bias_lookup' in name])
    images = tf.random.stateless_normal([1, 512, 512, 3], seed=(5, 6))
    reloaded = tf.saved_model.load(folder)
    self.assertAllClose(reloaded.serve(images), serve(images))


if __name__ == '__main__':
  tf.test.main()
