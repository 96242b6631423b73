"""Tests of training.experiment."""

import json

from absl.testing import absltest, parameterized

from official_coatnet.training import experiment as experiment_lib
from tests.fixtures import experiments as fixture


class ExperimentTest(parameterized.TestCase):
  def test_json_round_trip(self):
    experiment = fixture.make_experiment(
      model={'image_size': (32, 48), 'blocks': (2, 1, 2, 1, 1)},
      train_data={'image_size': (32, 48), 'randaugment': (2, 5)},
      eval_data={'image_size': (32, 48)},
      optimizer={'ema_decay': 0.99},
    )
    text = json.dumps(experiment.to_dict())
    self.assertEqual(
      experiment_lib.Experiment.from_dict(json.loads(text)), experiment
    )

  def test_model_and_data_must_agree(self):
    with self.assertRaisesRegex(ValueError, 'train_data.image_si.*IMAGE_SIZE'):
      fixture.make_experiment(train_data={'image_size': 64})
    with self.assertRaisesRegex(ValueError, 'eval_data.num_cl.*NUM_CLASSES'):
      fixture.make_experiment(eval_data={'num_classes': 6})

  @parameterized.parameters(
    ({'train_steps': None}, 'EPOCHS'),
    ({'steps_per_loop': 0}, '`steps_per_loop` is 0'),
    ({'weights': 'averaged'}, "`weights` is 'averaged'.*ema or raw"),
  )
  def test_run_errors(self, run, message):
    with self.assertRaisesRegex(ValueError, message):
      fixture.make_experiment(run=run)

  @parameterized.parameters(
    ({'name': 'hinge'}, 'softmax, sigmoid'),
    ({'label_smoothing': 1.0}, '`label_smoothing` is 1.0'),
    ({'smoothing': 'half'}, 'tf, full'),
    ({'reduction': 'max'}, 'sum, mean'),
  )
  def test_loss_errors(self, loss, message):
    with self.assertRaisesRegex(ValueError, message):
      fixture.make_experiment(loss=loss)

  def test_weights_rule(self):
    with_ema = {'ema_decay': 0.99}
    self.assertFalse(fixture.make_experiment().uses_ema)
    self.assertTrue(fixture.make_experiment(optimizer=with_ema).uses_ema)
    self.assertFalse(
      fixture.make_experiment(
        optimizer=with_ema, run={'weights': 'raw'}
      ).uses_ema
    )


if __name__ == '__main__':
  absltest.main()
