"""Tests of training.evaluator: every image once, on one and two replicas."""

import contextlib
import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import device, pipeline
from official_coatnet.modeling import network
from official_coatnet.training import evaluator
from tests.fixtures import devices, experiments as fixture, graphs

_NUM_EXAMPLES = 11  # Neither a multiple of the batch nor of the replicas.


def setUpModule():
  devices.use_two_cpus()
  unittest.enterModuleContext(graphs.unoptimized())


def _experiment(batch_size=4):
  return fixture.make_experiment(
    eval_data={'num_examples': _NUM_EXAMPLES, 'batch_size': batch_size},
  )


def _make(experiment, strategy, *, expected_steps, **kwargs):
  tf.keras.utils.set_random_seed(5)
  with strategy.scope():
    model = network.classifier(experiment.model, draw_keys=True)
    # Far from uniform, so that the metrics tell the examples apart.
    model.get_layer('logits').kernel.assign(
      tf.random.stateless_normal([32, 5], seed=(1, 2))
    )
    made = evaluator.Evaluator(
      experiment,
      model,
      strategy=strategy,
      dataset=strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_dataset(
          experiment.eval_data, seed=0, is_training=False, input_context=context
        )
      ),
      expected_steps=expected_steps,
      **kwargs,
    )
  return made, model


def _by_hand(experiment, model):
  """Averages over the images one at a time, in NumPy."""
  one = pipeline.make_dataset(
    _experiment(batch_size=1).eval_data, seed=0, is_training=False
  )
  losses, hits = [], []
  for batch in one.take(_NUM_EXAMPLES):
    logits = model(
      {
        'image': device.normalize(batch['image']),
        'draw_keys': tf.zeros([1], tf.int32),
      }
    ).numpy()[0]
    label = int(batch['label'][0, 0])
    losses.append(np.log(np.exp(logits).sum()) - logits[label])
    hits.append(np.argmax(logits) == label)
  return np.mean(losses), np.mean(hits)


class EvaluatorTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters((1, 3), (1, None), (2, 3), (2, None), (1, 1))
  def test_equals_an_average_by_hand(self, replicas, expected_steps):
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    if replicas == 2:
      strategy = devices.two_replicas()
    experiment = _experiment()
    made, model = _make(experiment, strategy, expected_steps=expected_steps)
    loss, top1 = _by_hand(experiment, model)
    for _ in range(2):  # A second evaluation starts afresh.
      results = made.evaluate(tf.constant(-1))
      self.assertEqual(results['examples'], _NUM_EXAMPLES)
      self.assertAllClose(results['loss'], loss, rtol=1e-4)
      self.assertAllClose(results['top1'], top1)
      self.assertEqual(results['top5'], 1.0)

  def test_evaluates_within_its_weights_context(self):
    entered = []

    @contextlib.contextmanager
    def weights():
      entered.append('in')
      yield
      entered.append('out')

    made, _ = _make(
      _experiment(),
      tf.distribute.OneDeviceStrategy('CPU:0'),
      expected_steps=3,
      weights=weights,
    )
    made.evaluate(tf.constant(-1))
    self.assertEqual(entered, ['in', 'out'])


if __name__ == '__main__':
  tf.test.main()
