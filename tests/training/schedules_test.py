"""Tests of training.schedules: closed forms."""

import math

import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.training import schedules


def _schedule(**kwargs):
  settings = dict(total_steps=110, floor=1e-5, warmup_steps=10)
  return schedules.WarmupSchedule(1e-3, **{**settings, **kwargs})


class SchedulesTest(tf.test.TestCase, parameterized.TestCase):
  def test_warmup_is_a_line_to_the_peak(self):
    schedule = _schedule()
    for step in range(10):
      self.assertAllClose(schedule(step), 1e-3 * (step + 1) / 10)

  @parameterized.parameters(
    ('cosine', lambda p: 0.5 * (1 + math.cos(math.pi * p))),
    ('linear', lambda p: 1 - p),
    ('constant', lambda p: 1.0),
  )
  def test_decay(self, decay, remaining):
    schedule = _schedule(decay=decay)
    for step in (10, 35, 60, 109, 110, 500):
      p = min(1.0, (step - 10) / 100)
      expected = 1e-5 + (1e-3 - 1e-5) * remaining(p)
      self.assertAllClose(schedule(step), expected, rtol=1e-5, atol=1e-10)

  def test_no_warmup_starts_at_the_peak(self):
    self.assertAllClose(_schedule(warmup_steps=0)(0), 1e-3)

  def test_warmup_longer_than_the_run(self):
    with self.assertRaisesRegex(ValueError, 'WARMUP_STEPS'):
      _schedule(warmup_steps=111)

  def test_floor_above_the_peak(self):
    with self.assertRaisesRegex(ValueError, 'min_learning_rate'):
      _schedule(floor=1e-2)

  def test_unknown_decay(self):
    with self.assertRaisesRegex(ValueError, "'cosinus'.*cosine"):
      _schedule(decay='cosinus')

  def test_scaled(self):
    schedule = _schedule()
    scaled = schedules.Scaled(schedule, 0.05)
    self.assertAllClose(scaled(42), 0.05 * schedule(42))

  def test_config_round_trip(self):
    schedule = _schedule(decay='linear')
    copy = schedules.WarmupSchedule.from_config(schedule.get_config())
    self.assertAllEqual(
      [schedule(s) for s in range(120)], [copy(s) for s in range(120)]
    )


if __name__ == '__main__':
  tf.test.main()
