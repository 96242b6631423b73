"""Tests of training.profiling."""

import glob
import os

import tensorflow as tf

from official_coatnet.training import profiling


class ProfilingTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _run(self, profile, *, start, loops):
    for step in range(start, start + 10 * loops, 10):
      with profile.loop(step, 10):
        tf.reduce_sum(tf.ones([8, 8]))

  def _traces(self):
    return glob.glob(
      os.path.join(self.folder, 'plugins', 'profile', '*', '*.xplane.pb')
    )

  def test_the_loops_that_hold_the_window(self):
    profile = profiling.Profile(15, 30, folder=self.folder)
    with self.assertLogs(level='INFO') as logs:
      self._run(profile, start=0, loops=5)
    [path] = self._traces()
    with open(path, 'rb') as f:
      trace = f.read()
    # Each loop is a step to the profiler, which goes by these two names.
    self.assertIn(b'\x05train', trace)
    self.assertIn(b'step_num', trace)
    self.assertLen(logs.output, 1)
    self.assertIn('Traced: steps 11 to 30', logs.output[0])
    self.assertIn('Asked for were 15 to 30', logs.output[0])
    with self.assertNoLogs():
      profile.close()

  def test_a_run_that_ends_within_it(self):
    profile = profiling.Profile(1, 30, folder=self.folder)
    self._run(profile, start=0, loops=1)
    self.assertEmpty(self._traces())
    with self.assertLogs(level='WARNING') as logs:
      profile.close()
    self.assertLen(self._traces(), 1)
    self.assertIn('has ended before step 30', logs.output[0])

  def test_a_run_that_is_past_it(self):
    profile = profiling.Profile(15, 20, folder=self.folder)
    with self.assertLogs(level='WARNING') as logs:
      self._run(profile, start=40, loops=2)
    self.assertLen(logs.output, 1)
    self.assertIn('at step 40 already', logs.output[0])
    self.assertEmpty(self._traces())


if __name__ == '__main__':
  tf.test.main()
