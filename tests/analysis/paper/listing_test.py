"""Tests of analysis.paper_listing."""

import json

from absl.testing import absltest

from official_coatnet.analysis.paper import listing, tables


class PaperListingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.rows = listing.all_rows()

  def test_a_row_for_each_result_and_each_curve(self):
    curves = [row for row in self.rows if row.tables == ('Figure 1',)]
    self.assertLen(curves, 10)  # Five layouts on two data sets.
    self.assertLen(self.rows, len(tables.RESULTS) + 10)
    for row in self.rows:
      self.assertEqual(row.expected is None, row in curves)

  def test_both_numbers_where_the_paper_has_two(self):
    text = listing.format_text(
      [
        row
        for row in self.rows
        if row.gin_file == 'gin/imagenet21k_coatnet3_384.gin'
      ]
    )
    self.assertIn('87.6 %, but 87.9 %', text)

  def test_markdown_has_a_line_for_each_file(self):
    lines = listing.format_markdown(self.rows).splitlines()[2:]
    files = [line.split('`')[1] for line in lines]
    self.assertLen(set(files), len(files))
    self.assertContainsSubset(
      {row.gin_file.removeprefix('gin/') for row in self.rows}, set(files)
    )

  def test_json(self):
    values = json.loads(json.dumps(listing.to_list(self.rows)))
    self.assertLen(values, len(self.rows))
    self.assertIn('evaluate', values[0]['commands'])


if __name__ == '__main__':
  absltest.main()
