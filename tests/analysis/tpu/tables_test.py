import os
import pathlib

from absl.testing import absltest

from official_coatnet.analysis.tpu import compiler, tables
from tests.fixtures import repository

_ROOT = pathlib.Path(repository.ROOT).resolve()


def _figures(cycles, rate):
  return {
    'cycles': cycles,
    'ms': cycles / 940e3,
    'images_per_second_per_core': rate,
    'model_flop_utilization': 0.25,
  }


class TpuTablesTest(absltest.TestCase):
  def test_core_days_are_the_papers(self):
    """0.58K core-days are 83.8 images/s on each core, by hand."""
    days = 14 * 300e6 / 83.8 / (24 * 60 * 60)
    self.assertAlmostEqual(tables.core_days(83.8), days)
    self.assertAlmostEqual(days / 580, 1.0, places=3)

  def test_rows_name_what_exists(self):
    rows = [row for t in tables.get_tables() for row in t.rows]
    for row in rows:
      self.assertIn(row.topology, compiler.TOPOLOGIES)
      self.assertTrue((_ROOT / row.gin_file).is_file(), row.gin_file)
    by_key = {}
    for row in rows:  # What is costed once may stand in several tables.
      costed = (row.gin_file, row.bindings, row.topology, row.batch_per_core)
      self.assertEqual(
        by_key.setdefault(row.key, (*costed, row.mode)), (*costed, row.mode)
      )

  def test_render(self):
    table, *_ = tables.get_tables(['table5'])
    figures = {table.rows[0].key: _figures(150_000_000, 100.0)}
    lines = tables.render(figures).splitlines()
    self.assertIn(
      '| CoAtNet-3 | 16 | 150.0 | 159.6 | 100.0 | 25.0 % | 486 | 580 | 0.84 |',
      lines,
    )
    self.assertIn('| CoAtNet-4 | 16 | not compiled |  |  |  |  |  |  |', lines)

  def test_ratio_is_to_the_same_run_core_and_batch(self):
    (table,) = tables.get_tables(['lookup'])
    cycles = (100, 110, 90, 50, 75, 40)
    figures = {row.key: _figures(c, 1.0) for row, c in zip(table.rows, cycles)}
    text = tables.render(figures)
    for label, ratio in (
      ('gather, v3', '1.100'),
      ('no bias, v3', '0.900'),
      ('einsum, v5e', '1.000'),
      ('gather, v5e', '1.500'),
    ):
      self.assertRegex(text, rf'\| {label} \|.*\| {ratio} \|')

  def test_rows_of_different_runs_have_no_ratio(self):
    (table,) = tables.get_tables(['tpu7x'])
    figures = {row.key: _figures(50_000_000, 1.0) for row in table.rows}
    lines = tables.render(figures).splitlines()
    for n in range(6):
      self.assertIn(f'| CoAtNet-{n} | 16 | 50.0 | 53.2 | 1.0 | 25.0 % |', lines)

  def test_cores(self):
    lines = tables.render({}).splitlines()
    self.assertIn(
      '| tpu7x | half a chip | 2.20 | 1153.5 | 94.74 | 3690 |', lines
    )
    for name in compiler.TOPOLOGIES:
      self.assertTrue(any(line.startswith(f'| {name} |') for line in lines))

  def test_figures_and_page(self):
    path = os.path.join(self.create_tempdir(), 'figures.json')
    self.assertEqual(tables.read_figures(path), {})
    tables.write_figures(path, {'b': {'cycles': 1}, 'a': {'cycles': 2}})
    self.assertEqual(list(tables.read_figures(path)), ['a', 'b'])
    page = 'x\n<!-- tables: begin -->\nold\n<!-- tables: end -->\ny\n'
    new = tables.put_into_page(page, 'new')
    self.assertEqual(
      new, 'x\n<!-- tables: begin -->\n\nnew\n<!-- tables: end -->\ny\n'
    )
    self.assertEqual(tables.put_into_page(new, 'new'), new)
    with self.assertRaisesRegex(ValueError, 'no place for tables'):
      tables.put_into_page('x', 'new')

  def test_unknown_table(self):
    with self.assertRaisesRegex(ValueError, "'table6' is unknown.*table5"):
      tables.get_tables(['table6'])

  def test_page_is_what_the_figures_say(self):
    """docs/tpu.md is never edited between its markers."""
    page = (_ROOT / 'docs' / 'tpu.md').read_text()
    figures = tables.read_figures(str(_ROOT / 'docs' / 'tpu.json'))
    self.assertEqual(tables.put_into_page(page, tables.render(figures)), page)


if __name__ == '__main__':
  absltest.main()
