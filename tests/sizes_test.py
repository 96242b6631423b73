"""Tests of sizes."""

import types

from absl.testing import absltest, parameterized

from official_coatnet.modeling import sizes

# Table 3 and, for CoAtNet-5, Table 11: L and D of S0 to S4. The head size is
# 32, but 64 in CoAtNet-5 (A.2).
PAPER = {
  'coatnet_0': ((2, 2, 3, 5, 2), (64, 96, 192, 384, 768), 32),
  'coatnet_1': ((2, 2, 6, 14, 2), (64, 96, 192, 384, 768), 32),
  'coatnet_2': ((2, 2, 6, 14, 2), (128, 128, 256, 512, 1024), 32),
  'coatnet_3': ((2, 2, 6, 14, 2), (192, 192, 384, 768, 1536), 32),
  'coatnet_4': ((2, 2, 12, 28, 2), (192, 192, 384, 768, 1536), 32),
  'coatnet_5': ((2, 2, 12, 28, 2), (192, 256, 512, 1280, 2048), 64),
}


class SizesTest(parameterized.TestCase):
  @parameterized.parameters(*PAPER)
  def test_is_the_row_of_the_paper(self, name):
    size = sizes.get_size(name)
    self.assertEqual((size.blocks, size.widths, size.head_size), PAPER[name])
    table = 'Table 11' if name == 'coatnet_5' else 'Table 3'
    self.assertEqual(size.source, table)

  def test_only_our_own_sizes_are_not_of_the_paper(self):
    self.assertEqual(
      set(sizes.SIZES) - set(PAPER), {'coatnet_demo', 'coatnet_test'}
    )

  @parameterized.parameters(*sizes.SIZES)
  def test_heads_fit_the_transformer_stages(self, name):
    size = sizes.get_size(name)
    self.assertLen(size.blocks, 5)
    self.assertLen(size.widths, 5)
    # S3 and S4, and all but the stem in C-T-T-T, which the paper compares.
    for width in size.widths[1 if name in PAPER else 3 :]:
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
