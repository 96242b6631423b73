"""Tests of training.writer."""

import dataclasses
import json
import os
import shutil
import subprocess
import threading
from unittest import mock

from absl.testing import absltest

from official_coatnet.training import writer

# More than any test takes, so that no sign of life comes by itself.
_NEVER = 1e6


class WriterTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, writer.FILE)
    self.sleeps = []

  def _lock(self, **kwargs):
    settings = {
      'heartbeat': _NEVER,
      'stale': _NEVER,
      'sleep': self.sleeps.append,
    }
    return writer.Lock(self.folder, **{**settings, **kwargs})

  def _write(self, age=0, **kwargs):
    """Writes the file of another process of another machine."""
    other = dataclasses.replace(
      writer.this_process(), host='elsewhere', machine='m', **kwargs
    )
    with open(self.path, 'w') as f:
      json.dump(dataclasses.asdict(other), f)
    now = os.stat(self.path).st_mtime
    os.utime(self.path, (now, now - age))
    return other

  def _ended(self):
    """Returns the number of a process that has ended, and when it started."""
    with subprocess.Popen(['sleep', '60']) as process:
      found = (process.pid, writer._started(process.pid))
      process.kill()
    return found

  def test_taken_and_given_back(self):
    lock = self._lock()
    lock.take()
    lock.check()
    with open(self.path) as f:
      self.assertEqual(json.load(f)['pid'], os.getpid())
    self.assertEqual(os.listdir(self.folder), [writer.FILE])
    with self.assertRaisesRegex(
      ValueError, f'being written by process {os.getpid()} on .*--model_dir'
    ):
      self._lock().take()
    lock.release()
    self.assertEqual(os.listdir(self.folder), [])
    self.assertEqual(self.sleeps, [])

  def test_of_many_at_once_one_gets_it(self):
    outcomes = []

    def take():
      try:
        self._lock().take()
        outcomes.append(True)
      except ValueError:
        outcomes.append(False)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    self.assertEqual(sum(outcomes), 1)
    self.assertLen(outcomes, 8)

  def test_a_process_of_this_machine_that_has_ended(self):
    pid, started = self._ended()
    me = writer.this_process()
    other = dataclasses.replace(me, pid=pid, started=started, token='x')
    with open(self.path, 'w') as f:
      json.dump(dataclasses.asdict(other), f)
    with self.assertLogs(level='WARNING') as logs:
      self._lock().take()
    self.assertIn(f'process {pid} on', logs.output[0])
    # One that has its number now is another.
    self.assertFalse(me.is_gone)
    self.assertTrue(dataclasses.replace(me, started='1').is_gone)
    self.assertFalse(dataclasses.replace(other, machine='m').is_gone)

  def test_a_silent_one_of_another_machine(self):
    self._write(age=301)
    with self.assertLogs(level='WARNING') as logs:
      self._lock(stale=300).take()
    self.assertIn('has been silent for 301 s', logs.output[0])
    self.assertEqual(self.sleeps, [writer._SETTLE])

  def test_a_start_waits_until_it_is_silent_for_long(self):
    self._write(age=250)

    def sleep(seconds):
      self.sleeps.append(seconds)
      now = os.stat(self.path).st_mtime
      os.utime(self.path, (now, now - 30))

    with self.assertLogs(level='WARNING') as logs:
      lock = self._lock(stale=300, sleep=sleep)
      lock.take()
    self.assertRegex(
      logs.output[0], 'last heard of 25. s ago.*begins in (50|49) s'
    )
    self.assertLen(logs.output, 2)
    self.assertLen(self.sleeps, 3)

  def test_a_sign_of_life_ends_the_wait(self):
    self._write(age=250, token='x')

    def sleep(seconds):
      self._write(age=0, token='x')

    with self.assertRaisesRegex(ValueError, 'on elsewhere'):
      self._lock(stale=300, sleep=sleep).take()

  def test_given_back_while_it_is_waited_for(self):
    self._write(age=250)
    lock = self._lock(stale=300)

    def sleep(seconds):
      if seconds != writer._SETTLE or not self.sleeps:
        os.remove(self.path)
      self.sleeps.append(seconds)

    lock._sleep = sleep
    lock.take()
    lock.release()
    self.assertLen(self.sleeps, 2)

  def test_signs_of_life(self):
    lock = self._lock(heartbeat=0.01)
    lock.take()
    before = os.stat(self.path).st_mtime_ns
    while os.stat(self.path).st_mtime_ns == before:
      pass
    os.remove(self.path)  # It comes again.
    while not os.path.exists(self.path):
      pass
    # Another one has taken it, as while this machine slept.
    while lock._thread.is_alive():
      # Again, where a sign of life was being written just then.
      other = self._write(token='x')
      lock._thread.join(0.1)
    with self.assertRaisesRegex(ValueError, f'written by {other}'):
      lock.check()
    lock.release()
    self.assertTrue(os.path.exists(self.path))

  def test_a_folder_that_was_removed_does_not_come_again(self):
    lock = self._lock()
    lock.take()
    shutil.rmtree(self.folder)
    lock._released = mock.Mock(**{'wait.side_effect': [False, True]})
    lock._beat()
    self.assertFalse(os.path.exists(self.folder))

  def test_file_that_is_cut_is_nobodys(self):
    with open(self.path, 'w') as f:
      f.write('{"host": "el')
    lock = self._lock()
    lock.take()
    lock.release()

  def test_without_links_the_last_one_to_write_has_it(self):
    with mock.patch.object(os, 'link', side_effect=OSError(1, 'no')):
      lock = self._lock()
      lock.take()
      self.assertEqual(self.sleeps, [writer._SETTLE])
      lock.release()
      slow = self._lock(sleep=lambda s: self._write(token='faster'))
      with self.assertRaisesRegex(ValueError, 'on elsewhere'):
        slow.take()


if __name__ == '__main__':
  absltest.main()
