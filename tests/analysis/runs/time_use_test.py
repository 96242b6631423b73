"""Tests of analysis.runs.time_use."""

from absl.testing import absltest

from official_coatnet.analysis.runs import time_use


def _line(**seconds):
  values = {f'goodput/{name}': value for name, value in seconds.items()}
  return {'step': 4, 'goodput/time': 1e9, 'goodput/cores': 8.0, **values}


class TimeUseTest(absltest.TestCase):
  def test_a_run(self):
    found = time_use.summarize(
      [_line(step=1.0), _line(step=5400, input_wait=600, restart=1200)]
    )
    self.assertEqual(found['total'], 7200)
    self.assertEqual(found['goodput'], 0.75)
    self.assertEqual(found['core_hours'], 16.0)
    self.assertIsNone(found['tpu_v3_core_days'])
    text = time_use.format_text(found)
    self.assertIn('2 h 0 min, 16 core-hours; 75.0 % of it trained', text)
    self.assertRegex(
      text, r'training steps +#{18} +75.0 % +1 h 30 min +12 core-hours'
    )
    self.assertNotIn('evaluation', text)
    self.assertLessEqual(max(map(len, text.splitlines())), 90)

  def test_core_days_of_the_paper_and_advice(self):
    line = {**_line(step=69 * 864, input_wait=31 * 864), 'goodput/tpu_v3': 1.0}
    found = time_use.summarize([line])
    self.assertEqual(found['tpu_v3_core_days'], 8.0)
    text = time_use.format_text(found)
    self.assertIn('= 8 TPUv3-core-days (Table 5)', text)
    self.assertIn('Input-bound: the step waits 31 %', text)

  def test_a_run_of_an_earlier_version(self):
    self.assertIsNone(time_use.summarize([{'step': 4, 'train/loss': 1.0}]))


if __name__ == '__main__':
  absltest.main()
