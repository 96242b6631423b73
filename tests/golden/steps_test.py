"""The mathematics of a step is what it was: README.md has the findings."""

import json

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.golden import steps

# Relative, of the first step, and for each step more: 1e-4 at the tenth.
# README.md says how far roundings move the numbers, and how far changes of the
# mathematics do.
_STEP, _GROWTH = 1e-5, 1.3
# Of the whole way of the weights; a projection has parts that cancel.
_NORM, _PROJECTION = 1e-4, 1e-3
_LOGITS = 1e-5
# Of RandAugment some processors round a few pixels otherwise: 8e-7 of a mean.
_BATCHES = 1e-5


class StepsTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    with open(steps.FILE) as f:
      cls.golden = json.load(f)

  @parameterized.product(
    implementation=steps.IMPLEMENTATIONS, loss=steps.LOSSES
  )
  def test_ten_steps(self, implementation, loss):
    expected = self.golden['steps'][implementation][loss]
    actual = steps.train(loss, implementation=implementation)
    self.assertEqual(expected.keys(), actual.keys())
    for name, values in expected.items():
      if isinstance(values, dict):
        for key, value in values.items():
          np.testing.assert_allclose(
            actual[name][key],
            value,
            rtol=_PROJECTION if key == 'projection' else _NORM,
            err_msg=f'{key} of the change of {name}',
          )
        continue
      for step, value in enumerate(values):
        np.testing.assert_allclose(
          actual[name][step],
          value,
          rtol=_STEP * _GROWTH**step,
          err_msg=f'{name} of step {step + 1}',
        )

  @parameterized.parameters(*steps.FORWARD.items())
  def test_forward_pass(self, name, settings):
    np.testing.assert_allclose(
      steps.forward(settings),
      self.golden['forward'][name],
      rtol=_LOGITS,
      atol=_LOGITS,
    )

  @parameterized.parameters(*steps.LOSSES)
  def test_batches(self, loss):
    batches = steps.batches(loss)
    self.assertLen(batches, steps.STEPS)
    for step, (expected, actual) in enumerate(
      zip(self.golden['batches'][loss], batches), start=1
    ):
      for name, value in expected.items():
        np.testing.assert_allclose(
          actual[name],
          value,
          rtol=_BATCHES,
          err_msg=f'mean of {name} of batch {step}',
        )


if __name__ == '__main__':
  tf.test.main()
