"""A model_dir as a run leaves it, without the run, and images to show to it."""

import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from official_coatnet.modeling import network
from official_coatnet.training import checkpoints, controller, preflight
from official_coatnet.training import experiment as experiment_lib
from tests import weights


def write_run(
  model_dir: str,
  experiment: experiment_lib.Experiment,
  *,
  step: int = 4,
  labels: list[str] | None = None,
) -> str:
  """Writes experiment.json, a checkpoint and perhaps labels.txt.

  All weights count, and the averages (if `ema_decay` is set) are others than
  the raw weights.

  Returns:
    `model_dir`.
  """
  os.makedirs(model_dir)
  preflight.write_experiment(experiment, model_dir)
  if labels is not None:
    with open(os.path.join(model_dir, controller.LABELS_FILE), 'w') as f:
      f.write(''.join(f'{label}\n' for label in labels))
  model = network.classifier(experiment.model, draw_keys=True)
  averages = {}
  if experiment.optimizer.ema_decay is not None:
    values = weights.randomize(model, seed=1)
    averages = {name: tf.Variable(value) for name, value in values.items()}
  weights.randomize(model, seed=0)
  manager = tf.train.CheckpointManager(
    checkpoints.make_checkpoint(model, averages=averages),
    directory=model_dir,
    max_to_keep=1,
    checkpoint_name=checkpoints.CHECKPOINT_NAME,
  )
  manager.save(checkpoint_number=step)
  return model_dir


def pixels(height: int, width: int, channels: int = 3, *, seed: int = 0):
  """Returns a smooth uint8 image, which JPEG and resizing leave alone."""
  noise = np.random.default_rng(seed).integers(0, 256, (4, 4, channels))
  smooth = tf.image.resize(noise, [height, width], method='bilinear')
  return np.round(smooth.numpy()).astype(np.uint8)


def encode(image: np.ndarray, image_format: str, **kwargs) -> bytes:
  """Encodes uint8 [height, width, channels], grey, RGB, RGBA or CMYK."""
  mode = {'mode': 'CMYK'} if kwargs.pop('cmyk', False) else {}
  file = io.BytesIO()
  Image.fromarray(image.squeeze(), **mode).save(file, image_format, **kwargs)
  return file.getvalue()


def encoded_images() -> dict[str, bytes]:
  """Returns images of several formats and sizes by name."""
  deep = tf.constant(pixels(33, 47, seed=5), tf.uint16) * 257
  second_frame = Image.new('RGB', (40, 30))
  return {
    'rgb.jpg': encode(pixels(80, 60, seed=1), 'JPEG', quality=95),
    'grey.jpg': encode(pixels(40, 90, 1, seed=2), 'JPEG', quality=95),
    'cmyk.jpg': encode(pixels(50, 60, 4, seed=3), 'JPEG', cmyk=True),
    'rgb.png': encode(pixels(35, 41, seed=4), 'PNG'),
    'rgba.png': encode(pixels(50, 50, 4, seed=5), 'PNG'),
    'grey.png': encode(pixels(64, 64, 1, seed=6), 'PNG'),
    'deep.png': tf.io.encode_png(deep).numpy(),
    'rgb.bmp': encode(pixels(36, 44, seed=7), 'BMP'),
    'grey.bmp': encode(pixels(45, 31, 1, seed=8), 'BMP'),
    'two.gif': encode(
      pixels(30, 40, seed=9), 'GIF', save_all=True, append_images=[second_frame]
    ),
  }
