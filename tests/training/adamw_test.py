"""Our AdamW takes the steps of TensorFlow Addons', to the last bit."""

import functools
import os
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet import stack
from official_coatnet.training import (
  adamw,
  ema,
  optimizer as optimizer_lib,
  schedules,
)
from tests.fixtures import devices

STEPS = 50
SHAPES = {
  's0/conv0/kernel': (3, 3, 2, 4),
  's1_block0/pre_norm/gamma': (4,),
  's3_block0/attention/relative_bias': (2, 3, 3),
  's4_block0/ffn/kernel': (4, 8),
  'logits/kernel': (8, 5),
  'logits/bias': (5,),
}
CONFIG = optimizer_lib.OptimizerConfig(
  peak_learning_rate=3e-2, weight_decay=0.3, clip_norm=1.0, ema_decay=0.9
)
OTHER = unittest.skipUnless(
  stack.has_addons(tf.__version__), 'There are no TensorFlow Addons here.'
)


class OwnLayerwise(adamw.ByLayer, adamw.DecoupledAdamW):
  pass


def setUpModule():
  devices.use_two_cpus()


def _make(variables, *, own, layer_decay):
  """Returns what a run would update the variables with."""
  schedule = optimizer_lib.make_schedule(
    CONFIG, total_steps=STEPS, warmup_steps=5
  )
  layers = [name.partition('/')[0] for name in SHAPES]
  shares = None
  if layer_decay is not None:
    shares = {n: layer_decay**i for i, n in enumerate(reversed(layers))}
  make = functools.partial(
    optimizer_lib.make_optimizer,
    CONFIG,
    schedule,
    variables=variables,
    shares=shares,
  )
  if not own:
    return make()
  with (
    mock.patch.object(adamw, 'AdamW', adamw.DecoupledAdamW),
    mock.patch.object(adamw, 'LayerwiseAdamW', OwnLayerwise),
  ):
    return make()


class Run:
  """Variables with their optimizer and average, and steps to take."""

  def __init__(self, *, own, replicas=2, layer_decay=None):
    self.strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    if replicas == 2:
      self.strategy = devices.two_replicas()
    rng = np.random.default_rng(0)
    with self.strategy.scope():
      self.variables = [
        tf.Variable(rng.normal(size=shape).astype(np.float32), name=name)
        for name, shape in SHAPES.items()
      ]
      self.optimizer = _make(self.variables, own=own, layer_decay=layer_decay)
      self.average = ema.WeightAverage(
        dict(zip(SHAPES, self.variables)), decay=CONFIG.ema_decay
      )
    self.checkpoint = tf.train.Checkpoint(
      optimizer=self.optimizer, weights=self.variables, average=self.average
    )

  def train(self, steps):
    """Takes the steps of these numbers."""

    @tf.function
    def step(gradients):
      def fn(gradients):
        # Each replica has another share of them.
        context = tf.distribute.get_replica_context()
        share = 0.4 + tf.cast(context.replica_id_in_sync_group, tf.float32) / 5
        optimizer_lib.apply_gradients(
          self.optimizer,
          [share * g for g in gradients],
          variables=self.variables,
          clip_norm=CONFIG.clip_norm,
        )
        self.average.update(self.optimizer.iterations)

      self.strategy.run(fn, args=(gradients,))

    for number in steps:
      rng = np.random.default_rng(number)
      step(
        [rng.normal(size=v.shape).astype(np.float32) for v in self.variables]
      )

  def values(self):
    """Returns all that a checkpoint holds, by its keys there."""
    folder = os.environ['TEST_TMPDIR']
    path = self.checkpoint.write(os.path.join(folder, 'values'))
    reader = tf.train.load_checkpoint(path)
    return {
      name: reader.get_tensor(name)
      for name in reader.get_variable_to_shape_map()
      if name != '_CHECKPOINTABLE_OBJECT_GRAPH'
    }


class AdamWTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir().full_path
    self.enter_context(mock.patch.dict(os.environ, TEST_TMPDIR=folder))

  def _assert_same(self, a, b):
    self.assertEqual(a.keys(), b.keys())
    for name, value in a.items():
      np.testing.assert_array_equal(value, b[name], err_msg=name)

  @OTHER
  @parameterized.product(replicas=(1, 2), layer_decay=(None, 0.75))
  def test_equals_tensorflow_addons(self, **settings):
    theirs, ours = Run(own=False, **settings), Run(own=True, **settings)
    self.assertNotIsInstance(theirs.optimizer, adamw.DecoupledAdamW)
    self.assertIsInstance(ours.optimizer, adamw.DecoupledAdamW)
    start = theirs.values()
    for run in (theirs, ours):
      run.train(range(STEPS))
    trained = theirs.values()
    for name in SHAPES:
      average = f'average/averages/{name.replace("/", ".S")}'
      self.assertNotAllClose(
        start[f'{average}/.ATTRIBUTES/VARIABLE_VALUE'],
        trained[f'{average}/.ATTRIBUTES/VARIABLE_VALUE'],
      )
    self._assert_same(trained, ours.values())

  @OTHER
  @parameterized.parameters(False, True)
  def test_a_checkpoint_of_either_goes_on_in_the_other(self, own):
    settings = dict(layer_decay=0.75)
    whole, first = Run(own=own, **settings), Run(own=own, **settings)
    whole.train(range(12))
    first.train(range(6))
    path = first.checkpoint.save(self.create_tempdir().full_path + '/ckpt')
    second = Run(own=not own, **settings)
    status = second.checkpoint.restore(path)
    status.assert_existing_objects_matched()
    status.assert_consumed()
    second.train(range(6, 12))
    expected = whole.values()
    actual = second.values()
    for run in (expected, actual):  # How often `save` was called.
      run.pop('save_counter/.ATTRIBUTES/VARIABLE_VALUE', None)
    self._assert_same(expected, actual)

  def test_configuration(self):
    optimizer = adamw.DecoupledAdamW(0.1, learning_rate=0.2, beta_1=0.8)
    copy = adamw.DecoupledAdamW.from_config(optimizer.get_config())
    self.assertEqual(copy.get_config(), optimizer.get_config())
    self.assertAlmostEqual(copy.get_config()['weight_decay'], 0.1)

  def test_decays_all_where_no_list_is_given(self):
    variable = tf.Variable([2.0, -4.0])
    optimizer = adamw.DecoupledAdamW(0.25, learning_rate=0.0)
    optimizer.apply_gradients([(tf.ones([2]), variable)])
    self.assertAllEqual(variable, [1.5, -3.0])

  def test_float64(self):
    schedule = optimizer_lib.make_schedule(
      CONFIG, total_steps=STEPS, warmup_steps=0
    )
    variable = tf.Variable([2.0], dtype=tf.float64, name='s0/conv0/kernel')
    optimizer = _make([variable], own=True, layer_decay=None)
    optimizer.apply_gradients([(tf.zeros([1], tf.float64), variable)])
    rate = float(schedules.Scaled(schedule, CONFIG.weight_decay)(0)) / 5
    # A fifth of it, by the warm-up of five steps.
    self.assertAllClose(variable, [2.0 * (1 - rate)], rtol=1e-7)
    self.assertEqual(variable.dtype, tf.float64)

  def test_sparse_gradients(self):
    variable = tf.Variable([[2.0], [4.0]])
    optimizer = adamw.DecoupledAdamW(0.25)
    gradient = tf.IndexedSlices(tf.ones([1, 1]), tf.constant([1]))
    with self.assertRaisesRegex(NotImplementedError, 'sparse'):
      optimizer.apply_gradients([(gradient, variable)])


if __name__ == '__main__':
  tf.test.main()
