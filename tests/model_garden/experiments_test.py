"""Tests of model_garden.experiments, with Model Garden's own trainer."""

import glob
import math
import os
import unittest

import tensorflow as tf
from absl.testing import parameterized
from official.core import exp_factory, task_factory, train_lib
from official.modeling import optimization
from official.vision.utils import summary_manager

from official_coatnet.model_garden import backbone, experiments
from official_coatnet.training import optimizer as optimizer_lib
from tests.fixtures import devices, graphs, model_garden as fixture

# What an evaluation writes. None for the detector, whose evaluation takes
# longer than all the rest: Model Garden's non-maximum suppression.
_EVALUATED = {
  'coatnet_imagenet': 'validation_loss',
  'coatnet_retinanet_coco': None,
  'coatnet_semantic_segmentation': 'mean_iou',
}


def _summaries(folder: str, tag: str) -> list[float]:
  """Returns the values of a scalar in the event files of a folder."""
  found = []
  for path in sorted(glob.glob(os.path.join(folder, 'events*'))):
    for event in tf.compat.v1.train.summary_iterator(path):
      for value in event.summary.value:
        if value.tag == tag:
          found.append(float(tf.make_ndarray(value.tensor)))
  return found


class TrainingTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(*fixture.EXPERIMENTS)
  def test_two_steps_and_a_checkpoint(self, name):
    folder = self.create_tempdir().full_path
    experiment = exp_factory.get_exp_config(name)
    records = fixture.write_records(name, folder)
    experiment.override(fixture.overrides(name, records))
    experiment.validate()
    task = task_factory.get_task(experiment.task, logging_dir=folder)
    tag = _EVALUATED[name]
    model, _ = train_lib.run_experiment(
      distribution_strategy=tf.distribute.get_strategy(),
      task=task,
      mode='train_and_eval' if tag else 'train',
      params=experiment,
      model_dir=folder,
      eval_summary_manager=summary_manager.maybe_build_eval_summary_manager(
        params=experiment, model_dir=folder
      ),
    )
    losses = _summaries(os.path.join(folder, 'train'), 'training_loss')
    self.assertLen(losses, 2)
    self.assertAllInRange(losses, 1e-3, 1e3)
    if tag:
      (value,) = _summaries(os.path.join(folder, 'validation'), tag)
      self.assertTrue(math.isfinite(value))
    self.assertIsInstance(model.backbone, backbone.CoAtNetBackbone)
    saved = tf.train.load_checkpoint(tf.train.latest_checkpoint(folder))
    self.assertEndsWith(tf.train.latest_checkpoint(folder), 'ckpt-2')
    stored = saved.get_variable_to_shape_map()
    # The tables at 128 pixels: 8 x 8 places in S3.
    tables = [k for k in stored if 'relative_bias' in k and 'OPTIM' not in k]
    self.assertIn([2, 15, 15], [stored[key] for key in tables])


class Table10Test(tf.test.TestCase):
  """The values of Table 10, first column, and that they come to bear."""

  def setUp(self):
    super().setUp()
    self.experiment = experiments.coatnet_imagenet()

  def test_task(self):
    task = self.experiment.task
    coatnet = task.model.backbone.get()
    self.assertEqual(
      (coatnet.name, coatnet.stochastic_depth), ('coatnet_0', 0.2)
    )
    self.assertEqual(task.model.input_size, [224, 224, 3])
    data = task.train_data
    self.assertEqual(data.global_batch_size, 4096)
    self.assertTrue(data.aug_crop)
    randaugment = data.aug_type.get()
    self.assertEqual((randaugment.num_layers, randaugment.magnitude), (2, 15))
    self.assertEqual(randaugment.translate_const, 100)
    mixed = data.mixup_and_cutmix
    self.assertEqual((mixed.mixup_alpha, mixed.cutmix_alpha), (0.8, 0.0))
    self.assertEqual(mixed.label_smoothing, 0.1)
    self.assertEqual(task.losses.label_smoothing, 0.0)
    self.assertIsNone(self.experiment.trainer.optimizer_config.ema)

  def test_duration(self):
    trainer = self.experiment.trainer
    batch = self.experiment.task.train_data.global_batch_size
    self.assertAlmostEqual(
      trainer.train_steps * batch / 1281167, 300, delta=0.01
    )

  def test_no_image_is_left_out_of_the_evaluation(self):
    data = self.experiment.task.validation_data
    steps = self.experiment.trainer.validation_steps
    self.assertEqual(steps * data.global_batch_size, 50000)

  def test_learning_rate(self):
    trainer = self.experiment.trainer
    factory = optimization.OptimizerFactory(trainer.optimizer_config)
    theirs = factory.build_learning_rate()
    ours = optimizer_lib.make_schedule(
      optimizer_lib.OptimizerConfig(1e-3, min_learning_rate=1e-5),
      total_steps=trainer.train_steps,
      warmup_steps=10000,
    )
    # In the warm-up Model Garden is one step behind: it begins with 0.
    self.assertAllClose(theirs(5000), ours(4999))
    for step in (10000, 30000, 60000, trainer.train_steps):
      self.assertAllClose(theirs(step), ours(step), rtol=1e-4, atol=1e-9)
    self.assertAllClose(theirs(10000), 1e-3)
    self.assertAllClose(theirs(trainer.train_steps), 1e-5)


class OptimizerTest(tf.test.TestCase, parameterized.TestCase):
  def _optimizer(self, name='coatnet_imagenet', **adamw):
    config = exp_factory.get_exp_config(name).trainer.optimizer_config
    config.override({'optimizer': {'adamw': adamw}})
    return optimization.OptimizerFactory(config).build_optimizer(0.001)

  @parameterized.parameters(*fixture.EXPERIMENTS)
  def test_decays_what_our_trainer_decays(self, name):
    experiment = exp_factory.get_exp_config(name)
    experiment.override(fixture.overrides(name, ''))
    model = task_factory.get_task(experiment.task).build_model()
    optimizer = self._optimizer(name)
    decayed = [
      v.name
      for v in model.trainable_variables
      if optimizer._do_use_weight_decay(v.name)
    ]
    expected = [
      v.name for v in model.trainable_variables if optimizer_lib.is_decayed(v)
    ]
    self.assertNotEmpty(expected)
    self.assertEqual(decayed, expected)

  def _first_moment(self, **adamw):
    """Gradients 10 and -9.5 of two replicas; returns Adam's first moment."""
    strategy = devices.two_replicas()
    with strategy.scope():
      variable = tf.Variable(1.0)
      optimizer = self._optimizer(**adamw)

    @tf.function
    def step():
      def update():
        i = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradient = tf.where(tf.equal(i, 0), 10.0, -9.5)
        optimizer.apply_gradients([(gradient, variable)])

      strategy.run(update)

    step()
    return strategy.experimental_local_results(
      optimizer.get_slot(variable, 'm')
    )[0]

  def test_clips_the_sum_over_replicas(self):
    self.assertAllClose(self._first_moment(), 0.1 * 0.5)

  def test_model_gardens_own_clipping_clips_each_share(self):
    moment = self._first_moment(gradient_clip_norm=1.0, global_clipnorm=None)
    self.assertAllClose(moment, 0.0)


def setUpModule():
  # For the tests with two replicas; before the first use of TensorFlow.
  devices.use_two_cpus()
  unittest.enterModuleContext(graphs.unoptimized())


if __name__ == '__main__':
  tf.test.main()
