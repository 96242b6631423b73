import subprocess
from unittest import mock

import numpy as np
from absl.testing import absltest

from official_coatnet.export import versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import bombs, c_api, fuzzing, runners


def good():
  return {'logits': np.zeros([1, 2]), 'ok': np.array([True])}


class FuzzingTest(absltest.TestCase):
  """What becomes of answers; `verification_test` asks an export."""

  def _send(self, answers, **kwargs):
    """Sends ten images, which an export answers in these ways, in turn."""

    def cost(path, requests, timeout):
      del path, timeout
      found = [answers[i % len(answers)] for i in range(len(requests) - 3)]
      seconds = [5.0, 0.5, 0.5, *(s for _, s in found)]
      return [good()] * 3 + [a for a, _ in found], 1_000_000_000, seconds

    with mock.patch.object(runners, 'cost_in_cpp', kwargs.get('cost', cost)):
      return fuzzing.send_damaged('somewhere', count=10)

  def test_answered_and_refused(self):
    blank = {'logits': np.zeros([1, 2]), 'ok': np.array([False])}
    check = self._send([(good(), 0.5), ('refused', 0.4), (blank, 1.5)])
    self.assertEqual(
      check.name,
      'C++: 10 damaged images, 6 refused, at most 1.00 GB and 1.00 s of CPU',
    )
    self.assertEmpty(check.problems)

  def test_what_an_image_costs_more_than_an_honest_one(self):
    check = self._send([(good(), 2.49), ('refused', 2.51)])
    self.assertEqual(
      check.problems, [f'image {i}: 2.0 s of CPU' for i in (1, 3, 5, 7, 9)]
    )

  def test_no_numbers(self):
    bad = {'logits': np.full([1, 2], np.nan)}
    check = self._send([(bad, 0.5), *[(good(), 0.5)] * 9])
    self.assertEqual(check.problems, ['image 0: the logits are not finite'])

  def test_a_process_that_dies_or_hangs(self):
    for error in (
      c_api.LoadError('exit code -11'),
      subprocess.TimeoutExpired('c_api', 1200),
    ):
      check = self._send([], cost=mock.Mock(side_effect=error))
      self.assertLen(check.problems, 1)
      self.assertStartsWith(check.problems[0], 'images 0 to 9: ')

  def test_bombs(self):
    """Of two ways to run an export one is slow, and one dies."""

    def answer(requests):
      return ['refused' for _ in requests]

    provenance = mock.Mock(options=ExportOptions(max_pixels=100))
    with (
      mock.patch.object(versions, 'read_provenance', return_value=provenance),
      mock.patch.object(bombs, 'make', return_value={'a bomb': b'GIF'}) as make,
      mock.patch.object(runners, 'run_in_python', return_value=answer),
      mock.patch.object(
        runners, 'cost_in_cpp', side_effect=c_api.LoadError('killed')
      ),
    ):
      clock = iter([0.0, 9.0, 10.0, 10.5, 20.0, 21.0, 30.0, 33.5])
      with mock.patch.object(fuzzing.time, 'process_time', lambda: next(clock)):
        in_python, in_cpp = fuzzing.send_bombs('somewhere')
    make.assert_called_once_with(max_pixels=100)
    self.assertEqual(in_python.problems, ['a bomb: 2.5 s of CPU'])
    self.assertEqual(
      in_python.name,
      'Python: 1 files made to cost much, 1 refused, at most 2.50 s of CPU',
    )
    self.assertEqual(in_cpp.problems, ['killed'])


if __name__ == '__main__':
  absltest.main()
