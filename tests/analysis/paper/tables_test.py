"""What is written there is consistent."""

import dataclasses
import os

from absl.testing import absltest, parameterized

from official_coatnet.analysis.paper import tables
from official_coatnet.modeling import config, sizes
from tests.fixtures import repository


class PaperTest(parameterized.TestCase):
  # Rows that name a CoAtNet, in Table 6 and 8 with both of their settings.
  # Table 4 has two accuracies in six of its rows.
  @parameterized.parameters(
    ('2', 6), ('4', 10 + 12), ('5', 4), ('6', 8), ('7', 7), ('8', 5), ('9', 6),
    ('12', 10), ('13', 10), ('3', 0),
  )  # fmt: skip
  def test_results_of_a_table(self, table, count):
    results = tables.results_of(table)
    self.assertLen(results, count)
    for result in results:
      self.assertIn(table, result.tables)

  def test_a_result_is_there_once(self):
    keys = [dataclasses.replace(r, accuracy=0) for r in tables.RESULTS]
    # But the two numbers of CoAtNet-3 that the paper has, in other tables.
    self.assertLen(set(keys), len(keys))
    contradiction = [
      r.accuracy
      for r in tables.RESULTS
      if (r.pretrained_on, r.model, r.image_size, r.variant)
      == (tables.IMAGENET21K, 'coatnet_3', 384, '')
    ]
    self.assertEqual(contradiction, [87.6, 87.9])

  def test_one_network_has_one_count(self):
    counts = {}
    for r in tables.RESULTS:
      if r.params is not None:
        network = (r.model, r.image_size, r.settings)
        counts.setdefault(network, []).append((r.params, r.multiply_adds))
    self.assertLen(counts, 18)
    for network, values in counts.items():
      self.assertLen({params for params, _ in values}, 1)
      # Table 5 has 361 where Tables 4 and 13 have 360.9.
      adds = {value for _, value in values}
      rounded = {round(value) for value in adds}
      self.assertLen(rounded if 361 in adds else adds, 1, network)

  @parameterized.parameters(*tables.RESULTS)
  def test_is_a_network_of_ours_and_a_file(self, result):
    self.assertIn(
      result.pretrained_on, (tables.IMAGENET1K, tables.IMAGENET21K, tables.JFT)
    )
    c = config.ModelConfig(
      result.model, image_size=result.image_size, **dict(result.settings)
    )
    self.assertEqual(
      c.downsample == 'depthwise', result.variant in ('dagger', 'Strided DConv')
    )
    self.assertIn(result.metric, ('top1', 'precision_at_1'))
    self.assertBetween(result.accuracy, 30, 100)
    if result.gin_file:
      self.assertTrue(
        os.path.exists(os.path.join(repository.ROOT, result.gin_file))
      )

  def test_figure_1_has_a_size_for_every_layout(self):
    self.assertEqual(set(tables.FIGURE_1), set(sizes.LAYOUTS))
    for layout, name in tables.FIGURE_1.items():
      self.assertEqual(sizes.get_size(name).layout, layout)
      # Table 2 is of two of them.
    names = {r.model for r in tables.results_of('2')}
    self.assertEqual(
      names, {tables.FIGURE_1[v] for v in ('C-C-T-T', 'C-T-T-T')}
    )


if __name__ == '__main__':
  absltest.main()
