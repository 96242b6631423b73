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
    ('2.15.1', '2.15.0', True),
    ('2.15.1', 'tpu-vm-tf-2.15.1-pod-se', True),
    ('2.15.1', 'nightly', True),
    ('2.15.1', None, True),
    ('2.15.1', 'tpu-vm-tf-2.11.0-pod', False),
    ('2.15.1', 'tpu-vm-tf-2.16.1-pod-pjrt', False),
    ('2.15.1', 'tpu-ubuntu2204-base', False),
    ('2.15.1', 'v2-alpha-tpuv5', False),
    ('2.16.2', 'tpu-vm-tf-2.16.1-pod-pjrt', True),
    ('2.20.0', 'tpu-vm-tf-2.20.0-pod-pjrt', True),
    ('2.20.0', 'tpu-vm-tf-2.2.0', False),
  )
  def test_software_is_of_the_clients_minor_version(self, here, software, fits):
    with mock.patch.object(tf, '__version__', here):
      problems = TpuSlice('pod', software=software).problems()
    self.assertLen(problems, 0 if fits else 1)
    for problem in problems:
      self.assertIn(f'{software!r}, this program TensorFlow {here}', problem)

  @parameterized.parameters(
    ('2.15.0', 'Create the TPU with .* tpu-vm-tf-2.15.1-pod-pjrt; on v4'),
    ('2.16.2', 'Create the TPU with .* tpu-vm-tf-2.16.1-pod-pjrt; on v4'),
    # Not 2.17.1, whose image is reported not to work.
    ('2.17.1', 'Create the TPU with .* tpu-vm-tf-2.17.0-pod-pjrt; on v4'),
    ('2.20.0', 'No image of TensorFlow 2.20 is known .* 2.15, 2.16, 2.17 on'),
  )
  def test_software_to_take(self, here, words):
    found = TpuSlice('pod', software='tpu-ubuntu2204-base')
    with mock.patch.object(tf, '__version__', here):
      (problem,) = found.problems()
    self.assertRegex(problem, words)

  @parameterized.parameters(
    ('v3-32', 'tpu-vm-tf-2.17.0-pod-pjrt', None),
    ('v3-32', 'tpu-vm-tf-2.17.1-pod-pjrt', 'issues/82208'),
    ('v3-8', 'tpu-vm-tf-2.17.1-pjrt', None),
    ('v5p-16', 'tpu-vm-tf-2.18.0-pod-pjrt', 'issues/82208'),
    ('v4-16', 'tpu-vm-tf-2.19.0-pod-se', 'issues/93618'),
    ('v6e-16', 'tpu-vm-tf-2.19.0-pod-pjrt', None),
    (None, None, None),
  )
  def test_images_that_others_could_not_use(
    self, accelerator_type, software, words
  ):
    found = TpuSlice(
      'pod', accelerator_type=accelerator_type, software=software
    )
    warnings = found.warnings()
    self.assertLen(warnings, 0 if words is None else 1)
    for warning in warnings:
      self.assertIn(words, warning)

  @parameterized.parameters('tpu7x-8', 'v7x-16')
  def test_generation_that_tensorflow_does_not_know(self, accelerator_type):
    found = TpuSlice('local', accelerator_type=accelerator_type)
    (problem,) = found.problems()
    self.assertIn('TensorFlow does not support', problem)

  @parameterized.parameters(
    (None, 'WAITING_FOR_RESOURCES', "'pod' is not there.*Wait for it"),
    (None, 'FAILED', 'queued-resources delete queue --force'),
    ('CREATING', 'PROVISIONING', "'pod' is in state CREATING.*Wait for it"),
    ('PREEMPTED', 'SUSPENDED', 'SUSPENDED. Delete it .*latest checkpoint'),
  )
  def test_queued_resource(self, state, queue_state, words):
    found = TpuSlice(
      'pod', state=state, queued_resource='queue', queue_state=queue_state
    )
    (problem,) = found.problems()
    self.assertRegex(problem, words)
    self.assertIn(
      f"'queue' that asks for it is in state {queue_state}", problem
    )

  def test_name_of_a_queued_resource(self):
    found = TpuSlice(
      'queue',
      queued_resource='queue',
      queue_state='ACTIVE',
      queued_nodes=('pod',),
    )
    (problem,) = found.problems()
    self.assertIn('queued resource, whose TPU is called pod', problem)

  def test_words(self):
    found = TpuSlice(
      'pod',
      accelerator_type='v6e-16',
      state='READY',
      health='UNHEALTHY_MAINTENANCE',
      health_description='moved at 12:00',
      num_hosts=4,
      queued_resource='queue',
    )
    self.assertEqual(
      str(found),
      'TPU pod, accelerator type v6e-16, state READY, health '
      'UNHEALTHY_MAINTENANCE (moved at 12:00), 4 host(s), queued resource '
      'queue',
    )
    self.assertEqual(found.problems(), [])

  def test_nothing_known_is_no_problem(self):
    self.assertEqual(TpuSlice('local').problems(), [])
    self.assertEqual(str(TpuSlice('local')), 'TPU local')

  def test_everything_that_is_amiss(self):
    found = TpuSlice('pod', state='STOPPED', software='tpu-vm-tf-2.11.0-pod')
    self.assertLen(found.problems(), 2)


if __name__ == '__main__':
  absltest.main()
