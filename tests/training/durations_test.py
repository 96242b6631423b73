"""Tests of training.durations."""

from absl.testing import absltest

from official_coatnet.training import durations


def _steps(steps=None, epochs=None):
  return durations.to_steps(
    name='train_steps',
    steps=steps,
    epochs=epochs,
    num_examples=1281167,
    batch_size=4096,
  )


class DurationsTest(absltest.TestCase):
  def test_epochs_become_whole_steps(self):
    # Table 10: 300 epochs of ImageNet-1K in batches of 4096.
    self.assertEqual(_steps(epochs=300), 300 * 1281167 // 4096)

  def test_steps_win(self):
    self.assertEqual(_steps(steps=7, epochs=300), 7)

  def test_neither(self):
    self.assertIsNone(_steps())

  def test_zero_epochs(self):
    self.assertEqual(_steps(epochs=0), 0)

  def test_less_than_one_step(self):
    with self.assertRaisesRegex(ValueError, '`train_steps` is 0.001 epochs'):
      _steps(epochs=0.001)

  def test_negative(self):
    with self.assertRaisesRegex(ValueError, 'negative'):
      _steps(steps=-1)

  def test_is_time(self):
    due = [s for s in range(1, 11) if durations.is_time(s, every=4, last=10)]
    self.assertEqual(due, [4, 8, 10])
    self.assertFalse(durations.is_time(9, every=None, last=10))


if __name__ == '__main__':
  absltest.main()
