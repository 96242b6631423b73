"""Every gin file of the repository: that it loads, what its head says."""

import dataclasses
import os
import re

from absl.testing import absltest, parameterized

from official_coatnet.analysis.paper import runs
from official_coatnet.data import schema
from official_coatnet.training import experiment as experiment_lib
from tests.fixtures import gin_files, repository

_FILES = gin_files.files('gin') + gin_files.files('gin', 'ablations')
_RUNS = runs.all_runs()
_FINE_TUNINGS = [
  *(run.gin_file for run in _RUNS.values() if run.fine_tunes),
  'gin/custom_finetune.gin',
  'gin/demo_finetune.gin',
]
# Table 10: stochastic depth, RandAugment, mixup, loss, smoothing, epochs, peak
# and decay of the learning rate, warm-up, weight decay, by named file.
_IMAGENET1K = ((2, 15), 0.8, 'softmax', 0.1, 300, 1e-3, 'cosine', 10000, 0.05)
_IMAGENET21K = (None, None, 'sigmoid', 1e-4, 90, 1e-3, 'linear', None, 0.01)
_JFT = ((2, 5), None, 'sigmoid', 1e-4, 14, 5e-4, 'linear', 20000, 0.01)
_TABLE_10 = {
  'imagenet1k_coatnet0': (0.2, _IMAGENET1K),
  'imagenet1k_coatnet1': (0.3, _IMAGENET1K),
  'imagenet1k_coatnet2': (0.5, _IMAGENET1K),
  'imagenet1k_coatnet3': (0.7, _IMAGENET1K),
  'imagenet21k_coatnet2': (0.3, _IMAGENET21K),
  'imagenet21k_coatnet3': (0.5, _IMAGENET21K),
  'imagenet21k_coatnet4': (0.7, _IMAGENET21K),
  'jft_coatnet3': (0.0, (*_JFT[:5], 1e-3, *_JFT[6:])),
  'jft_coatnet4': (0.1, _JFT),
  'jft_coatnet5': (0.0, _JFT),
}
# Fine-tuning: stochastic depth, RandAugment, mixup, batch.
_TABLE_10_FINETUNE = {
  'imagenet1k_coatnet0_384': (0.2, (2, 15), 0.8, 512),
  'imagenet1k_coatnet1_384': (0.3, (2, 15), 0.8, 512),
  'imagenet1k_coatnet2_384': (0.5, (2, 15), 0.8, 512),
  'imagenet1k_coatnet2_512': (0.5, (2, 15), 0.8, 512),
  'imagenet1k_coatnet3_384': (0.7, (2, 20), 0.8, 512),
  'imagenet1k_coatnet3_512': (0.7, (2, 20), 0.8, 512),
  'imagenet21k_coatnet2_224': (0.3, None, None, 1024),
  'imagenet21k_coatnet3_384': (0.5, None, None, 1024),
  'imagenet21k_coatnet4_512': (0.7, None, None, 1024),
  'imagenet21k_coatnet4_384_ptra': (0.7, (2, 5), None, 1024),
  'imagenet21k_coatnet4_512_ptra_e150': (0.7, (2, 5), None, 1024),
  'jft_coatnet3_384': (0.1, (2, 5), None, 512),
  'jft_coatnet3_512': (0.1, (2, 5), None, 512),
  'jft_coatnet4_512': (0.3, (2, 5), None, 512),
  'jft_coatnet5_512': (0.2, (2, 5), None, 512),
}


class GinFilesTest(parameterized.TestCase):
  @parameterized.parameters(*_FILES)
  def test_resolves_at_full_size(self, path):
    experiment = gin_files.load(path)
    self.assertIsNone(experiment.train_data.data_dir)

  @parameterized.parameters(*_FILES)
  def test_head_says_what_a_reader_needs(self, path):
    head = gin_files.head(path)
    for field in (
      'Reproduces:',
      'Expected:',
      'Hardware:',
      'Command:',
      'Required:',
      'Often set:',
      *(['Readings:'] if path in _RUNS else []),
    ):
      self.assertIn(field, head)
    if path in _FINE_TUNINGS:
      self.assertIn('INIT_CHECKPOINT', head.split('Required:')[1])

  @parameterized.parameters(*_FILES)
  def test_two_levels_of_include_at_most(self, path):
    def depth(path):
      with open(os.path.join(repository.ROOT, path)) as f:
        included = re.findall(r"^include '(.*)'", f.read(), re.MULTILINE)
      return 1 + max(map(depth, included), default=-1)

    self.assertLessEqual(depth(path), 2)

  @parameterized.parameters(*_TABLE_10)
  def test_values_of_table_10(self, name):
    experiment = gin_files.load(f'gin/{name}.gin')
    run, optimizer = experiment.run, experiment.optimizer
    stochastic_depth, row = _TABLE_10[name]
    self.assertEqual(experiment.model.stochastic_depth, stochastic_depth)
    self.assertEqual(
      (
        experiment.train_data.randaugment,
        experiment.train_data.mixup_alpha,
        experiment.loss.name,
        experiment.loss.label_smoothing,
        run.epochs,
        optimizer.peak_learning_rate,
        optimizer.decay,
        optimizer.warmup_steps,
        optimizer.weight_decay,
      ),
      row,
    )
    self.assertEqual(experiment.train_data.batch_size, 4096)
    self.assertEqual(optimizer.min_learning_rate, 1e-5)
    self.assertEqual(optimizer.clip_norm, 1.0)
    self.assertIsNone(optimizer.ema_decay)
    self.assertTrue(experiment.train_data.center_crop)
    self.assertEqual(
      optimizer.warmup_epochs, 5 if 'imagenet21k' in name else None
    )
    self.assertEqual(
      experiment.model.downsample,
      'depthwise' if name == 'jft_coatnet3' else 'expand_conv',
    )

  @parameterized.parameters(*_TABLE_10_FINETUNE)
  def test_values_of_table_10_in_fine_tuning(self, name):
    experiment = gin_files.load(f'gin/{name}.gin')
    data, optimizer = experiment.train_data, experiment.optimizer
    self.assertEqual(
      (
        experiment.model.stochastic_depth,
        data.randaugment,
        data.mixup_alpha,
        data.batch_size,
      ),
      _TABLE_10_FINETUNE[name],
    )
    self.assertEqual(experiment.run.epochs, 30)
    self.assertEqual(
      (
        optimizer.peak_learning_rate,
        optimizer.decay,
        optimizer.warmup_steps,
        optimizer.warmup_epochs,
        optimizer.weight_decay,
        optimizer.clip_norm,
        optimizer.ema_decay,
      ),
      (5e-5, 'constant', None, None, 1e-8, 1.0, 0.9999),
    )
    self.assertEqual(str(experiment.model.image_size), name.split('_')[2])

  # What a multi-label pre-training sets must not reach the fine-tuning.
  @parameterized.parameters(*_FINE_TUNINGS)
  def test_fine_tuning_has_one_label_an_image(self, path):
    experiment = gin_files.load(path)
    for data in (experiment.train_data, experiment.eval_data):
      self.assertEqual(
        (data.schema, data.max_labels, data.confidence_threshold),
        ('imagenet', 1, None),
      )
      # That of the schema.
      self.assertIsNone(data.label_offset)
      self.assertEqual(schema.get_schema(data.schema).label_offset, -1)
      self.assertTrue(schema.get_schema(data.schema).single_label)
      self.assertEqual(data.num_classes, 10 if 'demo' in path else 1000)
      self.assertFalse(data.center_crop)
    self.assertEqual(experiment.loss, experiment_lib.LossConfig('softmax', 0.1))
    self.assertEqual(experiment.model.head_bias, 0.0)
    self.assertTrue(experiment.run.init_checkpoint_required)
    self.assertIsNone(experiment.run.init_checkpoint)

  @parameterized.parameters(
    *(path for path, run in _RUNS.items() if run.column == 'jft_pretrain')
  )
  def test_jft_pre_training_has_several(self, path):
    experiment = gin_files.load(path)
    for data in (experiment.train_data, experiment.eval_data):
      self.assertEqual((data.schema, data.num_classes), ('multilabel', 18291))
      self.assertGreater(data.max_labels, 1)
    self.assertEqual(experiment.loss.name, 'sigmoid')
    self.assertEqual(experiment.model.head_bias, -10.0)
    self.assertFalse(experiment.run.init_checkpoint_required)

  def test_demo_of_transfer_is_the_jft_recipe_in_small(self):
    paths = (
      'gin/jft_coatnet5.gin',
      'gin/demo_multilabel.gin',
      'gin/jft_coatnet5_512.gin',
      'gin/demo_finetune.gin',
    )
    jft, before, jft_tuned, after = map(gin_files.load, paths)
    self.assertEqual(before.loss, jft.loss)
    self.assertEqual(after.loss, jft_tuned.loss)
    self.assertEqual(before.run.epochs, jft.run.epochs)
    self.assertEqual(after.run.epochs, jft_tuned.run.epochs)
    for ours, theirs in ((before, jft), (after, jft_tuned)):
      small = ('peak_learning_rate', 'warmup_steps', 'ema_decay')
      expected = {name: getattr(ours.optimizer, name) for name in small}
      self.assertEqual(
        ours.optimizer, dataclasses.replace(theirs.optimizer, **expected)
      )
      for field in ('schema', 'randaugment', 'mixup_alpha', 'center_crop'):
        self.assertEqual(
          getattr(ours.train_data, field), getattr(theirs.train_data, field)
        )
    self.assertIsNone(before.optimizer.ema_decay)
    self.assertIsNone(after.optimizer.warmup_steps)

  def test_demo_of_transfer_shares_the_network_alone(self):
    before = gin_files.load('gin/demo_multilabel.gin')
    after = gin_files.load('gin/demo_finetune.gin')
    self.assertEqual(
      (before.loss.name, after.loss.name), ('sigmoid', 'softmax')
    )
    self.assertEqual(before.train_data.confidence_threshold, 0.5)
    self.assertGreater(before.train_data.max_labels, 1)
    # Nor the last layer, although both have ten classes.
    self.assertEqual(before.model.num_classes, after.model.num_classes)
    self.assertFalse(after.run.init_last_layer)
    self.assertEqual((before.model.head_bias, after.model.head_bias), (-1.5, 0))
    self.assertEqual(
      (before.model.image_size, after.model.image_size), (48, 64)
    )
    self.assertEqual(
      dataclasses.replace(after.model, image_size=48, head_bias=-1.5),
      before.model,
    )

  def test_init_checkpoint_is_a_macro_of_every_file(self):
    experiment = gin_files.load(bindings=["INIT_CHECKPOINT = '/runs/other'"])
    self.assertEqual(experiment.run.init_checkpoint, '/runs/other')

  @parameterized.parameters(*_FILES)
  def test_macros_shrink_any_run(self, path):
    experiment = gin_files.load(
      path,
      (
        "MODEL = 'coatnet_test'",
        'IMAGE_SIZE = 64',
        'NUM_CLASSES = 7',
        'BATCH_SIZE = 8',
        'EPOCHS = 2',
        'TRAIN_STEPS = 3',
        'WARMUP_STEPS = 1',
        "DATA_DIR = '/data'",
      ),
    )
    self.assertEqual(experiment.model.name, 'coatnet_test')
    self.assertEqual(experiment.model.blocks, (2, 1, 1, 1, 1))
    for data in (experiment.train_data, experiment.eval_data):
      self.assertEqual(
        (data.image_size, data.num_classes, data.batch_size, data.data_dir),
        (64, 7, 8, '/data'),
      )
    self.assertEqual(experiment.run.train_steps, 3)
    self.assertEqual(experiment.optimizer.warmup_steps, 1)

  def test_gin_is_data_only(self):
    for folder, _, files in os.walk(os.path.join(repository.ROOT, 'gin')):
      self.assertEmpty([f for f in files if f.endswith('.py')], folder)


if __name__ == '__main__':
  absltest.main()
