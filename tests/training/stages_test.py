"""Tests of training.stages: which stages are trained, and how fast."""

import dataclasses
import unittest

import numpy as np
import tensorflow as tf

from official_coatnet.data import pipeline
from official_coatnet.modeling import config as model_config, network
from official_coatnet.training import (
  checkpoints,
  plan,
  reporting,
  stages,
  trainer,
)
from tests.fixtures import devices, experiments as fixture, graphs


def setUpModule():
  devices.use_two_cpus()
  unittest.enterModuleContext(graphs.unoptimized())


def _one_device():
  return tf.distribute.OneDeviceStrategy('CPU:0')


def _train(*, strategy=None, steps=2, model=None, run=None, **optimizer):
  """Trains; returns the trainer, and the weights before and after."""
  strategy = strategy or _one_device()
  experiment = fixture.make_experiment(
    model=model,
    run=run,
    # What rounding does to a gradient that is as good as zero is no matter.
    optimizer={'epsilon': 1e-3, 'ema_decay': 0.5, **optimizer},
  )
  replicas = strategy.num_replicas_in_sync
  tf.keras.utils.set_random_seed(1)
  with strategy.scope():
    made = trainer.Trainer(
      experiment,
      network.classifier(experiment.model, draw_keys=True),
      plan=plan.make_plan(
        experiment,
        num_replicas=replicas,
        num_train_examples=8,
        num_eval_examples=8,
      ),
      strategy=strategy,
      clock=reporting.Clock(num_cores=replicas, batch_size=4),
    )
  made.set_dataset(
    strategy.distribute_datasets_from_function(
      lambda context: pipeline.make_dataset(
        experiment.train_data, seed=3, is_training=True, input_context=context
      )
    )
  )
  weights = checkpoints.named_weights(made.model)
  before = {name: v.numpy() for name, v in weights.items()}
  made.output = made.train(tf.constant(steps))
  return made, before, {name: v.numpy() for name, v in weights.items()}


class TrainableTest(tf.test.TestCase):
  def _assert_frozen(self, made, before, after, *, trained):
    """Compares weights, statistics and averages to the last bit."""
    for name, value in after.items():
      if name.split('/')[0].split('_block')[0] in trained:
        continue
      np.testing.assert_array_equal(value, before[name], err_msg=name)
      np.testing.assert_array_equal(
        made.average.averages[name].numpy(), before[name], err_msg=name
      )

  def test_the_head_alone(self):
    made, before, after = _train(trainable=('head',), weight_decay=0.5)
    head = ('head_norm', 'pre_logits', 'logits')
    self._assert_frozen(made, before, after, trained=head)
    changed = {n for n in after if np.any(after[n] != before[n])}
    self.assertEqual(changed, {n for n in after if n.split('/')[0] in head})
    # Two moments a weight of the head, and the count of steps.
    self.assertLen(made.optimizer.variables(), 1 + 2 * len(changed))

  def test_clips_by_the_norm_of_what_is_trained(self):
    # A moment after one step: (1 - beta_1) x the clipped gradient, norm 1.
    made, _, _ = _train(steps=1, trainable=('head',), clip_norm=1e-2)
    moments = [
      made.optimizer.get_slot(v, 'm') for v in made.model.trainable_variables
    ]
    self.assertAllClose(tf.linalg.global_norm(moments), 0.1 * 1e-2, rtol=1e-4)

  def test_each_way_to_run_gives_the_same(self):
    """S3 is trained through S4, which is frozen; neither has a BatchNorm."""
    settings = dict(trainable=('s3', 'head'), layer_decay=0.5)
    made, before, expected = _train(**settings)
    trained = ('s3', 'head_norm', 'pre_logits', 'logits')
    self._assert_frozen(made, before, expected, trained=trained)
    for name, other in (
      ('rematerialized', dict(model={'rematerialize': 'all'}, microbatches=2)),
      ('compiled', dict(run={'jit_compile': True})),
      ('replicas', dict(strategy=devices.two_replicas())),
    ):
      made, before, after = _train(**settings, **other)
      self._assert_frozen(made, before, after, trained=trained)
      for weight, value in expected.items():
        self.assertAllClose(
          after[weight], value, atol=2e-5, msg=f'{name}: {weight}'
        )

  def test_stages_are_the_layouts(self):
    config = model_config.ModelConfig('coatnet_0')
    self.assertEqual(
      stages.names(config), ('s0', 's1', 's2', 's3', 's4', 'head')
    )
    for chosen, stored in (
      (None, None),
      ('all', None),
      ('head', ('head',)),
      (['s4', 'head'], ('s4', 'head')),
    ):
      made = fixture.make_experiment(optimizer={'trainable': chosen})
      self.assertEqual(made.optimizer.trainable, stored)
      self.assertEqual(type(made).from_dict(made.to_dict()), made)

  def test_bad_values(self):
    for chosen, words in (
      (('s5', 'head'), "has no stage 's5'; it must be a tuple of s0, s1, "),
      (('blocks',), "has no stage 'blocks'"),
      ((), 'it must be a tuple of different stages'),
      (('s4', 's4'), 'it must be a tuple of different stages'),
      ((4,), 'it must be a tuple of different stages'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        fixture.make_experiment(optimizer={'trainable': chosen})
    with self.assertRaisesRegex(ValueError, '`optimizer.layer_decay` is 0.5'):
      fixture.make_experiment(
        optimizer={'trainable': ('head',), 'layer_decay': 0.5}
      )

  def test_a_new_last_layer_is_not_frozen(self):
    stages.check_new(['logits/kernel'], ('s4', 'head'))
    stages.check_new(['logits/kernel'], None)
    stages.check_new([], ('s4',))
    with self.assertRaisesRegex(ValueError, "new and would stay.*add 'head'"):
      stages.check_new(['logits/kernel', 'logits/bias'], ('s4',))


class LearningRatesTest(tf.test.TestCase):
  def test_depth_from_the_head(self):
    config = dataclasses.replace(
      fixture.make_experiment().model, blocks=(2, 1, 2, 1, 1)
    )
    model = network.classifier(config, draw_keys=True)
    self.assertIsNone(stages.learning_rates(model, None))
    rates = stages.learning_rates(model, 0.5)
    self.assertEqual(
      rates,
      {
        's0': 2.0**-6,
        's1_block0': 2.0**-5,
        's2_block0': 2.0**-4,
        's2_block1': 2.0**-3,
        's3_block0': 2.0**-2,
        's4_block0': 2.0**-1,
        'head_norm': 1.0,
        'pre_logits': 1.0,
        'logits': 1.0,
      },
    )


if __name__ == '__main__':
  tf.test.main()
