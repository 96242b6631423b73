"""Tests of training.clock."""

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

  def test_what_a_first_loop_trained_is_no_compilation(self):
    with self.clock.training(10):
      self.time += 30.0
      self.clock.waited(4.0)
    seconds = self.clock.ledger.seconds()
    self.assertEqual(seconds['compilation'], 26.0)
    self.assertEqual(seconds['input_wait'], 4.0)
    with self.clock.training(5):
      self.time += 3.0
      self.clock.waited(1.0)
    # 2 s for 5 steps: 4 s of the first loop were for its 10.
    seconds = self.clock.ledger.seconds()
    self.assertAllClose(seconds['compilation'], 22.0)
    self.assertAllClose(seconds['step'], 6.0)
    self.assertAllClose(seconds['input_wait'], 5.0)
    self.assertAllClose(self.clock.input_wait(), 1 / 3)

  def test_a_full_buffer_is_no_reason_for_advice(self):
    with self.clock.training(10):
      self.time += 100.0
      self.clock.waited(90.0)
    with self.clock.training(10):
      self.time += 40.0
      self.clock.waited(2.0)
    self.assertIsNone(self.clock.advice())

  def test_an_older_checkpoint_restores_without_the_ledger(self):
    names = [
      name
      for name, _ in tf.train.list_variables(
        tf.train.Checkpoint(clock=self.clock).write(
          self.create_tempfile('ckpt').full_path
        )
      )
    ]
    self.assertEqual(
      [name for name in names if name.startswith('clock')],
      ['clock/_core_seconds/.ATTRIBUTES/VARIABLE_VALUE'],
    )


if __name__ == '__main__':
  tf.test.main()
