"""Tests of training.gin_config, and of every gin file in the repository."""

import dataclasses
import glob
import os
import re

import gin
from absl.testing import absltest, parameterized

from official_coatnet.analysis import paper
from official_coatnet.modeling import config
from official_coatnet.training import gin_config

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _files(*folders):
  pattern = os.path.join(_ROOT, *folders, '*.gin')
  return sorted(os.path.relpath(path, _ROOT) for path in glob.glob(pattern))


_ABLATIONS = _files('gin', 'ablations')
_FILES = _files('gin') + _ABLATIONS
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


def _load(name='gin/imagenet1k_coatnet0.gin', bindings=()):
  return gin_config.load([name], list(bindings), root=_ROOT)


class GinFilesTest(parameterized.TestCase):
  @parameterized.parameters(*_FILES)
  def test_resolves_at_full_size(self, path):
    experiment = _load(path)
    self.assertIsNone(experiment.train_data.data_dir)

  @parameterized.parameters(*_FILES)
  def test_head_says_what_a_reader_needs(self, path):
    with open(os.path.join(_ROOT, path)) as f:
      head = f.read().split('include')[0]
    for field in (
      'Reproduces:',
      'Expected:',
      'Hardware:',
      'Command:',
      'Required:',
      'Often set:',
    ):
      self.assertIn(field, head)

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

  @parameterized.parameters(*_FILES)
  def test_macros_shrink_any_run(self, path):
    # Their sizes win over those of MODEL.
    own_sizes = ('ModelConfig.blocks = None', 'ModelConfig.head_size = None')
    experiment = _load(
      path,
      (
        *(own_sizes if path in _ABLATIONS else ()),
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

  @parameterized.parameters(*((r,) for r in paper.RESULTS if r.gin_file))
  def test_the_file_of_a_result_is_its_network(self, result):
    experiment = _load(result.gin_file)
    model = experiment.model
    expected = config.ModelConfig(
      result.model, image_size=224, **dict(result.settings)
    )
    recipe = {
      field: getattr(model, field)
      for field in ('num_classes', 'stochastic_depth', 'head_bias', 'dtype')
    }
    self.assertEqual(model, dataclasses.replace(expected, **recipe))
    with open(os.path.join(_ROOT, result.gin_file)) as f:
      head = f.read().split('include')[0]
    if result.metric == 'top1':
      self.assertIn(f'top-1 {result.accuracy} %', head)
    for key, value in result.settings:
      self.assertEqual(getattr(model, key), value)
      self.assertNotEqual(getattr(_load(_base(result.model)).model, key), value)

  def test_every_ablation_is_of_the_paper_or_named_here(self):
    known = {r.gin_file for r in paper.RESULTS}
    known |= {f'gin/ablations/{name}.gin' for name in _NO_TABLE}
    known |= {_figure_1_file(layout) for layout in paper.FIGURE_1}
    self.assertEmpty(set(_ABLATIONS) - known)

  @parameterized.parameters(
    *((r.gin_file, r.model, dict(r.settings)) for r in paper.RESULTS
      if r.gin_file in _ABLATIONS),
    *((f'gin/ablations/{name}.gin', 'coatnet_2', settings)
      for name, settings in _NO_TABLE.items()),
  )  # fmt: skip
  def test_an_ablation_changes_one_thing(self, path, model, settings):
    base = _load(_base(model))
    changed = dataclasses.replace(base.model, **settings)
    self.assertNotEqual(changed, base.model)
    self.assertEqual(_load(path), dataclasses.replace(base, model=changed))

  @parameterized.parameters(*paper.FIGURE_1.items())
  def test_figure_1_is_the_recipe_without_regularization(self, layout, name):
    base = _load(_base('coatnet_1'))
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
    self.assertEqual(_load(_figure_1_file(layout)), expected)

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


def _base(model):
  return f'gin/imagenet1k_{model.replace("_", "")}.gin'


def _figure_1_file(layout):
  return f'gin/ablations/figure1_{layout.lower().replace("-", "")}.gin'


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
