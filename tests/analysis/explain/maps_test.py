import math

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.analysis.explain import maps
from official_coatnet.modeling import config, network
from tests import reference
from tests.fixtures import weights as weights_lib


def make(*, seed=0, **kwargs):
  """Returns a small network in which every weight counts, and two images."""
  settings = {'image_size': (64, 96), 'num_classes': 5, **kwargs}
  model = network.classifier(
    config.ModelConfig(settings.pop('name', 'coatnet_test'), **settings)
  )
  weights_lib.randomize(model, seed=seed)
  height, width = model.input_shape[1:3]
  images = weights_lib.images((2, height, width, 3))
  return model, tf.constant(images.astype(model.dtype))


def layer_norm(x, gamma, beta):
  centred = x - x.mean(-1, keepdims=True)
  variance = (centred**2).mean(-1, keepdims=True)
  return centred / np.sqrt(variance + 1e-5) * gamma + beta


def expected_weights(model, images, block, *, stride):
  """[batch, heads, query, key] in NumPy, from the weights of the block."""
  layer = model.get_layer(block)
  values = {
    name.removeprefix(f'{block}/'): variable.numpy()
    for name, variable in weights_lib.by_name(layer).items()
  }
  x = tf.keras.Model(model.input, layer.input)(images).numpy()
  x = layer_norm(x, *(values[f'attention_norm/{n}'] for n in ('gamma', 'beta')))
  if stride == 2:
    x = reference.pool(x, kind='max')
  _, height, width, channels = x.shape
  x = x.reshape(len(x), height * width, channels)
  query, key = (
    np.einsum('blc,cnd->bnld', x, values[f'attention/{n}/kernel'])
    + values[f'attention/{n}/bias'][:, None]
    for n in ('query', 'key')
  )
  logits = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
  bias = reference.relative_bias(
    values['attention/relative_bias'], height=height, width=width
  )
  return reference.softmax(logits + bias)


class AttentionWeightsTest(parameterized.TestCase):
  @parameterized.parameters('reference', 'cpu', 'onednn', 'tpu')
  def test_they_are_the_softmax_of_query_key_and_bias(self, implementation):
    model, images = make(implementation=implementation)
    before = model(images)
    found = maps.attention_weights(
      model, images, names=['s3_block0', 's4_block0']
    )
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    self.assertEqual(
      shapes, {'s3_block0': (2, 2, 24, 24), 's4_block0': (2, 2, 6, 6)}
    )
    for block, weights in found.items():
      expected = expected_weights(model, images, block, stride=2)
      self.assertGreater(np.std(expected), 0.02)
      np.testing.assert_allclose(weights, expected, rtol=2e-3, atol=2e-4)
      np.testing.assert_allclose(np.sum(weights, -1), 1, rtol=1e-5)
    # Nothing is left in the network.
    for layer in maps.attention_layers(model).values():
      self.assertEqual(layer.implementation.name, implementation)
    np.testing.assert_array_equal(model(images), before)

  def test_the_network_is_as_it_was_after_an_error(self):
    model, _ = make()
    with self.assertRaises(Exception):  # noqa: B017
      maps.attention_weights(model, tf.zeros([1, 7, 7, 3]))
    for layer in maps.attention_layers(model).values():
      self.assertEqual(layer.implementation.name, 'reference')

  @parameterized.parameters('timm_coatnet_rmlp_nano_rw', 'kecam_coatnet_0')
  def test_other_families(self, name):
    model, images = make(
      name=name, blocks=(2, 1, 1, 2, 1), widths=(8, 8, 16, 32, 32), head_size=16
    )
    found = maps.attention_weights(model, images)
    self.assertEqual(list(found), ['s3_block1', 's4_block0'])
    for weights in found.values():
      np.testing.assert_allclose(np.sum(weights, -1), 1, rtol=1e-5)
      self.assertGreater(np.std(weights), 0.005)

  def test_chooses_blocks(self):
    model, _ = make(blocks=(2, 1, 1, 3, 2))
    for names, blocks in (
      ([], ['s3_block2', 's4_block1']),
      (['s4', 's3_block0', 's4_block1'], ['s4_block1', 's3_block0']),
    ):
      self.assertEqual(maps.choose_blocks(model, names), blocks)
    for name, words in (
      ('s1', "names 's1': it is of convolutions and has no attention"),
      ('s2_block0', 'has no attention. Those with attention are s3_block0, '),
      ('s3_block3', 'there is no such block or stage.* or by stage s3, s4'),
      ('S3', 'there is no such block'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        maps.choose_blocks(model, [name])

  def test_a_network_without_attention(self):
    model, images = make(layout='C-C-C-C')
    with self.assertRaisesRegex(ValueError, 'has no attention: all of its'):
      maps.attention_weights(model, images)


class ReadingTest(absltest.TestCase):
  def test_mean_or_row(self):
    weights = np.arange(2 * 6 * 6, dtype=np.float32).reshape(2, 6, 6)
    found = maps.mean_or_row(weights, (2, 3))
    np.testing.assert_array_equal(found, weights.mean(axis=1).reshape(2, 2, 3))
    # The second row's last place is position 5.
    for query, position in (((0.9, 0.6), 5), ((1, 1), 5), ((0.4, 0), 1)):
      np.testing.assert_array_equal(
        maps.mean_or_row(weights, (2, 3), query=query),
        weights[:, position].reshape(2, 2, 3),
      )

  def test_least_even(self):
    even, some, one = np.full(4, 0.25), [0.5, 0.3, 0.1, 0.1], [1.0, 0, 0, 0]
    weights = np.array([[each] * 4 for each in (one, even, some)], np.float32)
    self.assertEqual(maps.least_even(weights, 1), [0])
    self.assertEqual(maps.least_even(weights, 2), [0, 2])
    self.assertEqual(maps.least_even(weights, 9), [0, 1, 2])


class ClassMapTest(parameterized.TestCase):
  """In float64, against what changes when the features do."""

  def _after(self, model, stage, features):
    """Returns the logits from the features of a stage on."""
    layers = model.layers
    last = max(i for i, each in enumerate(layers) if stage in each.name)
    for layer in layers[last + 1 :]:
      features = layer(features)
    return features.numpy()

  @parameterized.parameters('s2', 's4')
  def test_against_finite_differences(self, stage):
    model, images = make(dtype='float64', seed=3)
    last = [each for each in model.layers if stage in each.name][-1]
    features = tf.keras.Model(model.input, last.output)(images).numpy()
    found, logits = maps.class_map(model, images, class_ids=[1, 4], stage=stage)
    np.testing.assert_allclose(self._after(model, stage, features), logits)
    step = 1e-5
    factors = np.zeros([2, features.shape[-1]])
    for channel in range(features.shape[-1]):
      ends = []
      for sign in (1, -1):
        moved = features.copy()
        moved[..., channel] += sign * step
        ends.append(self._after(model, stage, moved)[[0, 1], [1, 4]])
      factors[:, channel] = (ends[0] - ends[1]) / (2 * step)
    # Of the mean over positions: each of them has moved.
    factors /= np.prod(features.shape[1:3])
    expected = np.einsum('bhwc,bc->bhw', features, factors)
    self.assertGreater(np.std(expected), 1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)

  def test_of_the_last_stage_it_is_what_a_position_adds(self):
    """It is linear there: the head takes a mean before it does anything."""
    model, images = make(dtype='float64')
    last = model.get_layer('s4_block0')
    features = tf.keras.Model(model.input, last.output)(images).numpy()
    found, logits = maps.class_map(model, images, stage='s4')
    best = np.argmax(logits, axis=1)
    step = 1e-6
    moved = features.copy()
    moved[:, 1, 2] *= 1 + step
    gain = self._after(model, 's4', moved) - logits.numpy()
    gain = gain[[0, 1], best] / step
    np.testing.assert_allclose(found[:, 1, 2], gain, rtol=1e-3, atol=1e-7)
    # The norm of the head takes the scale of all positions together away.
    size = np.abs(found).sum(axis=(1, 2))
    np.testing.assert_array_less(np.abs(np.sum(found, (1, 2))), 1e-2 * size)

  def test_images_do_not_depend_on_each_other(self):
    model, images = make()
    both, _ = maps.class_map(model, images, stage='s3')
    one, _ = maps.class_map(model, images[1:], stage='s3')
    np.testing.assert_allclose(both[1:], one, rtol=1e-3, atol=1e-5)

  def test_stages(self):
    model, images = make()
    grids = {'s0': (32, 48), 's1': (16, 24), 's2': (8, 12), 's3': (4, 6),
             's4': (2, 3)}  # fmt: skip
    self.assertEqual(maps.stages(model), grids)
    self.assertEqual(maps.choose_stage(model), 's2')
    with self.assertRaisesRegex(ValueError, "is 's5'; the stages .* s0, s1"):
      maps.class_map(model, images, stage='s5')


if __name__ == '__main__':
  absltest.main()
