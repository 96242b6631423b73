"""Tests of network: reduced precision and compilation."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import config, network
from tests.fixtures import weights


def make_config(**kwargs):
  kwargs = {'image_size': (64, 96), 'num_classes': 7, **kwargs}
  return config.ModelConfig('coatnet_test', **kwargs)


def images(c, *, batch=3):
  return weights.images((batch, *c.height_width, 3))


def all_operations(graph):
  """The operations of a graph and, as protos, of the functions it calls."""
  operations = list(graph.get_operations())
  for inner in graph.as_graph_def().library.function:
    operations += inner.node_def
  return operations


def type_of(operation):
  is_proto = isinstance(operation, tf.compat.v1.NodeDef)
  return operation.op if is_proto else operation.type


class PrecisionTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    {}, dict(norm='layer_norm'), dict(relative_attention='post_softmax')
  )
  def test_mixed_bfloat16(self, **kwargs):
    c = make_config(**kwargs)
    model = network.classifier(c)
    mixed = network.classifier(make_config(dtype='mixed_bfloat16', **kwargs))
    weights.randomize(model)
    mixed.set_weights(model.get_weights())
    self.assertEqual({v.dtype for v in mixed.variables}, {tf.float32})
    x = images(c)
    for training in (False, True):
      logits, expected = (
        mixed(x, training=training),
        model(x, training=training),
      )
      self.assertEqual(logits.dtype, tf.float32)
      difference = np.max(np.abs(logits - expected))
      self.assertLess(difference, 0.05 * np.max(np.abs(expected)))
      # Yet not the same: bfloat16 is what is computed in.
      self.assertGreater(difference, 0)

  def test_bfloat16_is_what_runs_but_softmax_is_in_float32(self):
    model = network.classifier(make_config(dtype='mixed_bfloat16'))
    operations = (
      tf.function(model)
      .get_concrete_function(tf.TensorSpec([2, 64, 96, 3]))
      .graph.get_operations()
    )
    types = {}
    for op in operations:
      for tensor in op.outputs[:1]:
        types.setdefault(op.type, set()).add(tensor.dtype.base_dtype)
    self.assertEqual(types['Softmax'], {tf.float32})
    self.assertEqual(types['Conv2D'], {tf.bfloat16})
    self.assertEqual(types['DepthwiseConv2dNative'], {tf.bfloat16})
    self.assertEqual(types['MatMul'], {tf.bfloat16, tf.float32})

    logits = model.get_layer('logits')
    self.assertEqual(logits.compute_dtype, 'float32')
    self.assertEqual(model.get_layer('head_norm').compute_dtype, 'float32')
    self.assertEqual(model.get_layer('head_pool').compute_dtype, 'float32')
    self.assertEqual(model.get_layer('pre_logits').compute_dtype, 'bfloat16')


class CompilationTest(parameterized.TestCase, tf.test.TestCase):
  def step_of(self, model):
    """Forward and backward pass, as a function that can be compiled."""

    def step(images, keys):
      inputs = {'image': images, 'draw_keys': keys}
      with tf.GradientTape() as tape:
        logits = model(inputs, training=True)
        loss = tf.reduce_mean(logits**2)
      return logits, tape.gradient(loss, model.trainable_variables)

    return step

  @parameterized.parameters('float32', 'mixed_bfloat16')
  def test_step_compiles_and_gives_the_same(self, dtype):
    c = make_config(dtype=dtype, stochastic_depth=0.5)
    model = network.classifier(c, draw_keys=True)
    weights.randomize(model)
    step = self.step_of(model)
    x, keys = tf.constant(images(c, batch=4)), tf.range(4)
    logits, gradients = step(x, keys)
    compiled, compiled_gradients = tf.function(step, jit_compile=True)(x, keys)
    atol = 1e-4 if dtype == 'float32' else 0.1
    self.assertAllClose(compiled, logits, rtol=0, atol=atol)
    if dtype == 'float32':
      for a, b in zip(compiled_gradients, gradients):
        self.assertAllClose(a, b, rtol=1e-3, atol=1e-3)

  def trace(self, **kwargs):
    """Returns the operations of a training step, and of the forward pass."""
    c = make_config(stochastic_depth=0.5, **kwargs)
    model = network.classifier(c, draw_keys=True)
    specs = [tf.TensorSpec([4, 64, 96, 3]), tf.TensorSpec([4], tf.int32)]

    def forward(images, keys):
      return model({'image': images, 'draw_keys': keys}, training=True)

    return (
      all_operations(tf.function(f).get_concrete_function(*specs).graph)
      for f in (self.step_of(model), forward)
    )

  def test_default_lookup_gathers_nothing(self):
    step, _ = self.trace()
    types = {type_of(op) for op in step}
    self.assertContainsSubset({'Einsum', 'Conv2DBackpropFilter'}, types)
    memory = {'Gather', 'GatherV2', 'GatherNd', 'ResourceGather', 'Where',
              'ScatterNd', 'UnsortedSegmentSum', 'DynamicStitch'}  # fmt: skip
    self.assertEmpty(types & memory)
    # What the search would find.
    step, _ = self.trace(lookup='gather')
    self.assertIn('GatherV2', {type_of(op) for op in step})

  def test_shapes_are_static(self):
    _, forward = self.trace(dtype='mixed_bfloat16')
    self.assertGreater(len(forward), 500)
    for op in forward:
      # The rest of BatchNorm's outputs is for its gradient alone.
      for tensor in getattr(op, 'outputs', ())[:1]:
        if tensor.dtype not in (tf.resource, tf.variant):
          self.assertTrue(tensor.shape.is_fully_defined(), op.name)


if __name__ == '__main__':
  tf.test.main()
