"""Tests of training.goodput."""

from absl.testing import absltest

from official_coatnet.training import goodput


class GoodputTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.time = 0.0

  def _ledger(self, date=1000.0, **kwargs):
    """Returns a ledger; the world's clock shows `date` at time 0 of it."""
    zero = self.time
    return goodput.Ledger(
      now=lambda: self.time, date=lambda: date + self.time - zero, **kwargs
    )

  def test_each_second_has_one_name(self):
    ledger = self._ledger(started=990.0)
    self.time += 5
    with ledger.within(goodput.RESTORE):
      self.time += 2
    with ledger.within(goodput.STEP):
      self.time += 20
    ledger.starts_up_no_longer()
    self.time += 1
    with ledger.within(goodput.EVALUATION):
      self.time += 3
      with ledger.within(goodput.CHECKPOINT):
        self.time += 4
      self.time += 1
    ledger.move(6.0, source=goodput.STEP, target=goodput.INPUT_WAIT)
    self.assertEqual(
      {name: value for name, value in ledger.seconds().items() if value},
      {
        'startup': 15.0,
        'restore': 2.0,
        'step': 14.0,
        'input_wait': 6.0,
        'evaluation': 4.0,
        'checkpoint': 4.0,
        'other': 1.0,
      },
    )
    self.assertEqual(ledger.line()['goodput/total'], 46.0)
    self.assertEqual(ledger.line()['goodput/time'], 1036.0)

  def test_no_more_is_moved_than_there_is(self):
    ledger = self._ledger()
    with ledger.within(goodput.STEP):
      self.time += 2
    ledger.move(9.0, source=goodput.STEP, target=goodput.INPUT_WAIT)
    self.assertEqual(ledger.seconds()['step'], 0.0)
    self.assertEqual(ledger.seconds()['input_wait'], 2.0)

  def _lines(self):
    """Lines of a process: a checkpoint at step 10, killed after step 20."""
    ledger, lines = self._ledger(), []
    for step in (10, 20):
      with ledger.within(goodput.STEP):
        self.time += 30
      ledger.starts_up_no_longer()
      ledger.move(5.0, source=goodput.STEP, target=goodput.INPUT_WAIT)
      lines.append({'step': step, **ledger.line()})
    return lines

  def test_what_is_done_again_was_lost(self):
    lines = self._lines()
    # Its last sign of life is 15 s after its last line, and the next process
    # begins 100 s after that.
    again = self._ledger(date=1000.0 + 60 + 15 + 100)
    again.resume(lines, step=10, last_sign=1075.0)
    seconds = again.seconds()
    self.assertEqual(seconds['step'], 25.0)
    self.assertEqual(seconds['input_wait'], 5.0)
    self.assertEqual(seconds['lost'], 25.0 + 5.0 + 15.0)
    self.assertEqual(seconds['restart'], 100.0)
    self.assertEqual(sum(seconds.values()), 175.0)

  def test_a_run_that_is_saved_loses_nothing(self):
    again = self._ledger(date=1000.0 + 60 + 7)
    again.resume(self._lines(), step=20)
    seconds = again.seconds()
    self.assertEqual((seconds['step'], seconds['input_wait']), (50.0, 10.0))
    self.assertEqual((seconds['lost'], seconds['restart']), (0.0, 7.0))

  def test_killed_before_its_first_checkpoint(self):
    again = self._ledger(date=1060.0)
    again.resume(self._lines(), step=0)
    seconds = again.seconds()
    self.assertEqual((seconds['step'], seconds['lost']), (0.0, 60.0))

  def test_lines_of_an_earlier_version(self):
    ledger = self._ledger()
    ledger.resume([{'step': 10, 'train/loss': 1.0}], step=10)
    self.assertEqual(sum(ledger.seconds().values()), 0.0)
    self.assertIsNone(goodput.of_lines([{'step': 10, 'train/loss': 1.0}]))

  def test_a_clock_that_was_set_back(self):
    again = self._ledger(date=500.0)
    again.resume(self._lines(), step=20, last_sign=2000.0)
    self.assertEqual(again.seconds()['restart'], 0.0)
    self.assertEqual(again.seconds()['lost'], 0.0)

  def test_advice(self):
    seconds = dict.fromkeys(goodput.NAMES, 0.0)
    seconds |= {'step': 69.0, 'input_wait': 31.0}
    self.assertStartsWith(
      goodput.advice(seconds), 'Input-bound: the step waits 31 % of its time'
    )
    self.assertIsNone(goodput.advice({**seconds, 'input_wait': 5.0}))
    self.assertIsNone(goodput.advice({'step': 1.0, 'input_wait': 9.0}))


if __name__ == '__main__':
  absltest.main()
