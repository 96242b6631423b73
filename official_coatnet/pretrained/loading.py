"""Networks with weights that others publish, ready to classify photos.

model = official_coatnet.from_pretrained('timm/coatnet_0_rw_224.sw_in1k')
logits = model(model.preprocess('photo.jpg'))
print(model.class_names[int(tf.argmax(logits[0]))])
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import device, image_files, images
from official_coatnet.modeling import config as config_lib, network
from official_coatnet.pretrained import conversion, hub, identity, reading, timm
from official_coatnet.pretrained.identity import Preparation
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  model_dir as model_dir_lib,
  transfer,
)

Image = str | os.PathLike | bytes | np.ndarray


@dataclasses.dataclass(frozen=True)
class Preprocess:
  """Prepares images as a network was trained on them.

  Attributes:
    image_size: Height and width of what comes out, in pixels.
    preparation: What is done.
  """

  image_size: tuple[int, int]
  preparation: Preparation

  def __call__(self, photos: Image | Sequence[Image]) -> tf.Tensor:
    """Reads, resizes and normalises images.

    Args:
      photos: One or several: the path of a file, its bytes, or uint8 [height,
        width, 3] in RGB. Of any sizes.

    Returns:
      float32 [batch, *image_size, 3], for one image, too.

    Raises:
      ValueError: If one of them is no image that is taken.
    """
    if isinstance(photos, (str, os.PathLike, bytes)) or (
      isinstance(photos, np.ndarray) and photos.ndim < 4
    ):
      photos = [photos]
    pixels = [self._resize(_encoded(photo)) for photo in photos]
    if not pixels:
      raise ValueError('`photos` is empty; give one image or more.')
    return device.normalize(
      tf.stack(pixels),
      mean=self.preparation.mean,
      deviation=self.preparation.deviation,
    )

  def _resize(self, encoded: bytes) -> tf.Tensor:
    return images.decode_for_eval(
      tf.constant(encoded),
      image_size=self.image_size,
      center_crop=self.preparation.center_crop,
      crop_fraction=self.preparation.eval_crop_fraction,
      interpolation=self.preparation.interpolation,
    )


def _encoded(photo: Image) -> bytes:
  """Returns an image as TensorFlow decodes it."""
  if isinstance(photo, np.ndarray):
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[-1] != 3:
      raise ValueError(
        f'an image is {photo.dtype} {list(photo.shape)}; it must be uint8 '
        '[height, width, 3], red, green and blue. Of one channel: '
        'np.repeat(image, 3, axis=-1).'
      )
    return tf.io.encode_png(photo, compression=1).numpy()
  if isinstance(photo, bytes):
    return image_files.to_graph(photo)
  path = files.expand(os.fspath(photo))
  try:
    with files.open_binary(path) as file:
      return image_files.to_graph(file.read())
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def from_pretrained(
  name: str,
  *,
  image_size: int | Sequence[int] | None = None,
  num_classes: int | None = None,
  include_top: bool = True,
) -> tf.keras.Model:
  """Builds a network with weights that others publish, or of a run.

  Args:
    name: Of published weights, such as 'timm/coatnet_0_rw_224.sw_in1k', or
      'hf-hub:owner/name'; or the path of a file of such weights, of a folder
      with one, or of the model_dir of a run.
    image_size: Side, or (height, width), of the images; None for that of the
      weights. With another one, tables of relative bias are resized bilinearly
      (where an MLP gives them, it is evaluated for that size).
    num_classes: Number of classes; with another one than the weights have, the
      last layer is new. None for theirs.
    include_top: Whether the network classifies; if not, it answers with the
      output of each stage, as `network.backbone` does.

  Returns:
    The model, as of `network.classifier` or `network.backbone`, with two
    attributes more: `preprocess`, a `Preprocess`, and `class_names`, a tuple of
    the names of its classes, or None where they are not known.

  Raises:
    ValueError: If there are no such weights, or they cannot be read or fetched.
    ImportError: If a library that is needed for it is missing.
  """
  if num_classes is not None and not include_top:
    raise ValueError(
      f'`num_classes` is {num_classes} and `include_top` is False: a backbone '
      'has no classes. Leave one of them out.'
    )
  path = files.expand(name)
  if not hub.is_name(name) and os.path.exists(
    os.path.join(path, model_dir_lib.EXPERIMENT_FILE)
  ):
    return _of_run(
      path,
      image_size=image_size,
      num_classes=num_classes,
      include_top=include_top,
    )
  file = hub.find(name)
  state = reading.read_state(file.path)
  known = identity.identify(file, state)
  config = config_lib.ModelConfig(
    known.model,
    image_size=choose_size(image_size, known.image_size),
    num_classes=num_classes or known.num_classes,
  )
  names = known.class_names if config.num_classes == known.num_classes else None
  model = build(config, include_top=include_top)
  load_state(model, state, known=known, config=config, path=file.path)
  return _attach(model, config, known.preparation, names=names)


def choose_size(
  wanted: int | Sequence[int] | None, known: int | tuple[int, int]
) -> int | tuple[int, int]:
  """Returns the size that is wanted, or else the one that is known."""
  if wanted is None:
    return known
  if isinstance(wanted, int):
    return wanted
  # Of how many numbers, `ModelConfig` says.
  return cast(tuple[int, int], tuple(wanted))


def build(
  config: config_lib.ModelConfig, *, include_top: bool = True
) -> tf.keras.Model:
  """Builds the network, with weights at random."""
  make = network.classifier if include_top else network.backbone
  return make(config)


def load_state(
  model: tf.keras.Model,
  state: reading.State,
  *,
  known: identity.Identity,
  config: config_lib.ModelConfig,
  path: str,
) -> conversion.Report:
  """Sets the weights of a network from those of another package.

  Args:
    model: From `build`.
    state: Their arrays, by their names.
    known: What they are of.
    config: The network's. With another number of classes than they have, the
      last layer stays as it is.
    path: Where they are from, for messages.

  Returns:
    What became of each.

  Raises:
    ValueError: If one of either side does not fit.
  """
  variables = checkpoints.named_weights(model)
  shapes = {name: tuple(each.shape) for name, each in variables.items()}
  if config.num_classes != known.num_classes:
    for name in transfer.LAST_LAYER:
      shapes.pop(name, None)
  lines = known.lines(config)
  of_no_use = {
    theirs
    for line in lines
    if line.ours not in shapes and line.ours.startswith(transfer.HEAD)
    for theirs in line.theirs
  }
  try:
    weights, report = conversion.to_ours(
      state,
      shapes,
      lines=lines,
      ignored=lambda name: name in of_no_use or timm.is_ignored(name),
    )
  except ValueError as error:
    raise ValueError(
      f'The weights in {path} do not fit {known.model!r}: {error}'
    ) from error
  for name, array in weights.items():
    variables[name].assign(array)
  return report


def _of_run(path: str, *, image_size, num_classes, include_top):
  """Builds the network of a run with the weights of its latest checkpoint."""
  experiment = model_dir_lib.read_experiment(path)
  config = dataclasses.replace(
    experiment.model,
    image_size=choose_size(image_size, experiment.model.image_size),
    num_classes=num_classes or experiment.model.num_classes,
    dtype='float32',
    sync_batch_norm=False,
  )
  names = None
  if config.num_classes == experiment.model.num_classes:
    names = model_dir_lib.read_labels(path)
  model = build(config, include_top=include_top)
  transfer.initialize(model, path, weights=experiment.run.weights)
  return _attach(model, config, preparation_of_run(experiment), names=names)


def preparation_of_run(experiment: experiment_lib.Experiment) -> Preparation:
  """Returns how a run prepares the images that it evaluates on."""
  fields = [field.name for field in dataclasses.fields(Preparation)]
  values: dict[str, Any] = {
    name: getattr(experiment.eval_data, name) for name in fields
  }
  return Preparation(**values)


def _attach(
  model: tf.keras.Model,
  config: config_lib.ModelConfig,
  preparation: Preparation,
  *,
  names: tuple[str, ...] | None,
) -> tf.keras.Model:
  # Not by Keras's own way, which would take them for a part of the network, and
  # wrap and save them.
  object.__setattr__(
    model, 'preprocess', Preprocess(config.height_width, preparation)
  )
  object.__setattr__(model, 'class_names', names)
  return model
