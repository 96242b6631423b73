import json

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.modeling import config as config_lib
from official_coatnet.pretrained import conversion, timm, timm_settings
from official_coatnet.training import checkpoints
from tests.golden import exported

# Over the largest value of each output.
_TOLERANCE = 1e-5
_COUNTER = 'num_batches_tracked'
_OUTPUTS = {'logits', 's0', 's1', 's2', 's3', 's4'}


class ExportedTest(parameterized.TestCase):
  def tearDown(self):
    super().tearDown()
    tf.keras.backend.clear_session()

  @parameterized.named_parameters((name, name) for name in exported.SMALL)
  def test_timm_is_told_what_it_was_told(self, name):
    expected = exported.read()[name]
    config = config_lib.ModelConfig(**exported.SMALL[name])

    args = json.loads(json.dumps(timm_settings.model_args(config)))

    args['num_classes'] = config.num_classes
    self.assertEqual(args, expected['model_args'])
    self.assertEqual(
      timm_settings.architecture(config), expected['architecture']
    )

  @parameterized.named_parameters((name, name) for name in exported.SMALL)
  def test_computes_the_same_and_every_weight_goes_there_and_back(self, name):
    expected = exported.read()[name]
    model, config = exported.load(name, expected['shapes'])

    differences = exported.differences(model, config, expected['samples'])

    self.assertEqual(set(differences), _OUTPUTS)
    for output, difference in differences.items():
      self.assertLess(difference, _TOLERANCE, output)

    ours = {
      key: variable.numpy()
      for key, variable in checkpoints.named_weights(model).items()
    }
    state = timm_settings.to_state(ours, config)
    shapes = {
      key: list(array.shape)
      for key, array in state.items()
      if not key.endswith(_COUNTER)
    }
    self.assertEqual(shapes, expected['shapes'])
    back, report = conversion.to_ours(
      state,
      {key: array.shape for key, array in ours.items()},
      lines=timm.lines(config),
      ignored=timm.is_ignored,
    )
    self.assertCountEqual(report.loaded, ours)
    for key, array in ours.items():
      np.testing.assert_array_equal(back[key], array, err_msg=key)


if __name__ == '__main__':
  absltest.main()
