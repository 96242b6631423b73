"""Tests of complexity."""

import functools

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import complexity, config, network, sizes
from tests import reference_counts

COUNTED = ('params', 'multiply_adds', 'lookup_multiply_adds')


@functools.cache
def count(make=network.classifier, **kwargs):
  """Counts a network, built in a graph: nothing is allocated."""
  if make is network.classifier:
    return complexity.count(config.ModelConfig(**kwargs))
  with tf.Graph().as_default():
    return complexity.count_stages(make(config.ModelConfig(**kwargs)))


def expected(name, **kwargs):
  size = sizes.get_size(name)
  kwargs = {
    'blocks': size.blocks,
    'widths': size.widths,
    'head_size': size.head_size,
    **kwargs,
  }
  return reference_counts.stages(**kwargs)


class ComplexityTest(parameterized.TestCase, tf.test.TestCase):
  def assert_counts(self, counts, tallies):
    for c in counts[:-1]:
      for field in COUNTED:
        self.assertEqual(
          getattr(c, field), getattr(tallies[c.name], field), (c.name, field)
        )
    for field in COUNTED:
      total = sum(getattr(t, field) for t in tallies.values())
      self.assertEqual(getattr(counts[-1], field), total)

  def test_coatnet_0_is_the_closed_form(self):
    counts = count(name='coatnet_0')
    self.assert_counts(counts, expected('coatnet_0'))
    # The stem, by hand.
    self.assertEqual(counts[0].multiply_adds, 112**2 * 9 * (3 + 64) * 64)

  @parameterized.parameters(
    dict(layout='C-C-C-C'),
    dict(layout='C-C-C-T', num_classes=7),
    dict(layout='C-T-T-T', head_size=8),
    dict(downsample='depthwise'),
    dict(image_size=(33, 47)),
    dict(image_size=(224, 320), downsample='depthwise'),
    dict(blocks=(1, 2, 1, 3, 2), widths=(8, 16, 24, 32, 48), head_size=16),
    dict(blocks=(3, 1, 2, 1, 1)),
    dict(layout='ViT_REL', blocks=(1, 3), widths=(32, 32)),
    dict(
      layout='ViT_REL', blocks=(1, 2), widths=(24, 32), image_size=(225, 318)
    ),
  )
  def test_coatnet_test_is_the_closed_form(self, **kwargs):
    tallies = expected('coatnet_test', **{'image_size': (224, 224), **kwargs})
    self.assert_counts(count(name='coatnet_test', **kwargs), tallies)

  def test_names_and_shapes_of_the_stages(self):
    counts = count(name='coatnet_test', image_size=(96, 200), num_classes=5)
    self.assertEqual(
      [(c.name, c.output_shape) for c in counts],
      [
        ('s0', (48, 100, 16)),
        ('s1', (24, 50, 16)),
        ('s2', (12, 25, 16)),
        ('s3', (6, 13, 32)),
        ('s4', (3, 7, 32)),
        ('head', (5,)),
        ('coatnet_test', (5,)),
      ],
    )

  def test_names_and_shapes_of_vit_rel(self):
    counts = count(
      name='figure1_vit_rel', blocks=(1, 1), image_size=(97, 192), num_classes=5
    )
    self.assertEqual(
      [(c.name, c.output_shape) for c in counts],
      [
        ('s0', (7, 12, 512)),
        ('s1', (7, 12, 512)),
        ('head', (5,)),
        ('figure1_vit_rel', (5,)),
      ],
    )

  def test_a_backbone_has_no_head(self):
    whole = count(name='coatnet_test')
    backbone = count(network.backbone, name='coatnet_test')
    self.assertEqual(backbone[:-1], whole[:5])
    self.assertEqual(backbone[-1].name, 'coatnet_test_backbone')
    self.assertEqual(
      backbone[-1].multiply_adds,
      whole[-1].multiply_adds - whole[5].multiply_adds,
    )

  def test_lookups_are_counted_apart_and_only_einsums_multiply(self):
    einsum = count(name='coatnet_test')[-1]
    gather = count(name='coatnet_test', lookup='gather')[-1]
    none = count(name='coatnet_test', relative_attention='none')[-1]
    self.assertGreater(einsum.lookup_multiply_adds, 0)
    self.assertEqual(gather.lookup_multiply_adds, 0)
    self.assertEqual(none.lookup_multiply_adds, 0)
    self.assertEqual(gather.multiply_adds, einsum.multiply_adds)
    self.assertEqual(none.multiply_adds, einsum.multiply_adds)
    self.assertLess(none.params, gather.params)

  @parameterized.parameters(
    dict(dtype='mixed_bfloat16'),
    dict(stochastic_depth=0.5),
    dict(relative_attention='post_softmax'),
    dict(shortcut_pool='avg'),
  )
  def test_does_not_depend_on(self, **kwargs):
    self.assertEqual(
      count(name='coatnet_test', **kwargs), count(name='coatnet_test')
    )

  def test_a_model_with_draw_keys_is_counted_as_one_without(self):
    with_keys = count(
      lambda c: network.classifier(c, draw_keys=True), name='coatnet_test'
    )
    self.assertEqual(with_keys, count(name='coatnet_test'))

  def test_counting_an_eager_model_leaves_it_alone(self):
    model = network.classifier(
      config.ModelConfig('coatnet_test', image_size=64)
    )
    before = model.get_weights()
    counts = complexity.count_stages(model)
    self.assertEqual(
      counts[-1].params, sum(w.numpy().size for w in model.trainable_variables)
    )
    self.assertEqual(complexity.count_params(model), counts[-1].params)
    for old, new in zip(before, model.get_weights()):
      self.assertAllEqual(old, new)

  @parameterized.parameters(
    ('s0', 's0'),
    ('s4_block12', 's4'),
    ('head_pool', 'head'),
    ('logits', 'head'),
  )
  def test_stage_of(self, layer_name, stage):
    self.assertEqual(complexity.stage_of(layer_name), stage)

  def test_matrix_products_of_either_orientation(self):
    # Hand-made, since Keras transposes nothing.
    @tf.function
    def products(a, b, c):
      tf.matmul(a, b)
      tf.matmul(b, a, transpose_a=True, transpose_b=True)
      tf.matmul(c, c, transpose_a=True)
      tf.matmul(c, c, transpose_b=True)
      tf.einsum('ij->ji', a)
      return a

    graph = products.get_concrete_function(
      tf.TensorSpec([2, 7]), tf.TensorSpec([7, 5]), tf.TensorSpec([3, 4, 6])
    ).graph
    counts = [complexity._op_multiply_adds(op) for op in graph.get_operations()]
    self.assertEqual(
      [c for c in counts if c],
      [2 * 7 * 5, 5 * 7 * 2, 3 * 6 * 4 * 6, 3 * 4 * 6 * 4],
    )


if __name__ == '__main__':
  tf.test.main()
