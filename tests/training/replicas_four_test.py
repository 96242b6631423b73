"""The same run on four replicas; heavy, so not among `bazel test //...`."""

import os

from absl.testing import absltest

from tests.fixtures import replicas as fixture


class ReplicasFourTest(absltest.TestCase):
  def test_four_replicas_equal_one_device(self):
    folder = os.path.join(absltest.get_default_test_tmpdir(), 'replicas')
    os.makedirs(folder, exist_ok=True)
    fixture.start(folder, 1, 'synchronized', 'groups=4')
    fixture.start(folder, 4, 'synchronized', 'local')
    fixture.compare(self, folder, '1-synchronized', '4-synchronized')
    fixture.compare(self, folder, '1-groups=4', '4-local')


if __name__ == '__main__':
  absltest.main()
