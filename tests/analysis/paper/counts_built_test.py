"""Builds every network of the paper's tables. Manual: it takes minutes."""

from absl.testing import absltest, parameterized

from official_coatnet.analysis.paper import counts, tables
from official_coatnet.modeling import complexity, config
from tests import reference_counts

_NETWORKS = (
  *counts.networks(),
  *(config.ModelConfig(name) for name in tables.FIGURE_1.values()),
  config.ModelConfig('coatnet_4'),
  config.ModelConfig('coatnet_5'),
)


class PaperCountsBuiltTest(parameterized.TestCase):
  @parameterized.parameters(*((c,) for c in _NETWORKS))
  def test_counts_are_the_closed_form(self, c):
    self.assertEqual(complexity.count(c)[-1], reference_counts.closed_form(c))


if __name__ == '__main__':
  absltest.main()
