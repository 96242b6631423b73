"""Tests of tools/train.py as a user runs it: in a process of its own."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
from absl import app
from absl.testing import absltest

from official_coatnet.records import demo
from official_coatnet.training import checkpoints, model_dir
from tests.fixtures import gin_files, repository, runs, train_tool

_TOOL = os.path.join(repository.ROOT, 'tools', 'train.py')
# An upper bound, so that a tool that hangs fails; no measure of its speed.
_TIMEOUT = 600
# Runs the tool, and kills it where it would do most harm: when the files of a
# checkpoint are written, and the file that names the latest one is not.
_KILLED = """
import os, runpy, signal, sys
name, *sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.dirname(sys.argv[0])))
from official_coatnet.training import checkpoint_files
write = checkpoint_files.write_state
def write_or_die(folder, steps):
  if f'ckpt-{steps[-1]}' == name:
    os.kill(os.getpid(), signal.SIGKILL)
  write(folder, steps)
checkpoint_files.write_state = write_or_die
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
      '`gcloud ',  # What else it says depends on the client.
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


class SignalsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.model_dir = os.path.join(self.create_tempdir().full_path, 'run')

  def _run(self, number, line):
    """Sends a signal when the tool has said a line; returns code and words."""
    command = (
      '--gin_file=gin/demo.gin',
      "--gin_bindings=MODEL = 'coatnet_test'",
      '--gin_bindings=IMAGE_SIZE = 32',
      '--gin_bindings=BATCH_SIZE = 4',
      "--gin_bindings=DataConfig.source = 'synthetic'",
      '--gin_bindings=DataConfig.num_examples = 22',
      '--gin_bindings=TRAIN_STEPS = 100000',
      '--gin_bindings=WARMUP_EPOCHS = 0',
      '--gin_bindings=RunConfig.eval_interval_epochs = None',
      '--gin_bindings=RunConfig.checkpoint_interval_steps = 100000',
      '--gin_bindings=RunConfig.steps_per_loop = 2',
      '--verbose',  # orbit says what comes before the first step.
    )
    words = ''
    with subprocess.Popen(
      [sys.executable, _TOOL, *command, f'--model_dir={self.model_dir}'],
      cwd='/',
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    ) as process:
      for text in process.stdout:
        words += text
        if line and line in text:
          process.send_signal(number)
          line = None
      return process.wait(_TIMEOUT), words

  def test_before_its_first_step_it_ends_at_once_and_then_it_saves(self):
    code, words = self._run(signal.SIGTERM, 'training until step')
    self.assertEqual(code, 143, words)
    self.assertEndsWith(words, 'train.py: stopped by SIGTERM.\n')
    self.assertFalse(
      [name for name in os.listdir(self.model_dir) if name.startswith('ckpt')]
    )
    code, words = self._run(signal.SIGTERM, 'step 6/')
    self.assertEqual(code, 75, words)
    step = model_dir.checkpoint_step(model_dir.find_checkpoint(self.model_dir))
    self.assertGreaterEqual(step, 6)
    self.assertEqual(
      words.splitlines()[-1],
      f'train.py: stopped by SIGTERM at step {step}, which is saved: start the '
      'same command again.',
    )
    # Nobody holds the folder.
    self.assertNotIn('writer.json', os.listdir(self.model_dir))


class PerClassTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.bindings = [
      "MODEL = 'coatnet_test'", 'IMAGE_SIZE = 32', 'NUM_CLASSES = 5',
      'BATCH_SIZE = 4', "DataConfig.source = 'synthetic'",
      'DataConfig.num_examples = 10', 'ModelConfig.batch_norm_momentum = 0.9',
    ]  # fmt: skip
    cls.folder = tempfile.mkdtemp(dir=absltest.get_default_test_tmpdir())
    cls.model_dir = runs.write_run(
      os.path.join(cls.folder, 'run'),
      gin_files.load('gin/demo.gin', cls.bindings),
      step=40,
      labels=['hen', 'crane, big', 'Bär', 'kettle', 'x'],
    )

  def _evaluate(self, **flags):
    """Returns what the tool prints."""
    output = io.StringIO()
    settings = {'mode': 'eval', 'per_class': True, 'model_dir': self.model_dir}
    with contextlib.redirect_stdout(output):
      train_tool.call(
        gin_file=['gin/demo.gin'],
        gin_bindings=self.bindings,
        **{**settings, **flags},
      )
    return output.getvalue()

  def _check_files(self, folder):
    self.assertContainsSubset(
      {'classes.csv', 'classes.json', 'classes.png', 'confusion.csv'},
      set(os.listdir(folder)),
    )
    with open(os.path.join(folder, 'classes.csv'), encoding='utf-8') as f:
      rows = list(csv.DictReader(f))
    self.assertEqual(rows[1]['name'], 'crane, big')
    self.assertEqual(sum(int(row['images']) for row in rows), 10)

  def test_files_are_in_the_model_dir(self):
    words = self._evaluate()
    self.assertIn('Step 40: mean accuracy ', words)
    self._check_files(os.path.join(self.model_dir, 'evaluation', 'ckpt-40'))

  def test_files_are_elsewhere_where_that_is_read_only(self):
    other = os.path.join(self.folder, 'other')
    with mock.patch.object(model_dir, 'is_writable', lambda f: f == other):
      self._evaluate(output_dir=other)
    self._check_files(other)

  def test_where_nothing_can_be_written(self):
    folder = os.path.join(self.model_dir, 'evaluation')
    shutil.rmtree(folder, ignore_errors=True)
    with mock.patch.object(model_dir, 'is_writable', lambda folder: False):
      words = self._evaluate()
      self.assertIn('Step 40: mean accuracy ', words)
      self.assertRegex(words, 'Nothing is written: .*ckpt-40 cannot be')
      self.assertFalse(os.path.exists(folder))
      with self.assertRaisesRegex(SystemExit, '--output_dir is /x, where no'):
        self._evaluate(output_dir='/x')

  def test_flags_that_do_not_go_together(self):
    with self.assertRaisesRegex(SystemExit, "'train'.*one of mode 'eval'"):
      self._evaluate(mode='train')
    with self.assertRaisesRegex(app.UsageError, 'for what --per_class writes'):
      self._evaluate(per_class=False, output_dir='/x')


if __name__ == '__main__':
  absltest.main()
