"""Tests of training.ema, on two logical CPU devices."""

import numpy as np
import tensorflow as tf

from official_coatnet.training import ema
from tests.fixtures import devices


def setUpModule():
  devices.use_two_cpus()


def _variables():
  weight = tf.Variable([1.0, 2.0], name='w')
  # As Keras makes BatchNorm's moving statistics.
  statistic = tf.Variable(
    [0.0],
    trainable=False,
    synchronization=tf.VariableSynchronization.ON_READ,
    aggregation=tf.VariableAggregation.MEAN,
    name='moving_mean',
  )
  return {'w': weight, 'moving_mean': statistic}


class EmaTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.strategy = devices.two_replicas()

  def _make(self, **kwargs):
    with self.strategy.scope():
      variables = _variables()
      average = ema.WeightAverage(variables, **{'decay': 0.9, **kwargs})
    return variables, average

  def _step(self, variables, average, *, step):
    """Moves the weights by one, the statistic of replica r by r, averages."""

    @tf.function
    def run():
      def fn():
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.float32)
        variables['moving_mean'].assign_add([replica])
        average.update(tf.constant(step))

      self.strategy.run(fn)

    with self.strategy.scope():
      variables['w'].assign_add([1.0, 1.0])
    run()

  def test_follows_the_recursion_and_averages_replicas(self):
    variables, average = self._make(dynamic_decay=False)
    w, m = np.array([1.0, 2.0]), 0.0
    ema_w, ema_m = w.copy(), 0.0
    for step in range(1, 4):
      self._step(variables, average, step=step)
      w += 1
      m += 0.5  # The mean of replicas 0 and 1.
      ema_w = 0.9 * ema_w + 0.1 * w
      ema_m = 0.9 * ema_m + 0.1 * m
    self.assertAllClose(average.averages['w'], ema_w)
    self.assertAllClose(average.averages['moving_mean'], [ema_m])
    for value in self.strategy.experimental_local_results(
      average.averages['moving_mean']
    ):
      self.assertAllClose(value, [ema_m])

  def test_dynamic_decay_of_a_young_average(self):
    variables, average = self._make(decay=0.9999)
    self._step(variables, average, step=1)
    decay = 2 / 11
    self.assertAllClose(
      average.averages['w'],
      decay * np.array([1.0, 2.0]) + (1 - decay) * np.array([2.0, 3.0]),
    )

  def test_swap_is_exact_and_undone(self):
    variables, average = self._make()
    for step in range(1, 4):
      self._step(variables, average, step=step)
    # Values whose sum rounds: exchanging by adding would change them.
    with self.strategy.scope():
      variables['w'].assign([1e8, 1e-8])
    local = self.strategy.experimental_local_results
    before = [v.numpy() for v in local(variables['moving_mean'])]
    averages = {k: v.numpy() for k, v in average.averages.items()}
    with average.swapped(self.strategy):
      for name, value in averages.items():
        self.assertAllEqual(variables[name].numpy(), value)
    self.assertAllEqual(
      variables['w'].numpy(), np.array([1e8, 1e-8], np.float32)
    )
    # Each replica has its own statistics back.
    after = [v.numpy() for v in local(variables['moving_mean'])]
    self.assertAllEqual(before, after)
    self.assertNotAllEqual(before[0], before[1])
    for name, value in averages.items():
      self.assertAllEqual(average.averages[name].numpy(), value)

  def test_swap_is_undone_after_an_error(self):
    variables, average = self._make()
    self._step(variables, average, step=1)
    with self.assertRaises(KeyError), average.swapped(self.strategy):
      raise KeyError
    self.assertAllEqual(variables['w'].numpy(), [2.0, 3.0])

  def test_reset(self):
    variables, average = self._make()
    self._step(variables, average, step=1)
    average.reset()
    self.assertAllEqual(average.averages['w'].numpy(), [2.0, 3.0])

  def test_decay_out_of_range(self):
    with self.assertRaisesRegex(ValueError, '`ema_decay` is 1.0'):
      self._make(decay=1.0)


if __name__ == '__main__':
  tf.test.main()
