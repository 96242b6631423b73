"""Tests of tools/tpu_report.py: what is said of memory, by a stub compiler."""

from unittest import mock

from absl import flags
from absl.testing import absltest, flagsaver

from official_coatnet.analysis.tpu import memory, report
from tools import prologue, tpu_report as tool

_GIB = 2**30


def _measure(experiment, *, batch_per_core, **_):
  """Of 2 GiB, and 10 MiB an image."""
  needed = 2 * _GIB + batch_per_core * 10 * 2**20
  return {
    'batch_per_core': batch_per_core,
    'fits': needed <= 16 * _GIB,
    'needed': needed,
    'available': 16 * _GIB,
    'cycles': 9e6,
    'memory': {'temp': needed},
  }


def _run(**settings):
  """Runs the tool's main and returns what it prints or exits with."""
  with (
    flagsaver.flagsaver(
      gin_file=['gin/imagenet1k_coatnet0.gin'], memory=True, **settings
    ),
    mock.patch.object(memory, 'measure', side_effect=_measure) as whole,
    mock.patch.object(
      memory, 'measure_by_depths', side_effect=_measure
    ) as depths,
    mock.patch.object(report, 'cost', return_value={'cycles': 9e6}) as cost,
    mock.patch.object(report, 'format_cost', return_value='table'),
    mock.patch('builtins.print') as printed,
  ):
    try:
      prologue.guard(tool.main)(['tpu_report.py'])
      # The last call, without progress on stderr.
      text = printed.call_args.args[0]
    except SystemExit as e:
      text = str(e.code)
  return text, whole, depths, cost


class TpuReportToolTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    flags.FLAGS.mark_as_parsed()

  def test_what_does_not_fit_is_one_line(self):
    """Needed, available, the largest batch; and no part is costed."""
    text, whole, depths, cost = _run(batch_per_core=4096)
    self.assertEndsWith(
      text,
      ': Out of memory on v3: 4096 images a core need 42.00 GiB of HBM, 16.00 '
      'GiB are available; the largest batch that fits is 1432.',
    )
    self.assertNotIn('\n', text)
    self.assertLess(whole.call_count, 8)
    depths.assert_not_called()
    cost.assert_not_called()

  def test_memory_by(self):
    for memory_by, called in (('whole', 0), ('depths', 1)):
      text, *measured, cost = _run(batch_per_core=16, memory_by=memory_by)
      self.assertStartsWith(text, 'table\nWhole step: 2.16 GiB of HBM of 16.00')
      self.assertEqual(measured[called].call_count, 1)
      self.assertEqual(measured[1 - called].call_count, 0)
      cost.assert_called_once()


if __name__ == '__main__':
  absltest.main()
