import json

import numpy as np
from absl.testing import absltest, parameterized

from official_coatnet.modeling import config as config_lib, network
from official_coatnet.pretrained import conversion, timm, timm_settings
from official_coatnet.training import checkpoints
from tests.fixtures import weights as weights_lib
from tests.golden import exported

# Over the largest value of each output.
_TOLERANCE = 1e-5
_COUNTER = 'num_batches_tracked'


class ExportedTest(parameterized.TestCase):
  @parameterized.named_parameters((name, name) for name in exported.SMALL)
  def test_timm_computes_the_same_with_these_settings(self, name):
    expected = exported.read()[name]

    config = config_lib.ModelConfig(**exported.SMALL[name])
    args = json.loads(json.dumps(timm_settings.model_args(config)))
    args['num_classes'] = config.num_classes
    self.assertEqual(args, expected['model_args'])
    self.assertEqual(
      timm_settings.architecture(config), expected['architecture']
    )
    for output, difference in exported.compare(name, expected).items():
      self.assertLess(difference, _TOLERANCE, output)

  @parameterized.named_parameters((name, name) for name in exported.SMALL)
  def test_every_weight_goes_there_and_back(self, name):
    config = config_lib.ModelConfig(**exported.SMALL[name])
    model = network.classifier(config)
    weights_lib.randomize(model)
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
    self.assertEqual(shapes, exported.read()[name]['shapes'])
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
