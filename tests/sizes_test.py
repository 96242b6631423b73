"""Tests of sizes."""

import types

from absl.testing import absltest, parameterized

from official_coatnet.analysis import paper
from official_coatnet.modeling import layouts, sizes

PAPER = {size.model: size for size in paper.SIZES}
OWN = {'coatnet_demo', 'coatnet_test'}


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
      OWN | set(paper.FIGURE_1.values()) - PAPER.keys(),
    )

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
