"""Tests of official_coatnet.records.processes."""

import os
import signal

from absl.testing import absltest

from official_coatnet.records import processes


# Without TensorFlow in this module, a process starts in a fraction of a second.
def square(task, progress):
  for _ in range(task):
    progress(1)
  return task, task * task, os.getpid()


def fail(task, progress):
  raise KeyError(f'task {task}')


def die(task, progress):
  os.kill(os.getpid(), signal.SIGKILL)


def environment(task, progress):
  blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
  return os.environ.get('CUDA_VISIBLE_DEVICES'), signal.SIGINT in blocked


class MapTasksTest(absltest.TestCase):
  def test_all_tasks_in_several_processes(self):
    done = []
    results = list(
      processes.map_tasks(
        square, range(9), progress=done.append, num_processes=2
      )
    )
    self.assertCountEqual(
      [(task, result) for task, result, _ in results],
      [(task, task * task) for task in range(9)],
    )
    self.assertEqual(sum(done), sum(range(9)))
    pids = {pid for _, _, pid in results}
    self.assertBetween(len(pids), 1, 2)
    self.assertNotIn(os.getpid(), pids)

  def test_no_tasks(self):
    self.assertEmpty(
      list(processes.map_tasks(square, [], progress=print, num_processes=2))
    )

  def test_errors_come_back(self):
    with self.assertRaisesRegex(KeyError, 'task 7'):
      list(processes.map_tasks(fail, [7], progress=print, num_processes=2))

  def test_dead_worker(self):
    with self.assertRaisesRegex(RuntimeError, 'exit code -9.*num_processes'):
      list(processes.map_tasks(die, [1, 2], progress=print, num_processes=2))

  def test_workers_leave_gpus_and_ctrl_c_alone(self):
    results = processes.map_tasks(
      environment, [0], progress=print, num_processes=1
    )
    self.assertEqual(list(results), [('-1', True)])
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    self.assertNotIn(signal.SIGINT, blocked)

  def test_number(self):
    self.assertEqual(processes.choose_number(100), 1)
    self.assertEqual(
      processes.choose_number(10**9), len(os.sched_getaffinity(0))
    )


if __name__ == '__main__':
  absltest.main()
