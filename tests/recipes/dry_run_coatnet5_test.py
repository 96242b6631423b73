"""Dry-runs CoAtNet-5 at full size. Manual: it needs memory and minutes."""

import os
import resource
import subprocess
import sys

from absl import logging
from absl.testing import absltest

from tests.fixtures import repository


class DryRunCoAtNet5Test(absltest.TestCase):
  def test_dry_run(self):
    result = subprocess.run(
      [
        sys.executable,
        os.path.join(repository.ROOT, 'tools', 'train.py'),
        '--gin_file=gin/jft_coatnet5.gin',
        '--dry_run',
        '--gin_bindings=IMAGE_SIZE = 64',
        f'--model_dir={self.create_tempdir().full_path}',
      ],
      stderr=subprocess.PIPE,
      text=True,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn('687.', result.stderr)
    self.assertIn('Dry run passed', result.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    logging.info('Peak memory: %.1f GiB.', peak)
    # What a machine of 24 GiB can give.
    self.assertLess(peak, 23)


if __name__ == '__main__':
  absltest.main()
