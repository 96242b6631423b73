"""Tests of training.clock with a clock of our own."""

import tensorflow as tf

from official_coatnet.training import clock as clock_lib


class ClockTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.time = 0.0
    self.clock = clock_lib.Clock(
      num_cores=4, batch_size=64, now=lambda: self.time
    )

  def _loop(self, steps, seconds):
    with self.clock.training(steps):
      self.time += seconds

  def test_first_loop_counts_for_hours_but_not_for_speed(self):
    self._loop(10, 360.0)
    self.assertIsNone(self.clock.images_per_second())
    self.assertIsNone(self.clock.seconds_left(10))
    self.assertAllClose(self.clock.core_hours, 360 * 4 / 3600)

  def test_speed_leaves_out_what_lies_between_loops(self):
    self._loop(10, 360.0)
    self.time += 1000  # An evaluation.
    self._loop(10, 5.0)
    self.assertAllClose(self.clock.images_per_second(), 10 * 64 / 5)
    self.assertAllClose(self.clock.images_per_second_per_core(), 10 * 16 / 5)
    self._loop(30, 5.0)
    # 40 steps in 10 seconds.
    self.assertAllClose(self.clock.seconds_left(100), 25.0)

  def test_core_hours_go_on_after_a_restart(self):
    self._loop(10, 3600.0)
    path = tf.train.Checkpoint(clock=self.clock).write(
      self.create_tempfile('ckpt').full_path
    )
    again = clock_lib.Clock(num_cores=4, batch_size=64, now=lambda: self.time)
    tf.train.Checkpoint(clock=again).read(path).assert_consumed()
    self.assertAllClose(again.core_hours, 4.0)

  def test_durations_as_people_write_them(self):
    self.assertEqual(
      [clock_lib.format_duration(s) for s in (41.6, 200, 7500)],
      ['42 s', '3 min 20 s', '2 h 5 min'],
    )


if __name__ == '__main__':
  tf.test.main()
