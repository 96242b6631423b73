"""The gin files of the results of the paper: what one changes in another."""

import dataclasses

import gin
from absl.testing import absltest, parameterized

from official_coatnet.analysis.paper import runs, tables
from official_coatnet.modeling import config
from official_coatnet.training import gin_config
from tests.fixtures import gin_files

_ABLATIONS = gin_files.files('gin', 'ablations')
_FILES = gin_files.files('gin') + _ABLATIONS
# Files that are no run of the paper.
_OWN = (
  'gin/demo.gin',
  'gin/demo_multilabel.gin',
  'gin/demo_finetune.gin',
  'gin/custom_finetune.gin',
)
_RUNS = runs.all_runs()
# Ablations that no table of the paper has: what they change.
_NO_TABLE = {
  'post_softmax': {'relative_attention': 'post_softmax'},
  'average_pooling': {'shortcut_pool': 'avg'},
}


def _base(result):
  """The file of the row without what makes an ablation of it."""
  model = '_'.join(result.model.split('_')[:2])
  plain = dataclasses.replace(
    result, gin_file='', model=model, variant='', settings=()
  )
  if result.variant == 'dagger':  # No file of ours has it without the dagger.
    return f'gin/imagenet1k_{model.replace("_", "")}.gin'
  return plain.gin_file


class PaperFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.addCleanup(gin.clear_config)

  @parameterized.parameters(*((r,) for r in tables.RESULTS))
  def test_the_file_of_a_result_is_its_network(self, result):
    experiment = gin_files.load(result.gin_file)
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
    self.assertIn(
      f'{metric} {result.accuracy} %', gin_files.head(result.gin_file)
    )
    for key, value in result.settings:
      self.assertNotEqual(
        getattr(gin_files.load(_base(result)).model, key), value
      )

  def test_every_file_is_of_the_paper_or_named_here(self):
    own = {*_OWN, *(f'gin/ablations/{name}.gin' for name in _NO_TABLE)}
    self.assertEmpty(own & set(_RUNS))
    self.assertEqual(set(_FILES), own | set(_RUNS))

  @parameterized.parameters(
    *(run.gin_file for run in _RUNS.values() if run.fine_tunes)
  )
  def test_fine_tuning_is_of_the_network_that_was_pre_trained(self, path):
    pretraining = _RUNS[path].results[0].pretraining_file
    self.assertIn(f'{pretraining}.', gin_files.head(path).replace('\n#', ''))
    before, after = (
      gin_files.load(pretraining).model,
      gin_files.load(path).model,
    )
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
      for r in tables.RESULTS
      if r.gin_file in _ABLATIONS and r.tables != ('2',)),
    *((f'gin/ablations/{name}.gin', 'gin/imagenet1k_coatnet2.gin', settings)
      for name, settings in _NO_TABLE.items()),
  )  # fmt: skip
  def test_an_ablation_changes_one_thing(self, path, base_path, settings):
    base = gin_files.load(base_path)
    changed = dataclasses.replace(base.model, **settings)
    self.assertNotEqual(changed, base.model)
    self.assertEqual(
      gin_files.load(path), dataclasses.replace(base, model=changed)
    )

  @parameterized.parameters(*tables.FIGURE_1.items())
  def test_figure_1_is_the_recipe_without_regularization(self, layout, name):
    base = gin_files.load('gin/imagenet1k_coatnet1.gin')
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
    self.assertEqual(gin_files.load(tables.figure_1_file(layout)), expected)

  @parameterized.parameters(*tables.FIGURE_1.items())
  def test_figure_1_on_jft_likewise(self, layout, name):
    base = gin_files.load('gin/jft_coatnet3.gin')
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
    path = tables.figure_1_file(layout, data='jft')
    self.assertEqual(gin_files.load(path), expected)

  # One binding each, and the network has it.
  @parameterized.parameters(
    ("layout = 'C-C-C-T'", ('C', 'C', 'C', 'T')),
    ("layout = 'C-T-T-T'", ('C', 'T', 'T', 'T')),
  )
  def test_layout_by_gin(self, binding, kinds):
    model = gin_files.load(bindings=[f'ModelConfig.{binding}']).model
    self.assertEqual(model.stage_kinds, kinds)

  def test_vit_rel_by_gin(self):
    by_name = gin_files.load(bindings=["MODEL = 'figure1_vit_rel'"]).model
    by_fields = gin_files.load(
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
      gin_files.load(bindings=["ModelConfig.layout = 'ViT_REL'"])


if __name__ == '__main__':
  absltest.main()
