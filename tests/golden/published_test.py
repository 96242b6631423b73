from absl.testing import absltest, parameterized

from official_coatnet.modeling import families, sizes
from official_coatnet.pretrained import published as published_lib
from tests.golden import published

# Over the largest value of each output.
_TOLERANCE = 1e-5


class PublishedTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (published.key_of(row, size).replace(' ', '_'), row, size)
    for row in published.NETWORKS
    for size in published.sizes_of(row)
  )
  def test_computes_what_its_own_package_does(self, row, size):
    expected = published.read()[published.key_of(row, size)]

    differences = published.compare(row, size, expected)

    self.assertEqual(set(differences), {'logits', 's0', 's1', 's2', 's3', 's4'})
    for name, difference in differences.items():
      self.assertLess(difference, _TOLERANCE, name)

  def test_every_published_network_and_family_is_compared(self):
    rows = {each.model for each in published_lib.PUBLISHED.values()}

    self.assertContainsSubset(rows, published.NETWORKS)
    compared = {sizes.get_size(row).family for row in published.NETWORKS}
    self.assertEqual(compared, set(families.FAMILIES) - {families.PAPER})


if __name__ == '__main__':
  absltest.main()
