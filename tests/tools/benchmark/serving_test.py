"""Tests of tools/benchmark/serving.py: that it runs, not how fast."""

import pathlib
import re

import tensorflow as tf

from tests.fixtures import benchmarks
from tools.benchmark import serving

TOOL = pathlib.Path(serving.__file__).resolve()


class ServingBenchmarkTest(tf.test.TestCase):
  def test_small(self):
    flags = '--model=coatnet_test --image_size=32 --rounds=1 --noxla'
    result = benchmarks.run(
      TOOL,
      *flags.split(),
      '--batch_sizes=8',
      folder=self.create_tempdir().full_path,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    for line in (
      r'^first request of 1 after warm-up: \d+\.\d\d times .*at most 1\.5',
      r'^ +8 +\d+ ms +\d+\.\d/s +\d+ ms +\d+\.\d/s +\d+\.\d+  \(at least 1\.15',
      r'^as trained +\d+\.\d\d +1\.000$',
      r'^\+ operations for oneDNN \(export\) +\d+\.\d\d +\d+\.\d+$',
      r'^encoded bytes +[\d,]+ bytes +\d+\.\d\d ms$',
    ):
      self.assertRegex(result.stdout, re.compile(line, re.MULTILINE))


if __name__ == '__main__':
  tf.test.main()
