"""Writes a folder such as v0_1, by the tools as they are.

    python -m tests.compatibility.write_folder v0_2

For a version that records more than those before it. What is there is never
written again: CONTRIBUTING.md says why.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from unittest import mock

import numpy as np
from PIL import Image

from official_coatnet.training import model_dir as model_dir_lib
from tests.compatibility import command_line, recorded

_NUM_IMAGES = {'crane': 14, 'hen': 13, 'kettle': 13}
# Levels of noise in the pixels, few enough for a JPEG to stay small.
_NOISE = 24
# An export says where its run was, and that is on the machine that wrote it.
_PLACE = '/runs/compatibility'

_GIN = """\
# The run of tests/compatibility. Every number that matters is set here, so that
# a recipe may change without this run.
include 'gin/recipes/base.gin'

MODEL = 'coatnet_test'
IMAGE_SIZE = 32
NUM_CLASSES = 3
BATCH_SIZE = 8
TRAIN_STEPS = 12
WARMUP_STEPS = 2
SEED = 3

# ---- Model ----
ModelConfig.stochastic_depth = 0.2
ModelConfig.batch_norm_momentum = 0.7
ModelConfig.kernel_stddev = 0.06
ModelConfig.implementation = 'reference'

# ---- Data ----
DataConfig.schema = 'imagenet'
DataConfig.crop_area_range = (0.6, 1.0)
DataConfig.eval_crop_fraction = 0.9
DataConfig.shuffle_buffer = 16
train/DataConfig.randaugment = (2, 5)
train/DataConfig.mixup_alpha = 0.4

# ---- Loss ----
LossConfig.name = 'softmax'
LossConfig.label_smoothing = 0.1

# ---- Optimizer ----
OptimizerConfig.peak_learning_rate = 5e-3
OptimizerConfig.min_learning_rate = 1e-5
OptimizerConfig.decay = 'cosine'
OptimizerConfig.weight_decay = 0.05
OptimizerConfig.clip_norm = 1.0
OptimizerConfig.ema_decay = 0.4

# ---- Run ----
RunConfig.steps_per_loop = 2
RunConfig.eval_interval_steps = 6
# The first loop leaves a checkpoint: 2, 6, 10 and 12.
RunConfig.checkpoint_interval_steps = 4
RunConfig.max_to_keep = 1
"""


def _image(name: str, number: int) -> Image.Image:
  """Returns an image of 40 pixels; classes differ in colour, noise apart."""
  label = sorted(_NUM_IMAGES).index(name)
  rng = np.random.default_rng([label, number])
  coarse = rng.integers(0, 200, (5, 5, 3))
  coarse[..., label] += 55
  fine = coarse.repeat(8, axis=0).repeat(8, axis=1)
  fine = fine + rng.integers(0, _NOISE, fine.shape)
  return Image.fromarray(np.clip(fine, 0, 255).astype(np.uint8))


def _write_data():
  """Writes records in data/, by the tool, and images to predict."""
  with tempfile.TemporaryDirectory() as photos:
    for name, count in _NUM_IMAGES.items():
      os.makedirs(os.path.join(photos, name))
      for number in range(count):
        path = os.path.join(photos, name, f'{number:02}.png')
        _image(name, number).save(path)
    command_line.run(
      'tools/tfrecords.py',
      'folder',
      f'--input_dir={photos}',
      '--output_dir=data',
      '--num_shards=2',
      '--num_processes=1',
      '--validation_fraction=0.3',
    )
  os.makedirs(recorded.IMAGES)
  for name in _NUM_IMAGES:
    image = _image(name, 99).crop((0, 0, 32, 32))
    image.save(os.path.join(recorded.IMAGES, f'{name}.png'))


def _train_until_killed():
  """Trains, and ends as a process that is killed between checkpoints does."""
  write = model_dir_lib.MetricsFile.write

  def write_and_end(self, step, values):
    write(self, step, values)
    if step == recorded.KILLED_STEP:
      raise KeyboardInterrupt

  with (
    mock.patch.object(model_dir_lib.MetricsFile, 'write', write_and_end),
    contextlib.suppress(KeyboardInterrupt),
  ):
    recorded.train()
  # TensorBoard's events hold the name of this machine, and nobody reads them.
  for name in ('train', 'eval'):
    shutil.rmtree(os.path.join(recorded.MODEL_DIR, name))


def _export():
  recorded.export(recorded.EXPORTS)
  for name in ('export.json', 'README.md'):
    path = os.path.join(recorded.EXPORT, name)
    with open(path) as f:
      text = f.read()
    with open(path, 'w') as f:
      f.write(text.replace(os.getcwd(), _PLACE))


def _expected() -> dict:
  """Returns what is to be expected of the folder in the working directory."""
  answers = {
    signature: {key: value.tolist() for key, value in outputs.items()}
    for signature, outputs in recorded.answers(recorded.EXPORT).items()
  }
  return {
    'summary': recorded.summarize(),
    'predictions': recorded.predict(),
    'norms': recorded.norms(),
    'variables': recorded.variables(),
    'export': {
      'files': recorded.files(recorded.EXPORT),
      'signatures': recorded.signatures(recorded.EXPORT),
      'answers': answers,
    },
    'fine_tuned': recorded.fine_tune(),
    'evaluation': {
      weights: recorded.evaluate(weights, gin_file='run.gin')
      for weights in recorded.WEIGHTS
    },
  }


def _resumed() -> dict:
  """Returns what comes of the run, which goes on in the working directory."""
  recorded.train()
  return {'metrics': recorded.metrics(), 'norms': recorded.norms()}


def _write_json(value, path: str):
  with open(path, 'w') as f:
    f.write(json.dumps(value, indent=1, sort_keys=True) + '\n')


def main(argv):
  """Writes the folder."""
  if len(argv) != 2:
    sys.exit('usage: python -m tests.compatibility.write_folder VERSION')
  folder = os.path.join(recorded.HERE, argv[1])
  os.makedirs(folder)  # Refuses one that exists.
  with tempfile.TemporaryDirectory() as temporary:
    with contextlib.chdir(temporary):
      with open('run.gin', 'w') as f:
        f.write(_GIN)
      _write_data()
      _train_until_killed()
      _export()
    shutil.copytree(temporary, folder, dirs_exist_ok=True)
  # Each in a copy of its own: an evaluation adds a line to metrics.jsonl.
  values = {}
  for ask in (_expected, _resumed):
    with tempfile.TemporaryDirectory() as copy, contextlib.chdir(copy):
      shutil.copytree(folder, copy, dirs_exist_ok=True)
      values[ask] = ask()
  values = {**values[_expected], 'resumed': values[_resumed]}
  _write_json(values, os.path.join(folder, recorded.EXPECTED_FILE))
  _write_json(
    recorded.checksums(folder), os.path.join(folder, recorded.CHECKSUMS_FILE)
  )


if __name__ == '__main__':
  main(sys.argv)
