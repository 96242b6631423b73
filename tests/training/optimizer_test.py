"""Tests of training.optimizer: AdamW written out in NumPy, closed forms."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import optimizer as optimizer_lib
from tests.fixtures import devices


def setUpModule():
  devices.use_two_cpus()


def _config(**kwargs):
  settings = dict(
    peak_learning_rate=0.1, decay='linear', weight_decay=0.3, clip_norm=1.0
  )
  return optimizer_lib.OptimizerConfig(**{**settings, **kwargs})


def _adamw(weights, gradients, *, schedule, config, decayed, share=1.0):
  """Loshchilov and Hutter's algorithm 2 with decay lr x rate x w.

  With the epsilon of Kingma and Ba's remark before their Sec. 2.1, which
  TensorFlow's Adam has: it is added to the root of the uncorrected moment.
  """
  w = np.array(weights, np.float64)
  m, v = np.zeros_like(w), np.zeros_like(w)
  for t, g in enumerate(gradients, start=1):
    rate = share * float(schedule(t - 1))
    m = config.beta_1 * m + (1 - config.beta_1) * g
    v = config.beta_2 * v + (1 - config.beta_2) * g * g
    correction = np.sqrt(1 - config.beta_2**t) / (1 - config.beta_1**t)
    if decayed:
      w = w - rate * config.weight_decay * w
    w = w - rate * correction * m / (np.sqrt(v) + config.epsilon)
  return w


class OptimizerTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(1, 2)
  def test_adamw_decays_kernels_by_the_scheduled_rate(self, replicas):
    config = _config(clip_norm=None)
    schedule = optimizer_lib.make_schedule(
      config, total_steps=8, warmup_steps=3
    )
    optimizer = optimizer_lib.make_optimizer(config, schedule)
    start = [[1.0, -2.0], [3.0, 0.5]]
    # Mirrored variables are decayed part by part, or not at all.
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    if replicas == 2:
      strategy = devices.two_replicas()
    with strategy.scope():
      kernel = tf.Variable(start, name='s1_block0/expand_conv/kernel')
      bias = tf.Variable(start, name='s3_block0/attention/relative_bias')
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(2, 2)).astype(np.float32) for _ in range(6)]

    @tf.function
    def step(g):
      def fn():
        shares = [g / replicas, g / replicas]
        return optimizer_lib.apply_gradients(
          optimizer, shares, variables=[kernel, bias], clip_norm=None
        )

      return strategy.run(fn)

    for g in gradients:
      step(tf.constant(g))
    settings = dict(schedule=schedule, config=config)
    self.assertAllClose(
      kernel, _adamw(start, gradients, decayed=True, **settings), rtol=1e-5
    )
    self.assertAllClose(
      bias, _adamw(start, gradients, decayed=False, **settings), rtol=1e-5
    )

  @parameterized.parameters(1, 2)
  def test_rates_by_layer(self, replicas):
    config = _config(clip_norm=None)
    schedule = optimizer_lib.make_schedule(
      config, total_steps=8, warmup_steps=3
    )
    shares = {'s0': 0.25, 's4_block0': 0.5, 'logits': 1.0}
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    if replicas == 2:
      strategy = devices.two_replicas()
    start = [1.0, -2.0, 0.5]
    with strategy.scope():
      optimizer = optimizer_lib.make_optimizer(config, schedule, shares=shares)
      variables = [
        tf.Variable(start, name=f'{layer}/{name}')
        for layer in shares
        for name in ('kernel', 'bias')
      ]
    rng = np.random.default_rng(1)
    # [step, variable, 3]
    gradients = rng.normal(size=(4, len(variables), 3)).astype(np.float32)

    @tf.function
    def step(g):
      def fn():
        return optimizer_lib.apply_gradients(
          optimizer,
          [g[i] / replicas for i in range(len(variables))],
          variables=variables,
          clip_norm=None,
        )

      return strategy.run(fn)

    for g in gradients:
      step(tf.constant(g))
    for i, variable in enumerate(variables):
      layer, name = variable.name.removesuffix(':0').split('/')
      expected = _adamw(
        start,
        gradients[:, i],
        schedule=schedule,
        config=config,
        decayed=name == 'kernel',
        share=shares[layer],
      )
      self.assertAllClose(variable, expected, rtol=1e-5, msg=variable.name)

  def test_reduces_before_it_clips(self):
    """The gradients (3, 0) and (0, 4) of two replicas have norm 5 together."""
    strategy = devices.two_replicas()
    with strategy.scope():
      variable = tf.Variable([0.0, 0.0], name='kernel')
      seen = []

      class Recorder(tf.keras.optimizers.legacy.SGD):
        def apply_gradients(self, grads_and_vars, decay_var_list, **kwargs):
          seen.append(list(decay_var_list))
          return super().apply_gradients(grads_and_vars, **kwargs)

      optimizer = Recorder(1.0)

    @tf.function
    def step():
      def fn():
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group == 0
        gradient = tf.where(first, [3.0, 0.0], [0.0, 4.0])
        return optimizer_lib.apply_gradients(
          optimizer, [gradient], variables=[variable], clip_norm=1.0
        )

      return strategy.run(fn)

    norms = strategy.experimental_local_results(step())
    self.assertAllClose(norms, [5.0, 5.0])
    self.assertAllClose(variable, [-0.6, -0.8])
    # The variable and its part on each replica.
    self.assertLen(seen[0], 3)

  def test_what_is_decayed(self):
    for name, decayed in (
      ('s0/conv0/kernel', True),
      ('s1_block0/depthwise_conv/depthwise_kernel', True),
      ('s3_block0/attention/query/kernel', True),
      ('logits/bias', False),
      ('s3_block0/attention/relative_bias', False),
      ('s3_block0/attention_norm/gamma', False),
      ('s1_block0/pre_norm/beta', False),
    ):
      variable = tf.Variable(0.0, name=name)
      self.assertEqual(optimizer_lib.is_decayed(variable), decayed, name)

  def test_errors_name_the_parameter(self):
    for field, value in (
      ('peak_learning_rate', 0.0),
      ('decay', 'cosinus'),
      ('clip_norm', -1.0),
      ('microbatches', 0),
      ('microbatches', True),
      ('ema_decay', 1.0),
      ('layer_decay', 0.0),
      ('layer_decay', 1.5),
    ):
      with self.assertRaisesRegex(ValueError, f'`OptimizerConfig.{field}` is'):
        _config(**{field: value})


if __name__ == '__main__':
  tf.test.main()
