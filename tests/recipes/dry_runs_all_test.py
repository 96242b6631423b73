"""Dry-runs every named gin file. Manual: it takes minutes."""

import tensorflow as tf
from absl import flags
from absl.testing import parameterized

from tests.fixtures import dry_runs


class DryRunsAllTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(*dry_runs.named_files())
  def test_trains_evaluates_and_exports(self, path):
    dry_runs.dry_run(self, path)


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  tf.test.main()
