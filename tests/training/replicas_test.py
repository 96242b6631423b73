"""The same run on one and on two replicas; replicas_four_test has four."""

import os

import numpy as np
from absl.testing import absltest

from tests.fixtures import replicas as fixture


class ReplicasTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(absltest.get_default_test_tmpdir(), 'replicas')
    os.makedirs(cls.folder, exist_ok=True)
    # The groups last: they stay for the rest of the process.
    fixture.start(cls.folder, 1, 'synchronized', 'groups=2')
    fixture.start(cls.folder, 2, 'synchronized', 'local')

  def test_synchronized_batch_norm_makes_replicas_equal_one_device(self):
    fixture.compare(self, self.folder, '1-synchronized', '2-synchronized')

  def test_local_batch_norm_equals_groups_on_one_device(self):
    fixture.compare(self, self.folder, '1-groups=2', '2-local')

  def test_the_two_differ(self):
    # Else the comparisons above would prove nothing.
    with self.assertRaises(AssertionError):
      fixture.compare(self, self.folder, '2-synchronized', '2-local')

  def test_one_program_of_each_kind(self):
    for run in ('1-synchronized', '2-local'):
      values = np.load(os.path.join(self.folder, f'{run}.npz'))
      np.testing.assert_array_equal(values['programs'], [1, 1])


if __name__ == '__main__':
  absltest.main()
