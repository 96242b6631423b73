"""Tests of tools/train.py as a user runs it: in a process of its own."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
from absl.testing import absltest

from official_coatnet.records import demo
from official_coatnet.training import checkpoints, model_dir
from tests.fixtures import repository, train_tool

_TOOL = os.path.join(repository.ROOT, 'tools', 'train.py')
# An upper bound, so that a tool that hangs fails; no measure of its speed.
_TIMEOUT = 600
# Runs the tool, and kills it where it would do most harm: when the files of a
# checkpoint are written, and the file that names the latest one is not.
_KILLED = """
import os, runpy, signal, sys
from tensorflow.python.checkpoint import checkpoint_management
name, *sys.argv = sys.argv[1:]
update = checkpoint_management.update_checkpoint_state_internal
def update_or_die(folder, model_checkpoint_path, *args, **kwargs):
  if os.path.basename(model_checkpoint_path) == name:
    os.kill(os.getpid(), signal.SIGKILL)
  update(folder, model_checkpoint_path, *args, **kwargs)
checkpoint_management.update_checkpoint_state_internal = update_or_die
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def _run(*args, kill_at=None):
  """Runs the tool from another folder; returns its exit code and its words."""
  start = [_TOOL] if kill_at is None else ['-c', _KILLED, kill_at, _TOOL]
  result = subprocess.run(
    [sys.executable, *start, *args],
    cwd='/',
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
    code, words = _run(
      '--gin_file=gin/jft_coatnet5.gin',
      '--tpu=no-such-tpu',
      '--tpu_zone=europe-west4-a',
    )
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
      with self.assertRaisesRegex(SystemExit, part):
        train_tool.call(
          gin_file=['gin/demo.gin'],
          tpu='local' if 'TPU' in variable else None,
          environment={variable: value},
        )

  def test_misspelt_macro(self):
    with self.assertRaisesRegex(SystemExit, "Did you mean 'EPOCHS'"):
      train_tool.call(gin_file=['gin/demo.gin'], gin_bindings=['EPOCH = 3'])

  def test_dry_run_leaves_nothing_without_a_model_dir(self):
    code, words = _run(
      '--gin_file=gin/demo.gin',
      "--gin_bindings=MODEL = 'coatnet_test'",
      '--dry_run',
    )
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
      '--gin_bindings=TRAIN_STEPS = 16',
      '--gin_bindings=WARMUP_STEPS = 8',
      '--gin_bindings=RunConfig.eval_interval_epochs = None',
      '--gin_bindings=RunConfig.checkpoint_interval_steps = 4',
      '--gin_bindings=RunConfig.steps_per_loop = 2',
    )
    killed = os.path.join(self.folder, 'killed')
    whole = os.path.join(self.folder, 'whole')
    code, words = _run(*settings, f'--model_dir={killed}', kill_at='ckpt-10')
    self.assertEqual(code, -signal.SIGKILL, words)
    # The files of the checkpoint are whole, but nothing names it yet.
    self.assertTrue(os.path.exists(os.path.join(killed, 'ckpt-10.index')))
    self.assertEndsWith(model_dir.find_checkpoint(killed), 'ckpt-6')
    code, words = _run(*settings, f'--model_dir={killed}')
    self.assertEqual(code, 0, words)
    self.assertIn('Resumed at step 6 of 16', words)
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
    self.assertEqual(steps[0], list(range(2, 17, 2)))
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
