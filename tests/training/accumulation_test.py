"""Tests of training.accumulation, and of steps in microbatches."""

import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import network
from official_coatnet.training import (
  accumulation,
  checkpoints,
  objective,
  plan,
  reporting,
  trainer,
)
from tests.fixtures import experiments as fixture, graphs


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def _sum_of_squares(w):
  """Returns what `accumulate` wants, for the loss sum((x w)^2)."""

  def fn(batch):
    with tf.GradientTape() as tape:
      # [examples, 3] x [3, 2] -> [examples, 2]
      y = tf.matmul(batch['x'], w)
      loss = tf.reduce_sum(y**2)
    return [tape.gradient(loss, w)], {'y': y}

  return fn


def _experiment(*, microbatches, norm='layer_norm', rematerialize=()):
  return fixture.make_experiment(
    model={
      'blocks': (1, 1, 1, 1, 1),
      'widths': (8, 8, 8, 16, 16),
      'head_size': 8,
      'dtype': 'float64',
      'stochastic_depth': 0.5,
      'norm': norm,
      'rematerialize': rematerialize,
      'batch_norm_momentum': 0.5,
    },
    train_data={'batch_size': 8, 'on_error': 'skip', 'mixup_alpha': 0.8},
    eval_data={'batch_size': 8},
    optimizer={
      'ema_decay': 0.5,
      'clip_norm': 0.1,
      'epsilon': 1e-3,
      'peak_learning_rate': 1e-2,
      'microbatches': microbatches,
    },
  )


def _batch():
  """Eight examples, of which two were left out, all in one half."""
  rng = np.random.default_rng(0)
  return {
    'image': tf.constant(rng.integers(0, 256, (8, 32, 32, 3)), tf.uint8),
    'label': tf.constant(rng.integers(0, 5, (8, 1)), tf.int32),
    'index': tf.range(8, dtype=tf.int64),
    'mixup_ratio': tf.constant(rng.uniform(size=8), tf.float32),
    'skipped': tf.constant([0, 1, 0, 1, 0, 0, 0, 0], tf.float32),
  }


def _train(experiment, *, num_steps=2):
  """Returns results, weights and averages after some steps."""
  tf.keras.utils.set_random_seed(1)
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  steps = plan.make_plan(
    experiment, num_replicas=1, num_train_examples=8, num_eval_examples=8
  )
  with strategy.scope():
    made = trainer.Trainer(
      experiment,
      network.classifier(experiment.model, draw_keys=True),
      plan=steps,
      strategy=strategy,
      clock=reporting.Clock(num_cores=1, batch_size=8),
    )
  # Two of eight images are more than may be left out.
  made._metrics.skipped.check = lambda **kwargs: None
  made.set_dataset(tf.data.Dataset.from_tensors(_batch()).repeat())
  output = made.train(tf.constant(num_steps))
  weights = checkpoints.named_weights(made.model)
  values = {name: output[name] for name in ('loss', 'top1', 'gradient_norm')}
  values |= {k: v.numpy() for k, v in weights.items()}
  values |= {f'ema/{k}': v.numpy() for k, v in made.average.averages.items()}
  return made, values


class AccumulationTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.product(unroll=(False, True), jit_compile=(False, True))
  def test_sums_of_gradients_and_order_of_results(self, unroll, jit_compile):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 3)), rng.normal(size=(3, 2))
    variable = tf.Variable(w)

    @tf.function(jit_compile=jit_compile)
    def run(x):
      return accumulation.accumulate(
        _sum_of_squares(variable),
        {'x': x},
        microbatches=3,
        variables=[variable],
        result_specs={'y': tf.TensorSpec([2], tf.float64)},
        unroll=unroll,
      )

    (gradient,), results = run(tf.constant(x))
    self.assertAllClose(gradient, 2 * x.T @ x @ w, rtol=1e-12)
    self.assertAllClose(results['y'], x @ w, rtol=1e-12)

  def test_eager(self):
    variable = tf.Variable([[1.0], [2.0]])
    (gradient,), results = accumulation.accumulate(
      _sum_of_squares(variable),
      {'x': tf.constant([[1.0, 0.0], [0.0, 3.0]])},
      microbatches=2,
      variables=[variable],
      result_specs={'y': tf.TensorSpec([1], tf.float32)},
    )
    self.assertAllClose(gradient, [[2.0], [36.0]])
    self.assertAllClose(results['y'], [[1.0], [6.0]])


class StepTest(tf.test.TestCase):
  def test_equals_the_batch_in_one_piece(self):
    # Masked examples, mixup, stochastic depth, clipping and EMA are all on; and
    # in the loop rematerialisation, which is to change nothing.
    _, whole = _train(_experiment(microbatches=1))
    _, parts = _train(_experiment(microbatches=4, rematerialize='all'))
    self.assertEqual(set(parts), set(whole))
    self.assertGreater(parts['gradient_norm'], 0.1)
    for name, value in whole.items():
      # float64; the loss and the metrics are float32.
      single = name in ('loss', 'top1', 'gradient_norm')
      tolerance = 1e-6 if single else 1e-8
      self.assertAllClose(parts[name], value, tolerance, tolerance, name)

  def test_batch_norm_moves_once_a_microbatch(self):
    experiment = _experiment(
      microbatches=2, norm='batch_norm', rematerialize='all'
    )
    made, _ = _train(experiment, num_steps=1)
    # The first BatchNorm follows the stem, here with the weights of the start.
    tf.keras.utils.set_random_seed(1)
    start = network.classifier(experiment.model, draw_keys=True)
    images, _ = objective.device_half(experiment, _batch(), is_training=True)
    y = start.get_layer('s0')(images).numpy()
    moving = np.zeros(8)
    for part in (y[:4], y[4:]):
      moving = 0.5 * moving + 0.5 * part.mean((0, 1, 2))
    norm = made.model.get_layer('s1_block0').pre_norm
    self.assertAllClose(norm.moving_mean, moving, rtol=1e-6, atol=1e-9)
    self.assertEqual(int(made.optimizer.iterations), 1)


if __name__ == '__main__':
  tf.test.main()
