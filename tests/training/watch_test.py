"""Tests of training.watch: a step that is not finite changes nothing."""

import contextlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import (
  checkpoints,
  ema,
  optimizer as optimizer_lib,
  stages,
  watch,
)
from tests.fixtures import bad_steps, devices, trainers


def setUpModule():
  devices.use_two_cpus()


class StepTest(tf.test.TestCase, parameterized.TestCase):
  """One trainer; which step goes wrong, and how, is said by variables."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    stack = cls.enterClassContext(contextlib.ExitStack())
    cls.fault = bad_steps.Fault()
    stack.enter_context(cls.fault.in_schedule())
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    cls.made = trainers.make(
      trainers.small_experiment(run={'max_loss': 100.0}),
      strategy,
      make=cls.fault.trainer,
    )
    cls.start = trainers.values(cls.made)

  def setUp(self):
    super().setUp()
    trainers.assign(self.made, self.start)

  def _train(self, loop, *, kind, steps):
    self.fault.set(kind=kind, steps=steps)
    output = self.made.train(tf.constant(loop))
    return output, trainers.values(self.made)

  def _changed(self, before, after):
    """Names of variables that differ by a bit, but for the step."""
    self.assertEqual(before.keys(), after.keys())
    return [
      name
      for name, value in before.items()
      if value.tobytes() != after[name].tobytes()
    ]

  @parameterized.parameters(*bad_steps.KINDS)
  def test_nothing_changes_but_the_step(self, kind):
    for step in (1, 3):
      with self.subTest(step=step):
        before = trainers.values(self.made)
        output, after = self._train(1, kind=kind, steps=[step])
        self.assertEqual(self._changed(before, after), ['step'])
        self.assertEqual(after['step'], step)
        self.assertEqual(output['bad_steps'], 1)
        # No step was sound: there is no mean to tell.
        self.assertTrue(np.isnan(output['loss']))
        found = self.made.watch.found()
        self.assertEqual((found.count, found.step), (1, step))
        self._train(1, kind=kind, steps=[])

  @parameterized.parameters((1, 'loss'), (3, 'statistic'), (5, 'loss'))
  def test_at_every_position_of_a_loop(self, place, kind):
    trainers.rewind(self.made)
    outputs = [self._train(1, kind=kind, steps=[place])[0] for _ in range(5)]
    expected = trainers.values(self.made)
    trainers.assign(self.made, self.start)
    trainers.rewind(self.made)
    output, actual = self._train(5, kind=kind, steps=[place])
    self.assertEqual(self._changed(expected, actual), [])
    self.assertEqual(output['bad_steps'], 1)
    # The means are those of the four steps that were sound.
    for name in ('loss', 'gradient_norm'):
      self.assertAllClose(
        output[name], np.nanmean([o[name] for o in outputs]), rtol=1e-5
      )

  def test_goes_on_with_the_data_that_follow(self):
    """Two steps of which the first is left out, and two that are taken."""
    trainers.rewind(self.made)
    self._train(2, kind='loss', steps=[1])
    skipped = trainers.values(self.made)
    trainers.assign(self.made, self.start)
    trainers.rewind(self.made)
    whole = self._train(2, kind='loss', steps=[])[1]
    self.assertIn('weights/logits/kernel', self._changed(skipped, whole))
    self.assertTrue(all(np.isfinite(v).all() for v in skipped.values()))

  def test_what_was_first_and_how_many_in_a_row(self):
    output, _ = self._train(6, kind='loss', steps=[2, 4, 5])
    self.assertEqual(output['bad_steps'], 3)
    found = self.made.watch.found()
    self.assertEqual((found.count, found.in_a_row, found.step), (3, 2, 2))
    self.assertTrue(np.isnan(found.loss))
    # A row goes on from loop to loop, and ends with a sound step.
    self._train(2, kind='loss', steps=[8])
    self.assertEqual(self.made.watch.found().in_a_row, 1)
    self._train(1, kind='loss', steps=[9])
    self.assertEqual(self.made.watch.found().in_a_row, 2)
    self._train(1, kind='loss', steps=[])
    self.assertEqual(self.made.watch.found(), watch.Found())

  @parameterized.parameters(
    ('gradient', bad_steps.GRADIENT), ('statistic', bad_steps.STATISTIC)
  )
  def test_names_the_variable(self, kind, name):
    self._train(1, kind=kind, steps=[1])
    self.assertEqual(self.made.watch.found().variable, name)

  def test_a_spike_of_the_loss(self):
    _, after = self._train(1, kind='spike', steps=[1])
    self.assertEqual(self._changed(self.start, after), ['step'])
    found = self.made.watch.found()
    self.assertGreater(found.loss, 100.0)
    self.assertIsNone(found.variable)

  def test_weights_that_are_not_finite_from_the_start(self):
    variables = checkpoints.named_weights(self.made.model)
    kernel = variables['s0/conv0/kernel']
    value = kernel.numpy()
    value[0, 0, 0, 0] = np.nan
    kernel.assign(value)
    before = trainers.values(self.made)
    _, after = self._train(2, kind='loss', steps=[])
    self.assertEqual(self._changed(before, after), ['step'])
    self.assertEqual(self.made.watch.found().in_a_row, 2)
    self.assertEqual(self.made.not_finite(), ['s0/conv0/kernel'])

  def test_one_program(self):
    self._train(3, kind='loss', steps=[2])
    self.assertEqual(self.made.train_loop.experimental_get_tracing_count(), 1)


class FormsTest(tf.test.TestCase, parameterized.TestCase):
  """Ways to train, each with a step that goes wrong."""

  @parameterized.named_parameters(
    ('microbatches', {'optimizer': {'microbatches': 2}}),
    ('no_clipping', {'optimizer': {'clip_norm': None, 'layer_decay': 0.8}}),
    ('bfloat16', {'model': {'dtype': 'mixed_bfloat16'}}),
    ('compiled', {'run': {'jit_compile': True}}),
    ('frozen', {'optimizer': {'trainable': ('s4', 'head')}}),
  )
  def test_one_device(self, settings):
    self._check(
      trainers.small_experiment(**settings),
      tf.distribute.OneDeviceStrategy('CPU:0'),
    )

  @parameterized.parameters(True, False)
  def test_two_replicas(self, synchronized):
    self._check(
      trainers.small_experiment(model={'sync_batch_norm': synchronized}),
      devices.two_replicas(),
    )

  def _check(self, experiment, strategy):
    """A fault of the last replica alone leaves all as it was."""
    fault = bad_steps.Fault()
    made = trainers.make(experiment, strategy, make=fault.trainer)
    # Statistics move only where a BatchNorm is trained.
    moving = [
      name
      for name in checkpoints.named_weights(made.model)
      if 'moving_' in name
      and not stages.is_frozen(name, experiment.optimizer.trainable)
    ]
    kinds = ['loss', 'gradient', *(['statistic'] if moving else [])]
    for number, kind in enumerate(kinds):
      fault.set(kind=kind, steps=[])
      before = trainers.values(made)
      made.train(tf.constant(1))
      between = trainers.values(made)
      self.assertFalse(
        np.array_equal(
          before['weights/logits/kernel'], between['weights/logits/kernel']
        )
      )
      fault.set(kind=kind, steps=[2 * number + 2])
      output = made.train(tf.constant(1))
      self.assertEqual(output['bad_steps'], 1)
      after = trainers.values(made)
      for name, value in between.items():
        if not name.startswith('step'):
          self.assertEqual(value.tobytes(), after[name].tobytes(), name)
      self.assertEqual(made.not_finite(), [])


class HighestRateTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(
    dict(),
    dict(clip_norm=None),
    dict(epsilon=1e-15, clip_norm=None),
    dict(beta_1=0.95, beta_2=0.8, clip_norm=None),
    dict(weight_decay=0.0),
  )
  def test_updates_are_finite_up_to_it(self, **kwargs):
    settings = dict(
      beta_1=0.9, beta_2=0.999, epsilon=1e-6, weight_decay=0.05, clip_norm=1.0
    )
    settings |= kwargs
    rate = watch.highest_rate(**settings)
    # It never stands in the way of a rate that anybody trains by.
    self.assertGreater(rate, 1.0)
    largest = np.finfo(np.float32).max
    variable = tf.Variable([largest, -largest, 0.0, 1.0], name='a/kernel')
    config = optimizer_lib.OptimizerConfig(
      peak_learning_rate=rate, decay='constant', **settings
    )
    optimizer = optimizer_lib.make_optimizer(
      config,
      optimizer_lib.make_schedule(config, total_steps=9, warmup_steps=0),
      variables=[variable],
    )
    root = np.sqrt(largest) / 4
    for gradient in ([root, 1e-18, 1e-25, root], [-root, 0.0, 1.0, 1e-30]):
      optimizer_lib.apply_gradients(
        optimizer,
        [tf.constant(gradient, tf.float32)],
        variables=[variable],
        clip_norm=settings['clip_norm'],
      )
      self.assertTrue(np.isfinite(variable.numpy()).all(), variable)

  def test_nothing_is_for_sure_without_an_epsilon(self):
    rate = watch.highest_rate(
      beta_1=0.9, beta_2=0.999, epsilon=0.0, weight_decay=0.0, clip_norm=1.0
    )
    self.assertEqual(rate, 0.0)


class AverageTest(tf.test.TestCase):
  def test_stays_even_beside_what_is_no_number(self):
    variable = tf.Variable([1.0, 2.0], name='w')
    average = ema.WeightAverage({'w': variable}, decay=0.5)
    variable.assign([np.nan, 4.0])
    average.update(tf.constant(5), applies=tf.constant(0.0))
    self.assertAllEqual(average.averages['w'], [1.0, 2.0])
    variable.assign([3.0, 4.0])
    average.update(tf.constant(5), applies=tf.constant(1.0))
    self.assertAllClose(average.averages['w'], [2.2, 3.2])


class DeterminismTest(tf.test.TestCase):
  def test_two_runs_are_equal_to_the_last_bit(self):
    digests = [
      trainers.digest_of_run(
        trainers.small_experiment(train_data={'mixup_alpha': 0.8}), steps=300
      )
      for _ in range(2)
    ]
    self.assertEqual(*digests)
    other = trainers.digest_of_run(
      trainers.small_experiment(
        train_data={'mixup_alpha': 0.8}, run={'seed': 1}
      ),
      steps=3,
    )
    self.assertNotEqual(other, digests[0])


if __name__ == '__main__':
  tf.test.main()
