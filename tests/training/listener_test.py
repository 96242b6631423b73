"""Tests of training.listener; reporting_test has the lines of loops."""

from absl.testing import absltest

from official_coatnet.training import listener


class ListenerTest(absltest.TestCase):
  def test_durations_as_people_write_them(self):
    self.assertEqual(
      [listener.format_duration(s) for s in (41.6, 200, 7500, 180000)],
      ['42 s', '3 min 20 s', '2 h 5 min', '2 d 2 h'],
    )

  def test_what_does_not_change_is_left_out(self):
    values = {'loss': 0.51239, 'images_per_second': 3.0, 'bad_steps': 0.0}
    self.assertEqual(listener.format_metrics(values), 'loss 0.5124')
    values['bad_steps'] = 2.0
    self.assertEqual(
      listener.format_metrics(values), 'loss 0.5124, bad_steps 2'
    )

  def test_checkpoints_and_evaluations_go_to_the_log(self):
    with self.assertLogs(level='INFO') as logs:
      listener.Listener().after_checkpoint(4, '/run/ckpt-4')
      listener.Listener().after_evaluation(4, {'loss': 0.5})
    words = '\n'.join(logs.output)
    self.assertIn('saved checkpoint to /run/ckpt-4.', words)
    self.assertIn('evaluated at step 4: loss 0.5', words)


if __name__ == '__main__':
  absltest.main()
