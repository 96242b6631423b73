"""Tests of training.agreement; multi_worker_stop_test has two machines."""

from unittest import mock

import tensorflow as tf
from absl.testing import absltest

from official_coatnet.training import agreement, stop as stop_lib


class _Asked(stop_lib.Stop):
  def __init__(self, answer):
    self.answer = answer
    self.calls = []

  def reason(self):
    return self.answer

  def begin(self):
    self.calls.append('begin')

  def end(self):
    self.calls.append('end')


class AgreementTest(absltest.TestCase):
  def test_alone(self):
    alone = agreement.Agreement(tf.distribute.OneDeviceStrategy('CPU:0'))
    self.assertTrue(alone.is_alone)
    self.assertEqual(alone.sum(3), 3)
    self.assertTrue(alone.any(True))
    self.assertFalse(alone.any(False))
    alone.wait()

  def test_the_sum_is_taken_by_the_strategy(self):
    # A cluster of one, which knows nothing of that.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    one = agreement.Agreement(strategy)
    self.assertFalse(one.is_alone)
    for value in (0, 7, int(stop_lib.Reason.END) + 1):
      self.assertEqual(one.sum(value), value)

  def test_all_stop_for_the_strongest_reason_of_any(self):
    again, end = stop_lib.Reason.AGAIN, stop_lib.Reason.END
    summed = agreement.Agreement(tf.distribute.get_strategy())
    for mine, others, expected in (
      (None, (), None),
      (None, (again,), again),
      (again, (again, again), again),
      (again, (end,), end),
      (end, (None, again), end),
      (None, (end, end, again), end),
    ):
      stop = agreement.AgreedStop(_Asked(mine), summed)
      total = sum(int(reason or 0) for reason in others)
      with mock.patch.object(summed, 'sum', lambda v, total=total: v + total):
        self.assertEqual(stop.reason(), expected, (mine, others))

  def test_who_asks_is_handed_on(self):
    inner = _Asked(None)
    stop = agreement.AgreedStop(
      inner, agreement.Agreement(tf.distribute.get_strategy())
    )
    stop.begin()
    stop.end()
    self.assertEqual(inner.calls, ['begin', 'end'])


if __name__ == '__main__':
  absltest.main()
