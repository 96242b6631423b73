"""Tests of training.experiment."""

import json
import re

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
    experiment = fixture.with_data(
      experiment, mean=(0.5, 0.5, 0.5), interpolation='bicubic'
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
    ('mean', (0.5, 0.5, 0.5), r'\(0.485, 0.456, 0.406\)'),
    ('deviation', (0.5, 0.5, 0.5), r'\(0.229, 0.224, 0.225\)'),
    ('interpolation', 'bicubic', 'bilinear'),
  )
  def test_training_and_evaluation_prepare_images_alike(
    self, field, value, default
  ):
    with self.assertRaisesRegex(
      ValueError,
      rf'`train_data.{field}` is {default}, `eval_data.{field}` is '
      rf'{re.escape(str(value))};.*DataConfig.{field}',
    ):
      fixture.make_experiment(eval_data={field: value})

  def test_what_records_no_preprocessing_has_imagenets(self):
    values = fixture.make_experiment().to_dict()
    for data in (values['train_data'], values['eval_data']):
      for field in experiment_lib.PREPROCESSING:
        del data[field]
    self.assertEqual(
      experiment_lib.Experiment.from_dict(values), fixture.make_experiment()
    )

  @parameterized.parameters(
    ({'train_steps': None}, 'EPOCHS'),
    ({'steps_per_loop': 0}, '`RunConfig.steps_per_loop` is 0'),
    (
      {'weights': 'averaged'},
      "RunConfig.weights` is 'averaged'.*'ema', 'raw',",
    ),
  )
  def test_run_errors(self, run, message):
    with self.assertRaisesRegex(ValueError, message):
      fixture.make_experiment(run=run)

  @parameterized.parameters(
    ({'name': 'hinge'}, "'softmax', 'sigmoid'"),
    ({'label_smoothing': 1.0}, '`LossConfig.label_smoothing` is 1.0'),
    ({'smoothing': 'half'}, "'tf', 'full'"),
    ({'reduction': 'max'}, "'sum', 'mean'"),
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
