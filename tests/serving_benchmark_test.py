"""Tests of tools/benchmark/serving.py: that it runs, not how fast."""

import os
import pathlib
import re
import subprocess
import sys

import tensorflow as tf

from tools.benchmark import serving

TOOL = pathlib.Path(serving.__file__).resolve()


class ServingBenchmarkTest(tf.test.TestCase):
  def test_small(self):
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    environment['PYTHONPATH'] = os.pathsep.join(
      path for path in sys.path if 'site-packages' in path
    )
    flags = '--model=coatnet_test --image_size=32 --rounds=1 --noxla'
    result = subprocess.run(
      [sys.executable, str(TOOL), *flags.split(), '--batch_sizes=8'],
      cwd=self.create_tempdir().full_path,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    for line in (
      r'^first request of 1 after warm-up: \d+\.\d\d times .*at most 1\.5',
      r'^ +8 +\d+ ms +\d+\.\d/s +\d+ ms +\d+\.\d/s +\d\.\d+  \(at least 1\.15',
      r'^as trained +\d+\.\d\d +1\.000$',
      r'^\+ operations for oneDNN \(export\) +\d+\.\d\d +\d\.\d+$',
      r'^encoded bytes +[\d,]+ bytes +\d+\.\d\d ms$',
    ):
      self.assertRegex(result.stdout, re.compile(line, re.MULTILINE))


if __name__ == '__main__':
  tf.test.main()
