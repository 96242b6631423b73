"""Arithmetic and messages."""

import dataclasses
import math
import os
from unittest import mock

from absl.testing import absltest

from official_coatnet.analysis.tpu import (
  compiler,
  memory,
  report as report_lib,
  step,
)
from tests.fixtures import experiments as fixture


def _sum_up():
  parts = [
    step.Part('s1_block0', 's1', 1, b''),
    step.Part('s1_block1', 's1', 5, b''),
    step.Part('head', 'head', 1, b''),
    step.Part('update of s1_block1', 'optimizer', 5, b''),
  ]
  cycles = (7e6, 3e6, 1e6, 0.2e6)
  return report_lib.sum_up(
    parts,
    {p.name: compiler.Compiled(cycles=int(c)) for p, c in zip(parts, cycles)},
    target=compiler.get_topology('v3'),
    batch_per_core=16,
    flops_per_image=200e9,
  )


class TpuReportTest(absltest.TestCase):
  def test_sum(self):
    report = _sum_up()
    cycles = 7e6 + 5 * 3e6 + 1e6 + 5 * 0.2e6
    self.assertEqual(report['cycles'], cycles)
    self.assertAlmostEqual(report['ms'], cycles / 940e3)
    rate = 16 * 940e6 / cycles
    self.assertAlmostEqual(report['images_per_second_per_core'], rate)
    self.assertAlmostEqual(
      report['model_flop_utilization'], rate * 200e9 / 61.5e12
    )
    stages = {s['stage']: s for s in report['stages']}
    self.assertEqual(stages['s1']['cycles'], 22e6)
    self.assertEqual(stages['s1']['parts'], 6)
    self.assertEqual(stages['optimizer']['cycles'], 1e6)
    self.assertAlmostEqual(sum(s['share'] for s in stages.values()), 1.0)
    self.assertAlmostEqual(sum(s['ms'] for s in stages.values()), report['ms'])

  def test_model_flops(self):
    """Of one more block in S3, worked out by hand."""
    base = fixture.make_experiment()
    blocks = base.model.blocks
    more = dataclasses.replace(
      base,
      model=dataclasses.replace(
        base.model, blocks=(*blocks[:3], blocks[3] + 1, *blocks[4:])
      ),
    )
    length = math.prod(size // 16 for size in base.model.height_width)
    width = base.model.widths[3]
    block = (4 + 8) * length * width**2 + 2 * length**2 * width
    self.assertEqual(
      report_lib.model_flops(more) - report_lib.model_flops(base), 6 * block
    )

  def test_format(self):
    text = report_lib.format_cost(
      {
        **_sum_up(),
        'model': 'coatnet_0',
        'image_size': [224, 224],
        'dtype': 'mixed_bfloat16',
        'topology': 'v3',
      }
    )
    self.assertIn('coatnet_0 at 224x224', text)
    self.assertIn('not measurements', text)
    self.assertRegex(text, r'optimizer +5 +1\.00 +1\.06 +4\.2 %')
    self.assertRegex(text, r'626\.7 images/s/core')

  def test_errors_come_before_any_work(self):
    experiment = fixture.make_experiment()
    common = dict(batch_per_core=2, cache_dir=None)
    for function in (report_lib.cost, memory.measure):
      with self.assertRaisesRegex(ValueError, 'v3, v4, v5e, v5p, v6e'):
        function(experiment, topology='v1', **common)
      self.enter_context(
        mock.patch.dict(
          os.environ, {compiler.PYTHON_VARIABLE: '/nonexistent/python'}
        )
      )
      with self.assertRaisesRegex(FileNotFoundError, 'make tpu-report'):
        function(experiment, topology='v3', **common)

  def test_failed_part(self):
    error = 'temporaries (24.50G) exceeds available HBM (15.48G). More.'
    with self.assertRaisesRegex(MemoryError, 's1 needs 24.50 GiB .* 15.48 GiB'):
      report_lib.check(compiler.Compiled(error=error), what='s1')
    with self.assertRaisesRegex(RuntimeError, 'refuses s1: INTERNAL: x'):
      report_lib.check(compiler.Compiled(error='INTERNAL: x'), what='s1')


if __name__ == '__main__':
  absltest.main()
