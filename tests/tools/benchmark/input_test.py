"""Tests of tools/benchmark/input.py: that it runs, not how fast."""

import pathlib
import re

import tensorflow as tf

from tests.fixtures import benchmarks
from tools.benchmark import input as input_benchmark, input_variants

TOOL = pathlib.Path(input_benchmark.__file__).resolve()


class InputBenchmarkTest(tf.test.TestCase):
  def test_quick(self):
    result = benchmarks.run(
      TOOL,
      '--quick',
      '--images_per_second=3000',
      folder=self.create_tempdir().full_path,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    for line in (
      r'^training +\d+$',
      r'^TFDS +\d+$',
      r'^training / Model Garden parser: \d+\.\d\d  \(at least 1\.6\)',
      r'^RandAugment\(2, 15\) / Model Garden RandAugment\(2, 15\): \d',
      r'^several labels cost -?\d+\.\d% of training',
      r'^cores of the hosts for 3000 images/s:$',
    ):
      self.assertRegex(result.stdout, re.compile(line, re.MULTILINE))

  def test_cores_needed_are_rounded_up(self):
    self.assertEqual(input_benchmark.cores_needed(1000.0, 500.0), 2)
    self.assertEqual(input_benchmark.cores_needed(1001.0, 500.0), 3)

  def test_photographs_are_as_large_as_imagenets(self):
    encoded = input_variants.photograph(0)
    self.assertBetween(len(encoded), 80_000, 130_000)
    self.assertAllEqual(tf.io.extract_jpeg_shape(encoded), [375, 500, 3])
    self.assertNotEqual(encoded, input_variants.photograph(1))


if __name__ == '__main__':
  tf.test.main()
