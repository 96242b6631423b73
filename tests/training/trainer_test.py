"""Tests of training.trainer; replicas_test has more of several devices."""

import os
import unittest

import numpy as np
import tensorflow as tf

from official_coatnet.data import device, pipeline
from official_coatnet.modeling import network
from official_coatnet.training import (
  checkpoints,
  inputs,
  plan,
  reporting,
  trainer,
)
from tests.fixtures import (
  devices,
  experiments as fixture,
  graphs,
  trainers,
)


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def _make(experiment, strategy):
  """Returns a trainer at step 0 with batches to come."""
  tf.keras.utils.set_random_seed(1)
  replicas = strategy.num_replicas_in_sync
  steps = plan.make_plan(
    experiment,
    num_replicas=replicas,
    num_train_examples=8,
    num_eval_examples=8,
  )
  with strategy.scope():
    result = trainer.Trainer(
      experiment,
      network.classifier(experiment.model, draw_keys=True),
      plan=steps,
      strategy=strategy,
      clock=reporting.Clock(num_cores=replicas, batch_size=steps.batch_size),
    )
  result.set_dataset(
    strategy.distribute_datasets_from_function(
      lambda context: pipeline.make_dataset(
        experiment.train_data,
        seed=3,
        is_training=True,
        input_context=context,
      )
    )
  )
  return result


def _train(experiment, strategy, *, steps):
  made = _make(experiment, strategy)
  output = made.train(tf.constant(steps))
  weights = checkpoints.named_weights(made.model)
  return made, output, {k: v.numpy() for k, v in weights.items()}


class TrainerTest(tf.test.TestCase):
  def test_first_loss_is_that_of_the_model(self):
    experiment = fixture.make_experiment(loss={'label_smoothing': 0.1})
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    made = _make(experiment, strategy)
    batch = next(
      iter(
        pipeline.make_dataset(experiment.train_data, seed=3, is_training=True)
      )
    )
    logits = made.model(
      {
        'image': device.normalize(batch['image']),
        'draw_keys': tf.zeros([4], tf.int32),
      },
      training=True,
    ).numpy()
    targets = np.full((4, 5), 0.1 / 5)
    targets[np.arange(4), batch['label'][:, 0]] += 0.9
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(targets * log_p).sum(-1).mean()
    self.assertAllClose(made.train(tf.constant(1))['loss'], expected, rtol=1e-4)
    self.assertEqual(int(made.optimizer.iterations), 1)

  def test_sigmoid_loss_of_several_labels(self):
    experiment = fixture.make_experiment(
      model={'head_bias': -10.0},
      train_data={'schema': 'multilabel', 'max_labels': 3},
      eval_data={'schema': 'multilabel', 'max_labels': 3},
      loss={'name': 'sigmoid', 'label_smoothing': 1e-4},
    )
    _, output, _ = _train(
      experiment, tf.distribute.OneDeviceStrategy('CPU:0'), steps=1
    )
    # The logits are close to -10: a label costs about 10, the others nothing.
    self.assertBetween(output['loss'], 9.0, 31.0)
    self.assertIn('precision_at_1', output)

  def test_training_reduces_the_loss(self):
    experiment = fixture.make_experiment(
      model={'batch_norm_momentum': 0.9},
      train_data={'batch_size': 8, 'crop_area_range': (1.0, 1.0)},
      eval_data={'batch_size': 8},
      optimizer={'peak_learning_rate': 3e-3},
      run={'train_steps': 40},
    )
    made = _make(experiment, tf.distribute.OneDeviceStrategy('CPU:0'))
    first = made.train(tf.constant(2))['loss']
    made.train(tf.constant(36))
    self.assertLess(made.train(tf.constant(2))['loss'], 0.7 * first)
    # Loops of 2 and of 36 steps are one program.
    self.assertEqual(made.train_loop.experimental_get_tracing_count(), 1)

  def test_compiled_step_equals_the_plain_one(self):
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    outputs = []
    for jit_compile in (False, True):
      experiment = fixture.make_experiment(run={'jit_compile': jit_compile})
      outputs.append(_train(experiment, strategy, steps=2)[1])
    self.assertAllClose(outputs[0]['loss'], outputs[1]['loss'], rtol=1e-4)

  def test_class_weights_are_in_the_gradient_alone(self):
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    outputs = [
      _train(
        fixture.make_experiment(
          loss={'class_weights': weights}, optimizer={'microbatches': 2}
        ),
        strategy,
        steps=1,
      )[1]
      for weights in (None, (3.0,) * 5)
    ]
    self.assertAllClose(outputs[0]['loss'], outputs[1]['loss'], rtol=1e-6)
    self.assertAllClose(
      3 * outputs[0]['gradient_norm'], outputs[1]['gradient_norm'], rtol=1e-4
    )

  def test_draw_keys(self):
    index = tf.range(1000, dtype=tf.int64) + 2**33
    keys = trainer.draw_keys(index, seed=1)
    self.assertEqual(keys.dtype, tf.int32)
    self.assertLen(set(keys.numpy()), 1000)
    self.assertNotAllEqual(keys, trainer.draw_keys(index, seed=2))
    self.assertAllEqual(keys[7:9], trainer.draw_keys(index[7:9], seed=1))


class TwoReplicasTest(tf.test.TestCase):
  def test_what_is_restored_goes_on_to_the_last_bit(self):
    experiment = trainers.small_experiment()
    made = trainers.make(experiment, devices.two_replicas())
    made.train(tf.constant(3))
    # Else the mean that a checkpoint has would be neither replica's.
    values = trainers.values(made)
    moving = [n for n in values if 'moving_' in n and not n.endswith('@1')]
    self.assertNotEmpty(moving)
    for name in moving:
      self.assertAllEqual(values[name], values[f'{name}@1'], name)
    checkpoint = checkpoints.make_checkpoint(
      made.model,
      averages=made.average.averages,
      optimizer=made.optimizer,
    )
    path = checkpoint.write(os.path.join(self.create_tempdir(), 'ckpt-3'))
    made.train(tf.constant(2))
    expected = trainers.values(made)
    self.assertNotAllEqual(values[moving[0]], expected[moving[0]])
    with made._strategy.scope():
      checkpoint.read(path)
    made.set_dataset(
      inputs.distribute(
        experiment, made._strategy, is_training=True, start_step=3
      )
    )
    made.train(tf.constant(2))
    for name, value in trainers.values(made).items():
      self.assertEqual(value.tobytes(), expected[name].tobytes(), name)


if __name__ == '__main__':
  tf.test.main()
