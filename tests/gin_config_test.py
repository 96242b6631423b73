"""Tests of training.gin_config, and of every gin file in the repository."""

import dataclasses
import glob
import os
import re

import gin
from absl.testing import absltest, parameterized

from official_coatnet.analysis import paper, paper_runs
from official_coatnet.data import schema
from official_coatnet.modeling import config
from official_coatnet.training import experiment as experiment_lib
from official_coatnet.training import gin_config

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _files(*folders):
  pattern = os.path.join(_ROOT, *folders, '*.gin')
  return sorted(os.path.relpath(path, _ROOT) for path in glob.glob(pattern))


_ABLATIONS = _files('gin', 'ablations')
_FILES = _files('gin') + _ABLATIONS
# Files that are no run of the paper.
_OWN = (
  'gin/demo.gin',
  'gin/demo_multilabel.gin',
  'gin/demo_finetune.gin',
  'gin/custom_finetune.gin',
)
_RUNS = paper_runs.all_runs()
_FINE_TUNINGS = [
  *(run.gin_file for run in _RUNS.values() if run.fine_tunes),
  'gin/custom_finetune.gin',
  'gin/demo_finetune.gin',
]
# Ablations that no table of the paper has: what they change.
_NO_TABLE = {
  'post_softmax': {'relative_attention': 'post_softmax'},
  'average_pooling': {'shortcut_pool': 'avg'},
}
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


def _load(name='gin/imagenet1k_coatnet0.gin', bindings=()):
  return gin_config.load([name], list(bindings), root=_ROOT)


def _base(result):
  """The file of the row without what makes an ablation of it."""
  model = '_'.join(result.model.split('_')[:2])
  plain = dataclasses.replace(
    result, gin_file='', model=model, variant='', settings=()
  )
  if result.variant == 'dagger':  # No file of ours has it without the dagger.
    return f'gin/imagenet1k_{model.replace("_", "")}.gin'
  return plain.gin_file


def _head(path):
  with open(os.path.join(_ROOT, path)) as f:
    return f.read().split('\ninclude')[0]


class GinFilesTest(parameterized.TestCase):
  @parameterized.parameters(*_FILES)
  def test_resolves_at_full_size(self, path):
    experiment = _load(path)
    self.assertIsNone(experiment.train_data.data_dir)

  @parameterized.parameters(*_FILES)
  def test_head_says_what_a_reader_needs(self, path):
    head = _head(path)
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
      with open(os.path.join(_ROOT, path)) as f:
        included = re.findall(r"^include '(.*)'", f.read(), re.MULTILINE)
      return 1 + max(map(depth, included), default=-1)

    self.assertLessEqual(depth(path), 2)

  @parameterized.parameters(*_TABLE_10)
  def test_values_of_table_10(self, name):
    experiment = _load(f'gin/{name}.gin')
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
    experiment = _load(f'gin/{name}.gin')
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
    experiment = _load(path)
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
    experiment = _load(path)
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
    jft, before, jft_tuned, after = map(_load, paths)
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
    before = _load('gin/demo_multilabel.gin')
    after = _load('gin/demo_finetune.gin')
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
    experiment = _load(bindings=["INIT_CHECKPOINT = '/runs/other'"])
    self.assertEqual(experiment.run.init_checkpoint, '/runs/other')

  @parameterized.parameters(*_FILES)
  def test_macros_shrink_any_run(self, path):
    experiment = _load(
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
    for folder, _, files in os.walk(os.path.join(_ROOT, 'gin')):
      self.assertEmpty([f for f in files if f.endswith('.py')], folder)


class PaperFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.addCleanup(gin.clear_config)

  @parameterized.parameters(*((r,) for r in paper.RESULTS))
  def test_the_file_of_a_result_is_its_network(self, result):
    experiment = _load(result.gin_file)
    model = experiment.model
    expected = config.ModelConfig(
      result.model, image_size=result.image_size, **dict(result.settings)
    )
    recipe = {
      field: getattr(model, field)
      for field in ('num_classes', 'stochastic_depth', 'head_bias', 'dtype')
    }
    self.assertEqual(model, dataclasses.replace(expected, **recipe))
    metric = 'top-1' if result.metric == 'top1' else 'precision@1'
    self.assertIn(f'{metric} {result.accuracy} %', _head(result.gin_file))
    for key, value in result.settings:
      self.assertNotEqual(getattr(_load(_base(result)).model, key), value)

  def test_every_file_is_of_the_paper_or_named_here(self):
    own = {*_OWN, *(f'gin/ablations/{name}.gin' for name in _NO_TABLE)}
    self.assertEmpty(own & set(_RUNS))
    self.assertEqual(set(_FILES), own | set(_RUNS))

  @parameterized.parameters(
    *(run.gin_file for run in _RUNS.values() if run.fine_tunes)
  )
  def test_fine_tuning_is_of_the_network_that_was_pre_trained(self, path):
    pretraining = _RUNS[path].results[0].pretraining_file
    self.assertIn(f'{pretraining}.', _head(path).replace('\n#', ''))
    before, after = _load(pretraining).model, _load(path).model
    self.assertEqual(before.image_size, 224)
    changes = {
      field: getattr(before, field)
      for field in (
        'image_size',
        'num_classes',
        'stochastic_depth',
        'head_bias',
      )
    }
    self.assertEqual(dataclasses.replace(after, **changes), before)

  @parameterized.parameters(
    *((r.gin_file, _base(r), {'name': r.model, **dict(r.settings)})
      for r in paper.RESULTS
      if r.gin_file in _ABLATIONS and r.tables != ('2',)),
    *((f'gin/ablations/{name}.gin', 'gin/imagenet1k_coatnet2.gin', settings)
      for name, settings in _NO_TABLE.items()),
  )  # fmt: skip
  def test_an_ablation_changes_one_thing(self, path, base_path, settings):
    base = _load(base_path)
    changed = dataclasses.replace(base.model, **settings)
    self.assertNotEqual(changed, base.model)
    self.assertEqual(_load(path), dataclasses.replace(base, model=changed))

  @parameterized.parameters(*paper.FIGURE_1.items())
  def test_figure_1_is_the_recipe_without_regularization(self, layout, name):
    base = _load('gin/imagenet1k_coatnet1.gin')
    model = config.ModelConfig(name, dtype=base.model.dtype)
    self.assertEqual(model.layout, layout)
    expected = dataclasses.replace(
      base,
      model=model,
      train_data=dataclasses.replace(
        base.train_data, randaugment=None, mixup_alpha=None
      ),
      loss=dataclasses.replace(base.loss, label_smoothing=0.0),
      optimizer=dataclasses.replace(base.optimizer, weight_decay=0.0),
    )
    self.assertEqual(expected.model.stochastic_depth, 0.0)
    self.assertEqual(_load(paper.figure_1_file(layout)), expected)

  @parameterized.parameters(*paper.FIGURE_1.items())
  def test_figure_1_on_jft_likewise(self, layout, name):
    base = _load('gin/jft_coatnet3.gin')
    expected = dataclasses.replace(
      base,
      model=config.ModelConfig(
        name, num_classes=18291, head_bias=-10.0, dtype=base.model.dtype
      ),
      train_data=dataclasses.replace(base.train_data, randaugment=None),
      loss=dataclasses.replace(base.loss, label_smoothing=0.0),
      optimizer=dataclasses.replace(base.optimizer, weight_decay=0.0),
      run=dataclasses.replace(base.run, epochs=3),
    )
    path = paper.figure_1_file(layout, data='jft')
    self.assertEqual(_load(path), expected)

  # One binding each, and the network has it.
  @parameterized.parameters(
    ("layout = 'C-C-C-T'", ('C', 'C', 'C', 'T')),
    ("layout = 'C-T-T-T'", ('C', 'T', 'T', 'T')),
  )
  def test_layout_by_gin(self, binding, kinds):
    model = _load(bindings=[f'ModelConfig.{binding}']).model
    self.assertEqual(model.stage_kinds, kinds)

  def test_vit_rel_by_gin(self):
    by_name = _load(bindings=["MODEL = 'figure1_vit_rel'"]).model
    by_fields = _load(
      bindings=[
        "ModelConfig.layout = 'ViT_REL'",
        'ModelConfig.blocks = (1, 13)',
        'ModelConfig.widths = (512, 512)',
      ]
    ).model
    self.assertEqual(dataclasses.replace(by_fields, name=by_name.name), by_name)
    with self.assertRaisesRegex(
      gin_config.ConfigError, "'coatnet_0', which has another layout"
    ):
      _load(bindings=["ModelConfig.layout = 'ViT_REL'"])


class GinErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('BACTH_SIZE = 3', "'BACTH_SIZE' is set, but.*Did you mean 'BATCH_SIZE'"),
    ('ModelConfg.name = 1', "'ModelConfg'.*Did you mean 'ModelConfig'"),
    ('ModelConfig.nam = 1', "'nam'.*Did you mean 'name'"),
    ('train/DataConfig.mixup = 1', "'mixup'.*Did you mean 'mixup_alpha'"),
    ('ModelConfig.name = %MODLE', "%MODLE is read.*Did you mean 'MODEL'"),
    ("MODEL = 'coatnet-0'", "Unknown model.*Did you mean 'coatnet_0'"),
    ('IMAGE_SIZE = 16', '`image_size` is 16.*IMAGE_SIZE'),
    ('EPOCHS = None', 'EPOCHS or TRAIN_STEPS'),
    ('BATCH_SIZE = 0', 'batch_size'),
    ('RunConfig.epochs = 3 *', r"Line 1, 'RunConfig.epochs = 3 \*': Expected"),
  )
  def test_wrong_bindings(self, binding, message):
    with self.assertRaisesRegex(gin_config.ConfigError, f'(?s){message}'):
      _load(bindings=[binding])

  def test_file_that_does_not_exist(self):
    with self.assertRaisesRegex(
      gin_config.ConfigError, 'imagenet1k_coatnet.gin.*Did you mean'
    ):
      _load('gin/imagenet1k_coatnet.gin')

  def test_reason_without_gin_s_own_trailer(self):
    with self.assertRaises(gin_config.ConfigError) as caught:
      _load(bindings=["MODEL = 'resnet'"])
    self.assertNotIn('In call to configurable', str(caught.exception))

  def test_a_failed_load_leaves_the_next_one_alone(self):
    with self.assertRaises(gin_config.ConfigError):
      _load(bindings=['BACTH_SIZE = 3'])
    self.assertEqual(_load().model.name, 'coatnet_0')

  def test_any_working_directory(self):
    before = os.getcwd()
    os.chdir(self.create_tempdir().full_path)
    try:
      self.assertEqual(_load().model.name, 'coatnet_0')
    finally:
      os.chdir(before)

  def test_written_configuration_gives_the_same_experiment(self):
    experiment = _load(bindings=['BATCH_SIZE = 128', 'SEED = 3'])
    folder = self.create_tempdir().full_path
    gin_config.write_config(folder)
    gin_config.write_operative_config(folder)
    for name in ('config.gin', 'operative_config.gin'):
      again = gin_config.load([os.path.join(folder, name)], root=_ROOT)
      self.assertEqual(again, experiment, name)
    with open(os.path.join(folder, 'operative_config.gin')) as f:
      # Python's own defaults are in it.
      self.assertIn('OptimizerConfig.beta_2 = 0.999', f.read())

  def setUp(self):
    super().setUp()
    self.addCleanup(gin.clear_config)


if __name__ == '__main__':
  absltest.main()
