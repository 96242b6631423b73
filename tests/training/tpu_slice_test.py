"""Tests of training.tpu_slice."""

from unittest import mock

import tensorflow as tf
from absl.testing import absltest, parameterized

from official_coatnet.training.tpu_slice import TpuSlice


class TpuSliceTest(parameterized.TestCase):
  @parameterized.parameters(
    ('v2-8', 8),
    ('v3-2048', 2048),
    ('v4-16', 8),  # TensorCores; a device may be two of them.
    ('v5p-8', 4),
    ('v5litepod-16', 16),
    ('v6e-1', 1),
    ('something', None),
    (None, None),
  )
  def test_cores(self, accelerator_type, cores):
    found = TpuSlice('pod', accelerator_type=accelerator_type)
    self.assertEqual(found.min_cores, cores)

  @parameterized.parameters(
    ('2.15.0', True),
    ('tpu-vm-tf-2.15.1-pod-se', True),
    ('nightly', True),
    (None, True),
    ('tpu-vm-tf-2.11.0-pod', False),
    ('tpu-ubuntu2204-base', False),
    ('v2-alpha-tpuv5', False),
  )
  def test_software(self, software, fits):
    with mock.patch.object(tf, '__version__', '2.15.1'):
      problems = TpuSlice('pod', software=software).problems()
    self.assertLen(problems, 0 if fits else 1)
    for problem in problems:
      self.assertIn(f'{software!r}, this program TensorFlow 2.15.1', problem)
      self.assertIn('tpu-vm-tf-2.15.1-pod-pjrt', problem)

  def test_nothing_known_is_no_problem(self):
    self.assertEqual(TpuSlice('local').problems(), [])
    self.assertEqual(str(TpuSlice('local')), 'TPU local')

  def test_everything_that_is_amiss(self):
    found = TpuSlice('pod', state='STOPPED', software='tpu-vm-tf-2.11.0-pod')
    self.assertLen(found.problems(), 2)


if __name__ == '__main__':
  absltest.main()
