"""Tests of tools.benchmark.timing, with a clock of their own."""

from absl.testing import absltest

from tools.benchmark import timing


class Work:
  """Makes variants that take a while by a clock of their own."""

  def __init__(self):
    self.now = 0.0
    self.order = []

  def variant(self, name, seconds, *, items=1):
    seconds = iter(seconds)

    def run():
      self.order.append(name)
      self.now += next(seconds)
      return items

    return run


class TimingTest(absltest.TestCase):
  def compare(self, variants, **arguments):
    work = Work()
    comparison = timing.compare(
      {name: work.variant(name, *args) for name, args in variants.items()},
      clock=lambda: work.now,
      **arguments,
    )
    return comparison, work.order

  def test_variants_take_turns_and_the_first_round_is_left_out(self):
    comparison, order = self.compare(
      {'a': ([100.0, 1.0, 2.0],), 'b': ([200.0, 4.0, 6.0],)}, rounds=2
    )
    self.assertEqual(order, ['a', 'b'] * 3)
    self.assertEqual(comparison.seconds, {'a': (1.0, 2.0), 'b': (4.0, 6.0)})

  def test_median_of_the_ratios_of_rounds(self):
    # The third round is slow for both: no matter for the ratio.
    comparison, _ = self.compare(
      {'a': ([0, 1.0, 2.0, 50.0],), 'b': ([0, 3.0, 8.0, 150.0],)}, rounds=3
    )
    self.assertEqual(comparison.ratio('a', to='b'), 3.0)
    self.assertEqual(comparison.rate('a'), 0.5)

  def test_extra_is_a_share(self):
    comparison, _ = self.compare(
      {'more': ([0, 3.0],), 'less': ([0, 1.0],), 'whole': ([0, 8.0],)},
      rounds=1,
    )
    self.assertEqual(
      comparison.extra('more', over='less', share_of='whole'), 0.25
    )

  def test_rate_counts_items(self):
    work = Work()
    comparison = timing.compare(
      {'a': work.variant('a', [0.0, 2.0], items=8)},
      rounds=1,
      clock=lambda: work.now,
    )
    self.assertEqual(comparison.rate('a'), 4.0)

  def test_cpu_seconds_do_not_run_back(self):
    start = timing.idle_cpu_seconds()
    self.assertGreaterEqual(timing.idle_cpu_seconds(), start)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'rounds is 0'):
      timing.compare({}, rounds=0)
    with self.assertRaisesRegex(ValueError, "'a' did 0 items"):
      timing.compare({'a': lambda: 0}, rounds=1)


if __name__ == '__main__':
  absltest.main()
