"""The comparison of the gin files with the paper."""

import dataclasses
import os
from unittest import mock

from absl.testing import absltest, parameterized

from official_coatnet.analysis.paper import checks, runs
from official_coatnet.modeling import sizes
from official_coatnet.training import gin_config
from tests.fixtures import repository

_RUNS = runs.all_runs()
_PRETRAINING = 'gin/imagenet1k_coatnet0.gin'
_FINETUNING = 'gin/imagenet1k_coatnet0_384.gin'
_JFT = 'gin/jft_coatnet5.gin'


def _load(path, *bindings):
  return gin_config.load([path], bindings, root=repository.ROOT)


def _differences(path, *bindings):
  found, _ = checks.compare(_RUNS[path], _load(path, *bindings))
  return {difference.key: difference for difference in found}


class FieldsTest(parameterized.TestCase):
  @parameterized.parameters(_PRETRAINING, _FINETUNING, _JFT)
  def test_each_field_is_in_one_place(self, path):
    run = _RUNS[path]
    values = checks.values_of(_load(path))
    printed = set(checks.printed_values(run))
    readings = set(checks.reading_values(run))
    free = {
      key
      for key in values
      if key.split('/', 1)[-1] in checks.FREE or key in checks.FREE
    }
    self.assertEmpty(printed & readings)
    self.assertEmpty((printed | readings) & free)
    self.assertEqual(printed | readings | free, set(values))

  def test_what_is_free_exists(self):
    keys = {key.split('/', 1)[-1] for key in checks.values_of(_load(_JFT))}
    self.assertContainsSubset(set(checks.FREE), keys)

  def test_a_new_field_cannot_be_forgotten(self):
    values = checks.values_of(_load(_JFT)) | {'OptimizerConfig.lookahead': 5}
    with mock.patch.object(checks, 'values_of', lambda experiment: values):
      with self.assertRaisesRegex(LookupError, r'^OptimizerConfig\.lookahead:'):
        checks.compare(_RUNS[_JFT], _load(_JFT))

  def test_the_docs_list_every_reading(self):
    with open(os.path.join(repository.ROOT, 'docs', 'recipes.md')) as f:
      section = f.read().split('## Where the paper is silent')[1]
    section = section.split('\n## ')[0]
    for key in checks.reading_values(_RUNS[_JFT]):
      self.assertIn(key.removeprefix('train/').removeprefix('eval/'), section)


class CompareTest(parameterized.TestCase):
  @parameterized.parameters(_PRETRAINING, _FINETUNING, _JFT)
  def test_our_files_are_the_paper_s(self, path):
    self.assertEmpty(_differences(path))

  @parameterized.parameters(
    ('OptimizerConfig.ema_dynamic_decay', 'False', True),
    ('OptimizerConfig.beta_2', '0.99', 0.999),
    ('OptimizerConfig.beta_1', '0.95', 0.9),
    ('OptimizerConfig.epsilon', '1e-8', 1e-6),
    ('OptimizerConfig.microbatches', '2', 1),
    ('train/DataConfig.random_flip', 'False', True),
    ('train/DataConfig.crop_area_range', '(0.1, 1.0)', (0.08, 1.0)),
    ('eval/DataConfig.eval_crop_fraction', '1.0', 0.875),
    ('LossConfig.smoothing', "'full'", 'tf'),
    ('ModelConfig.dtype', "'float32'", 'mixed_bfloat16'),
    ('ModelConfig.batch_norm_momentum', '0.9', 0.99),
    ('RunConfig.init_last_layer', 'False', True),
    ('RunConfig.weights', "'raw'", None),
  )
  def test_a_wrong_reading_is_seen(self, key, value, expected):
    for path in (_PRETRAINING, _FINETUNING, _JFT):
      found = _differences(path, f'{key} = {value}')
      self.assertEqual(list(found), [key])
      self.assertEqual(found[key].expected, expected)
      self.assertIn(f'but our reading of it has {expected!r}', str(found[key]))

  @parameterized.parameters(
    ('eval/DataConfig.randaugment', '(2, 15)'),
    ('eval/DataConfig.mixup_alpha', '0.8'),
    ('eval/DataConfig.split', "'train'"),
    ('train/DataConfig.num_examples', '1000'),
    ('OptimizerConfig.weight_decay', '0.3'),
    ('ModelConfig.se_ratio', '0.5'),
    ('ModelConfig.layout', "'C-C-C-T'"),
    ('ModelConfig.head_size', '64'),
    ('LossConfig.label_smoothing', '0.3'),
  )
  def test_a_value_that_is_not_the_paper_s_is_seen(self, key, value):
    for path in (_PRETRAINING, _FINETUNING, _JFT):
      if (path, key) == (_JFT, 'ModelConfig.head_size'):
        value = '32'
      found = _differences(path, f'{key} = {value}')
      self.assertEqual(list(found), [key])
      self.assertIn('but the paper has', str(found[key]))

  @parameterized.parameters(
    ('head_size', 32, 64),
    ('blocks', (2, 2, 6, 14, 2), (2, 2, 12, 28, 2)),
    ('widths', (192, 192, 384, 768, 1536), (192, 256, 512, 1280, 2048)),
  )
  def test_a_wrong_row_of_the_size_table_is_seen(self, field, wrong, printed):
    row = dataclasses.replace(sizes.SIZES['coatnet_5'], **{field: wrong})
    table = {**sizes.SIZES, 'coatnet_5': row}
    with mock.patch.object(sizes, 'SIZES', table):
      found = _differences(_JFT)
    self.assertEqual(list(found), [f'ModelConfig.{field}'])
    self.assertEqual(found[f'ModelConfig.{field}'].expected, printed)

  def test_all_are_counted(self):
    differences, count = checks.check(repository.ROOT)
    self.assertEmpty(differences)
    experiment = _load(_JFT)
    free = (
      len(checks.values_of(experiment))
      - (checks.compare(_RUNS[_JFT], experiment)[1])
    )
    # Of data once a split.
    data = sum(key.startswith('DataConfig.') for key in checks.FREE)
    self.assertEqual(free, len(checks.FREE) + data)
    self.assertEqual(
      count, len(_RUNS) * (len(checks.values_of(experiment)) - free)
    )


if __name__ == '__main__':
  absltest.main()
