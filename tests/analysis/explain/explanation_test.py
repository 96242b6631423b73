import os

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.analysis.explain import explanation, maps
from official_coatnet.export import prediction
from official_coatnet.training import objective
from tests.fixtures import repository

_STORED = os.path.join(repository.ROOT, 'tests', 'compatibility', 'v0_1')
EXPORT = os.path.join(_STORED, 'exports', '1')


def encoded():
  with open(os.path.join(_STORED, 'images', 'hen.png'), 'rb') as f:
    return f.read()


class ExplanationTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.explainer = explanation.Explainer(EXPORT)

  def test_it_is_of_what_the_export_answers(self):
    (answer,) = prediction.Predictor(EXPORT, top_k=2)([encoded()])
    found = self.explainer(encoded(), answer=answer)
    self.assertEqual(found.pixels.shape, (32, 32, 3))
    self.assertEqual(found.pixels.dtype, np.uint8)
    self.assertEqual(found.predictions[0][0], answer[0][0])
    self.assertAlmostEqual(found.predictions[0][1], answer[0][1], places=4)
    with self.assertRaisesRegex(ValueError, 'not of one export'):
      self.explainer(encoded(), answer=[('kettle', answer[0][1] + 0.01)])

  def test_maps_are_the_networks(self):
    found = self.explainer(encoded())
    images = objective.normalize(
      self.explainer.experiment, tf.constant(found.pixels[None])
    )
    self.assertEqual(found.stage, 's1')
    expected, _ = maps.class_map(self.explainer.model, images, stage='s1')
    np.testing.assert_allclose(found.class_map, expected[0], rtol=1e-5)
    weights = maps.attention_weights(self.explainer.model, images)
    self.assertEqual(list(found.attention), list(weights))
    for block, each in found.attention.items():
      rows = weights[block][0].numpy().mean(axis=1)  # [heads, key]
      self.assertAlmostEqual(each.mean.sum(), 1, places=5)
      np.testing.assert_allclose(each.mean.ravel(), rows.mean(0), rtol=1e-5)
      for head, values in each.heads.items():
        np.testing.assert_allclose(values.ravel(), rows[head], rtol=1e-5)

  def test_options(self):
    options = explanation.Options(
      blocks=('s4',), heads=(1, 0), query=(1.0, 0.0), stage='s2'
    )
    found = explanation.Explainer(EXPORT, options)(encoded())
    (block,) = found.attention
    self.assertStartsWith(block, 's4_block')
    self.assertEqual(list(found.attention[block].heads), [1, 0])
    self.assertEqual((found.stage, found.query), ('s2', (1.0, 0.0)))

  @parameterized.parameters(
    ({'blocks': ('s1',)}, "`blocks` names 's1'"),
    ({'heads': (0, 99)}, r'`heads` names 99, but s3_block0 has \d heads, 0 to'),
    ({'heads': (-1,)}, '`heads` names -1'),
    ({'stage': 's9'}, "`stage` is 's9'"),
  )
  def test_what_the_network_does_not_have(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      explanation.Explainer(EXPORT, explanation.Options(**options))

  @parameterized.parameters((1.5, 0.0), (0.0, -0.1), (float('nan'), 0.0))
  def test_a_place_outside_of_the_image(self, *query):
    with self.assertRaisesRegex(ValueError, 'two numbers from 0 to 1'):
      explanation.Options(query=query)

  def test_what_does_not_decode(self):
    with self.assertRaises(tf.errors.InvalidArgumentError):
      self.explainer(encoded()[:100])


if __name__ == '__main__':
  absltest.main()
