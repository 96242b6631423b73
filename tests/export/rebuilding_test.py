import json
import os
import shutil

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.export import rebuilding, saved_model
from official_coatnet.training import objective
from tests.fixtures import experiments, repository, runs

_STORED = os.path.join(repository.ROOT, 'tests', 'compatibility', 'v0_1')


def _logits(path):
  """Of random pixels, by the export and by the network built from it."""
  model, experiment = rebuilding.rebuild(path)
  height, width = experiment.model.height_width
  pixels = tf.constant(
    np.random.default_rng(0).integers(0, 256, (3, height, width, 3)), tf.uint8
  )
  signatures = tf.saved_model.load(path).signatures
  expected = signatures['serving_image_tensor'](image=pixels)['logits']
  return expected, model(objective.normalize(experiment, pixels)), model


class RebuildingTest(parameterized.TestCase):
  @parameterized.parameters(
    ({}, True),
    ({'relative_attention': 'post_softmax', 'dtype': 'mixed_bfloat16'}, False),
    ({'name': 'timm_coatnet_rmlp_nano_rw', 'blocks': (2, 1, 1, 1, 1),
      'widths': (8, 16, 16, 32, 32), 'head_size': 16}, True),
  )  # fmt: skip
  def test_it_answers_as_the_export(self, model, folded):
    folder = self.create_tempdir().full_path
    experiment = experiments.make_experiment(
      model={**model, 'rematerialize': 'all', 'stochastic_depth': 0.2}
    )
    run = runs.write_run(os.path.join(folder, 'run'), experiment)
    path = saved_model.export(run, os.path.join(folder, 'exports'), fold=folded)
    expected, found, _ = _logits(path)
    self.assertGreater(np.std(expected), 0.05)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)

  def test_an_export_of_an_earlier_version(self):
    path = os.path.join(_STORED, 'exports', '1')
    expected, found, model = _logits(path)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    self.assertFalse(
      [v.name for v in model.weights if 'moving_variance' in v.name],
      'the norms are folded',
    )

  def test_refuses_what_does_not_belong_together(self):
    source = os.path.join(_STORED, 'exports', '1')
    path = os.path.join(self.create_tempdir().full_path, '1')
    shutil.copytree(source, path)
    file = os.path.join(path, 'experiment.json')
    with open(file) as f:
      values = json.load(f)
    values['model']['widths'][-1] *= 2
    with open(file, 'w') as f:
      json.dump(values, f)
    with self.assertRaisesRegex(ValueError, r'are not those of the network'):
      rebuilding.rebuild(path)
    os.remove(file)
    with self.assertRaisesRegex(ValueError, r'has no experiment\.json'):
      rebuilding.rebuild(path)


if __name__ == '__main__':
  absltest.main()
