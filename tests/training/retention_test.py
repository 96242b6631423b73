"""Tests of training.retention: which checkpoints are kept."""

from absl.testing import absltest, parameterized

from official_coatnet.training import retention

HOUR = 3600.0


class KeptTest(parameterized.TestCase):
  @parameterized.parameters(
    # The last ones.
    (dict(max_to_keep=2), [2, 4, 6, 8], [6, 8]),
    (dict(max_to_keep=9), [2, 4], [2, 4]),
    # The first at or after 10, 20 and 40; none is between 30 and 39.
    (
      dict(max_to_keep=1, every_steps=10),
      [4, 8, 12, 16, 20, 24, 28, 44, 48],
      [12, 20, 44, 48],
    ),
    (dict(max_to_keep=1, every_steps=2), [2, 4, 6], [2, 4, 6]),
  )
  def test_steps(self, settings, steps, kept):
    self.assertEqual(
      retention.choose(dict.fromkeys(steps, 0.0), steps[-1], **settings), kept
    )

  def test_chosen_one_by_one_the_same_are_kept(self):
    settings = dict(max_to_keep=2, every_steps=10, every_hours=5.0)
    all_times = {step: step * 0.7 * HOUR for step in range(3, 60, 3)}
    there = {}
    for step, time in all_times.items():
      there[step] = time
      kept = retention.choose(there, step, **settings)
      there = {each: all_times[each] for each in kept}
    self.assertEqual(
      kept, retention.choose(all_times, max(all_times), **settings)
    )
    # By steps 12, 21, 30, 42, 51; by hours 3, 12 (6.3 h later), 21, ...
    self.assertEqual(kept, [3, 12, 21, 30, 39, 42, 48, 51, 54, 57])

  def test_hours(self):
    times = {10: 0.0, 20: HOUR, 30: 2 * HOUR, 40: 3 * HOUR, 50: 4 * HOUR}
    self.assertEqual(
      retention.choose(times, 50, max_to_keep=1, every_hours=2.0),
      [10, 30, 50],
    )

  def test_what_the_run_has_gone_back_from_goes_first(self):
    times = dict.fromkeys([2, 4, 5, 8, 20], 0.0)
    self.assertEqual(retention.choose(times, 5, max_to_keep=3), [2, 4, 5])
    self.assertEqual(
      retention.choose(times, 5, max_to_keep=4, every_steps=1),
      [20, 2, 4, 5],
    )


if __name__ == '__main__':
  absltest.main()
