"""Tests of sizes."""

import dataclasses
import types

from absl.testing import absltest, parameterized

from official_coatnet.analysis.paper import tables
from official_coatnet.modeling import layouts, sizes

PAPER = {size.model: size for size in tables.SIZES}
OWN = {'coatnet_demo', 'coatnet_test'}
# What Tables 7 and 8 change of a printed size.
CHANGED = {
  'coatnet_2_v1': ('coatnet_2', {'blocks': (2, 2, 2, 18, 2)}),
  'coatnet_2_v2': ('coatnet_2', {'blocks': (2, 2, 8, 12, 2)}),
  'coatnet_3_v1': ('coatnet_3', {'blocks': (2, 2, 2, 18, 2)}),
  'coatnet_2_head64': ('coatnet_2', {'head_size': 64}),
}


class SizesTest(parameterized.TestCase):
  @parameterized.parameters(*PAPER)
  def test_is_the_row_of_the_paper(self, name):
    size, printed = sizes.get_size(name), PAPER[name]
    for field in ('blocks', 'widths', 'head_size'):
      self.assertEqual(getattr(size, field), getattr(printed, field))
    self.assertEqual(size.source, f'Table {printed.table}')
    self.assertEqual(size.layout, 'C-C-T-T')

  def test_only_our_own_sizes_are_not_of_the_paper(self):
    self.assertEqual(
      set(sizes.SIZES) - set(PAPER),
      OWN | set(CHANGED) | set(tables.FIGURE_1.values()) - PAPER.keys(),
    )

  @parameterized.parameters(*((n, *c) for n, c in CHANGED.items()))
  def test_an_ablation_changes_one_size(self, name, base, changes):
    size = sizes.get_size(name)
    self.assertEqual(
      size,
      dataclasses.replace(sizes.get_size(base), source=size.source, **changes),
    )
    self.assertIn(size.source, ('Table 7', 'Table 8'))

  @parameterized.parameters(*sizes.SIZES)
  def test_heads_fit_the_transformer_stages(self, name):
    size = sizes.get_size(name)
    stages = layouts.LAYOUTS[size.layout]
    self.assertLen(size.blocks, len(stages))
    self.assertLen(size.widths, len(stages))
    self.assertEqual(list(size.widths), sorted(size.widths))
    for stage, width in zip(stages, size.widths):
      # In the paper's, any stage but the stem may become a transformer's.
      if stage.kind == 'T' or (name not in OWN and stage.kind == 'C'):
        self.assertEqual(width % size.head_size, 0)

  def test_the_table_cannot_be_changed(self):
    self.assertIsInstance(sizes.SIZES, types.MappingProxyType)
    with self.assertRaises(TypeError):
      sizes.SIZES['coatnet_9'] = sizes.get_size('coatnet_0')
    with self.assertRaises(AttributeError):
      sizes.get_size('coatnet_0').head_size = 64

  @parameterized.parameters(
    ('coatnet0', 'coatnet_0'),
    ('CoAtNet_3', 'coatnet_3'),
    ('coatnet-5', 'coatnet_5'),
    ('coatnet_tst', 'coatnet_test'),
    ('cotnet_demo', 'coatnet_demo'),
  )
  def test_the_nearest_name_is_proposed(self, name, nearest):
    with self.assertRaisesRegex(
      ValueError,
      f"Unknown model '{name}'.*Did you mean '{nearest}'.*Known models: "
      'coatnet_0, coatnet_1, .*coatnet_test',
    ):
      sizes.get_size(name)

  @parameterized.parameters('resnet', '', None, 3)
  def test_a_name_like_no_other_gets_the_list_alone(self, name):
    with self.assertRaises(ValueError) as caught:
      sizes.get_size(name)
    message = str(caught.exception)
    self.assertStartsWith(message, f'Unknown model {name!r}')
    self.assertNotIn('Did you mean', message)
    self.assertIn('Known models: coatnet_0', message)


if __name__ == '__main__':
  absltest.main()
