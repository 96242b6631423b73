"""Tests of training.stop."""

from absl.testing import absltest

from official_coatnet.training import stop


class _Always(stop.Stop):
  def reason(self):
    return stop.Reason.AGAIN


class StopTest(absltest.TestCase):
  def test_by_itself_nothing_stops(self):
    never = stop.Stop()
    never.begin()
    never.check()
    self.assertIsNone(never.reason())

  def test_a_reason_is_an_error_where_it_is_asked_for(self):
    with self.assertRaises(stop.StoppedError) as caught:
      _Always().check()
    self.assertEqual(caught.exception.reason, stop.Reason.AGAIN)
    self.assertIsNone(caught.exception.step)

  def test_what_it_says(self):
    for step, words in ((None, 'stopped'), (8, 'stopped at step 8, which is')):
      error = stop.StoppedError(stop.Reason.END, step)
      self.assertStartsWith(str(error), words)


if __name__ == '__main__':
  absltest.main()
