"""Tests of tools/train.py as a user runs it: in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
from absl.testing import absltest

from official_coatnet.records import demo
from official_coatnet.training import checkpoints
from tests.fixtures import repository

_TOOL = os.path.join(repository.ROOT, 'tools', 'train.py')
_TIMEOUT = 240


def _command(*args):
  return [sys.executable, _TOOL, *args]


def _run(*args, environment=None):
  """Runs the tool from another folder; returns its exit code and its words."""
  result = subprocess.run(
    _command(*args),
    cwd='/',
    env={**os.environ, **(environment or {})},
    capture_output=True,
    text=True,
    timeout=_TIMEOUT,
  )
  return result.returncode, result.stdout + result.stderr


class TrainTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_everything_that_stands_in_the_way_in_one_message(self):
    start = time.monotonic()
    code, words = _run(
      '--gin_file=gin/jft_coatnet5.gin',
      '--tpu=no-such-tpu',
      '--tpu_zone=europe-west4-a',
    )
    # The demand is 60 seconds; where there is no network it takes a few.
    self.assertLess(time.monotonic() - start, 60)
    self.assertEqual(code, 1)
    self.assertNotIn('Traceback', words)
    for part in (
      "Cloud TPU called 'no-such-tpu'",
      'zone: europe-west4-a',
      'gcloud compute tpus',
      '--model_dir is missing',
      'DATA_DIR',
    ):
      self.assertIn(part, words)

  def test_slice_of_several_hosts_and_bad_clusters(self):
    for variable, value, part in (
      ('TPU_WORKER_HOSTNAMES', 'a,b', 'of a slice of 2 hosts'),
      ('TF_CONFIG', '{"cluster": 3}', 'TF_CONFIG is '),
    ):
      tpu = ['--tpu=local'] if 'TPU' in variable else []
      code, words = _run(
        '--gin_file=gin/demo.gin', *tpu, environment={variable: value}
      )
      self.assertEqual(code, 1)
      self.assertNotIn('Traceback', words)
      self.assertIn(part, words)

  def test_misspelt_macro(self):
    code, words = _run('--gin_file=gin/demo.gin', '--gin_bindings=EPOCH = 3')
    self.assertEqual(code, 1)
    self.assertIn("Did you mean 'EPOCHS'", words)
    self.assertNotIn('Traceback', words)

  def test_dry_run_leaves_nothing_without_a_model_dir(self):
    code, words = _run('--gin_file=gin/demo.gin', '--dry_run')
    self.assertEqual(code, 0, words)
    for part in ('Devices: 1 x CPU', 'multiply-adds', 'Dry run passed'):
      self.assertIn(part, words)
    path = words.rsplit('exported to ')[-1].split()[0].rstrip('.')
    self.assertFalse(os.path.exists(path))

  def test_killed_and_started_again_it_goes_on(self):
    data_dir = os.path.join(self.folder, 'data')
    demo.write_digits(data_dir)
    settings = (
      '--gin_file=gin/demo.gin',
      f"--gin_bindings=DATA_DIR = '{data_dir}'",
      "--gin_bindings=MODEL = 'coatnet_test'",
      '--gin_bindings=IMAGE_SIZE = 32',
      '--gin_bindings=TRAIN_STEPS = 160',
      '--gin_bindings=RunConfig.eval_interval_epochs = None',
      '--gin_bindings=RunConfig.checkpoint_interval_steps = 40',
      '--gin_bindings=RunConfig.steps_per_loop = 20',
    )
    killed = os.path.join(self.folder, 'killed')
    whole = os.path.join(self.folder, 'whole')
    process = subprocess.Popen(
      _command(*settings, f'--model_dir={killed}'),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + _TIMEOUT
    while not os.path.exists(os.path.join(killed, 'ckpt-60.index')):
      self.assertIsNone(process.poll(), 'It ended before it could be killed.')
      self.assertLess(time.monotonic(), end)
      time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, words = _run(*settings, f'--model_dir={killed}')
    self.assertEqual(code, 0, words)
    self.assertRegex(words, r'Resumed at step (60|100|140) of 160')
    code, words = _run(*settings, f'--model_dir={whole}')
    self.assertEqual(code, 0, words)

    # No step is logged twice, and none is missing.
    lines = {}
    for folder in (killed, whole):
      with open(os.path.join(folder, 'metrics.jsonl')) as f:
        lines[folder] = [json.loads(line) for line in f]
    steps = [
      [line['step'] for line in lines[folder] if 'train/loss' in line]
      for folder in (killed, whole)
    ]
    self.assertEqual(steps[0], list(range(20, 161, 20)))
    self.assertEqual(steps[1], steps[0])
    self.assertEqual(lines[killed][-1]['eval/examples'], 450)
    # The same weights, to the last bit.
    a, b = (checkpoints.StoredWeights(f) for f in (killed, whole))
    for name in a.shapes:
      np.testing.assert_array_equal(a.read(name), b.read(name), name)

    for name in ('config.gin', 'operative_config.gin', 'labels.txt'):
      self.assertTrue(os.path.exists(os.path.join(killed, name)), name)


if __name__ == '__main__':
  absltest.main()
