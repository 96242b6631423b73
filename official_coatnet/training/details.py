"""What TensorBoard shows of a run beside its curves; orbit writes those.

In the model_dir itself, so that the hparams plugin finds the curves below it:

    configuration    all settings as text, and as hyper-parameters
    batch            augmented images with their mixed labels, from the start
    relative_bias/   the tables of each attention layer, at each evaluation
    norms/           with `RunConfig.stage_norms`, of each stage: the gradient
                     of the last step, the weights, and how far they have moved
                     since the report before

Nothing of it is computed within a step but for the norms of gradients, which
the watch has anyway.
"""

import dataclasses
import functools
import json

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw
from tensorboard.plugins.hparams import api as hparams

from official_coatnet.data import pipeline
from official_coatnet.training import (
  experiment as experiment_lib,
  norms as norms_lib,
  objective,
  run as run_lib,
)

_BIAS = 'relative_bias'
# Images of a batch, those in a row, the side of each and of its words, pixels.
_IMAGES, _COLUMNS, _SIDE, _WORDS = 16, 4, 144, 28
# Records that are looked at for them: not a whole buffer.
_BUFFER = 64
# Side of an entry of a table.
_ENTRY = 8


class Details:
  """Writes them. Its methods are orbit actions."""

  def __init__(
    self,
    this: run_lib.Run,
    *,
    model: tf.keras.Model,
    step: tf.Variable,
    norms: norms_lib.StageNorms | None,
  ):
    """Takes what is shown; writes nothing yet.

    Args:
      this: The run.
      model: Its network.
      step: Its step.
      norms: Of its stages, or None.
    """
    self._run = this
    self._model = model
    self._step = step
    self._norms = norms
    self._has_begun = False

  @functools.cached_property
  def _writer(self) -> tf.summary.SummaryWriter:
    return tf.summary.create_file_writer(self._run.model_dir)

  def after_training_loop(self, output):
    """Writes what does not change, once; and norms."""
    del output
    step = int(self._step.numpy())
    with self._writer.as_default():
      if not self._has_begun:
        self._has_begun = True
        if self._run.is_new:
          _write_settings(self._run.experiment)
          self._write_batch()
      if self._norms is not None:
        for name, value in self._norms.results().items():
          tf.summary.scalar(f'norms/{name}', value, step=step)
    self._writer.flush()

  def after_evaluation(self, output):
    """Writes the tables of relative biases."""
    del output
    step = int(self._step.numpy())
    with self._writer.as_default():
      for variable in self._model.trainable_variables:
        layer, _, name = variable.name.removesuffix(':0').rpartition('/')
        if name == _BIAS:
          picture = draw_tables(variable.numpy())
          tf.summary.image(f'{_BIAS}/{layer}', picture[None], step=step)
    self._writer.flush()

  def _write_batch(self):
    experiment = self._run.experiment
    picture = draw_batch(
      *make_batch(experiment, self._run.sources.get('train_data'))
    )
    tf.summary.image('batch', picture[None], step=0)


def _write_settings(experiment: experiment_lib.Experiment):
  values = experiment.to_dict()
  text = json.dumps(values, indent=2)
  # Four spaces, which Markdown takes for code.
  tf.summary.text(
    'configuration', '    ' + text.replace('\n', '\n    '), step=0
  )
  hparams.hparams(
    {
      f'{part}.{name}': value
      if isinstance(value, bool | int | float | str)
      else json.dumps(value)
      for part, fields in values.items()
      for name, value in fields.items()
    }
  )


def make_batch(
  experiment: experiment_lib.Experiment, source=None
) -> tuple[np.ndarray, np.ndarray]:
  """Makes a few images as training sees them.

  They are among the first records; the run's own batches, which are shuffled
  over more of them, stay where they are.

  Args:
    experiment: What is trained.
    source: What `train_data` means, if it is open already.

  Returns:
    uint8 [n, height, width, 3], mixed, and their targets, float32 [n, classes].
  """
  data = experiment.train_data
  data = dataclasses.replace(
    data,
    batch_size=_IMAGES,
    shuffle_buffer=min(_BUFFER, data.shuffle_buffer),
    parallel_calls=1,
    prefetch=1,
    data_service=None,
  )
  dataset = pipeline.make_dataset(
    data, seed=experiment.run.seed, is_training=True, source=source
  )
  batch = next(iter(dataset.take(1)))
  with tf.device('CPU'):
    images, targets = objective.device_half(experiment, batch, is_training=True)
  images = tf.cast(images, tf.float32).numpy()
  pixels = 255 * (images * np.array(data.deviation) + np.array(data.mean))
  return np.clip(np.round(pixels), 0, 255).astype(np.uint8), targets.numpy()


def draw_batch(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """Draws images, each above its labels.

  Args:
    images: uint8 [n, height, width, 3].
    targets: float32 [n, classes].

  Returns:
    uint8 [height, width, 3].
  """
  rows = -(-len(images) // _COLUMNS)
  sheet = Image.new('RGB', (_COLUMNS * _SIDE, rows * (_SIDE + _WORDS)), 'white')
  draw = ImageDraw.Draw(sheet)
  for place, (image, target) in enumerate(zip(images, targets)):
    row, column = divmod(place, _COLUMNS)
    left, top = column * _SIDE, row * (_SIDE + _WORDS)
    tile = Image.fromarray(image)
    tile.thumbnail((_SIDE - 4, _SIDE - 4))
    if max(tile.size) < _SIDE // 2:
      factor = (_SIDE - 4) // max(tile.size)
      size = (factor * tile.size[0], factor * tile.size[1])
      tile = tile.resize(size, Image.Resampling.NEAREST)
    sheet.paste(tile, (left + 2, top + 2))
    draw.text((left + 2, top + _SIDE), label_words(target), fill='black')
  return np.asarray(sheet)


def label_words(target: np.ndarray) -> str:
  """Returns the classes that a target stands out for, as '3: 0.62, 8: 0.30'.

  Args:
    target: float32 [classes]; what smoothing adds to every class is no label.
  """
  best = np.argsort(-target, kind='stable')[:3]
  floor = target.min() + 0.01
  return ', '.join(f'{i}: {target[i]:.2f}' for i in best if target[i] > floor)


def draw_tables(tables: np.ndarray) -> np.ndarray:
  """Draws a table a head side by side: blue below zero, red above.

  Args:
    tables: [heads, 2H-1, 2W-1].

  Returns:
    uint8 [height, width, 3].
  """
  scaled = tables / max(float(np.abs(tables).max()), 1e-12)
  # [heads, 2H-1, 2W-1, 3]
  tints = np.stack(
    [1 + np.minimum(scaled, 0), 1 - np.abs(scaled), 1 - np.maximum(scaled, 0)],
    axis=-1,
  )
  gap = np.ones_like(tints[:, :, :1])
  # -> [2H-1, heads * 2W, 3]
  row = np.concatenate([*np.concatenate([tints, gap], axis=2)], axis=1)
  row = row.repeat(_ENTRY, axis=0).repeat(_ENTRY, axis=1)
  return np.round(255 * row).astype(np.uint8)
