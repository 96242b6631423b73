"""Predicts the classes of images with an export.

    predictor = prediction.Predictor('runs/exports', top_k=5)
    predictor([open('photo.jpg', 'rb').read()])   # [[('cat', 0.93), ...]]

Image files are read as those were that became records. What runs is the
export's own signature; the code of the network is not needed.
"""

import glob
import os
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet import files as files_lib
from official_coatnet.data import image_files, images, messages, pixel_count
from official_coatnet.export import versions


class Predictor:
  """A loaded export.

  Attributes:
    path: Where it was loaded from.
    image_options: How image files are read.
  """

  def __init__(
    self,
    path: str,
    *,
    top_k: int,
    exif_orientation: bool | None = None,
    value_range: tuple[float, float] | None = None,
  ):
    """Loads an export.

    Args:
      path: The export, or the folder of its versions.
      top_k: Classes wanted an image.
      exif_orientation: Whether to turn images as their EXIF data say. None to
        do what was done with those that the network was trained on.
      value_range: Values of black and white where pixels do not say them.

    Raises:
      ValueError: If there is none, or none of this package.
    """
    path = versions.find_export(path)
    # Kept: the signature alone does not keep the variables alive.
    self._model = versions.load(path)
    self._signature = self._model.signatures['serving_default']
    outputs = self._signature.structured_outputs
    missing = {'probabilities', 'classes', 'scores'} - set(outputs)
    if missing:
      raise ValueError(
        f'--saved_model={path} has no output {sorted(missing)}; it is no '
        'export of tools/export.py.'
      )
    self.path = path
    if exif_orientation is None:
      exif_orientation = _trained_with_exif(path)
    self.image_options = image_files.Options(exif_orientation, value_range)
    self._top_k = top_k
    self._labels = None
    if top_k > outputs['classes'].shape[-1]:
      self._labels = np.array(
        versions.read_labels(
          os.path.join(path, versions.LABELS_FILE),
          num_classes=outputs['probabilities'].shape[-1],
        )
      )

  def __call__(self, contents: list[bytes]) -> list[list[tuple[str, float]]]:
    """Returns classes with scores, best first, of each image file.

    Raises:
      ValueError: If any of them is no image that is taken.
      tf.errors.OpError: If any of them cannot be decoded.
    """
    return self.ask([self.convert(each) for each in contents])

  def convert(self, contents: bytes) -> bytes:
    """Returns an image file as an image that the export decodes.

    Raises:
      ValueError: If it is no image that is taken.
    """
    return image_files.to_graph(contents, self.image_options)

  def ask(self, encoded: list[bytes]) -> list[list[tuple[str, float]]]:
    """As when called, of images that `convert` has returned."""
    outputs = self._signature(image_bytes=tf.constant(encoded))
    if not np.all(outputs.get('ok', True)):
      self._raise_reason(encoded)
    if self._labels is None:
      classes = np.char.decode(outputs['classes'].numpy().astype(bytes))
      scores = outputs['scores'].numpy()
    else:
      probabilities = outputs['probabilities'].numpy()
      order = np.argsort(-probabilities, axis=-1, kind='stable')
      classes = self._labels[order]
      scores = np.take_along_axis(probabilities, order, axis=-1)
    return [
      list(zip(names.tolist(), values))[: self._top_k]
      for names, values in zip(classes, scores)
    ]

  def _raise_reason(self, encoded: list[bytes]):
    """Raises what is wrong with images, which the export does not say."""
    for image in encoded:
      image = tf.constant(image)
      limit = versions.read_provenance(self.path).options.max_pixels
      cost = pixel_count.estimate(image)
      message = None
      if cost.is_intricate:
        message = f'The image {pixel_count.INTRICATE}'
      elif cost.pixels > limit:
        pixels = int(cost.pixels)
        message = f'The image has {pixels} pixels, more than {limit}.'
      if message is not None:
        raise tf.errors.InvalidArgumentError(None, None, message)
      images.decode_whole(image)
    message = 'The image cannot be decoded.'
    raise tf.errors.InvalidArgumentError(None, None, message)


def _trained_with_exif(path: str) -> bool:
  """Whether images were turned by their EXIF data before the training."""
  data = files_lib.read_json(os.path.join(path, image_files.DATA_FILE))
  return image_files.trained_with_exif(data)


def find_files(arguments: list[str]) -> list[str]:
  """Returns the files that arguments name: files, folders and patterns.

  A folder stands for all files in it and below, but for hidden ones. What
  matches nothing is returned as it is, and fails when it is read.
  """
  files = []
  for argument in arguments:
    found = [argument]
    if os.path.isdir(argument):
      found = _files_below(argument)
    elif not os.path.exists(argument):
      found = find_files(sorted(glob.glob(argument, recursive=True)))
    files += found or [argument]
  return files


def _files_below(top: str) -> list[str]:
  return [
    os.path.join(folder, name)
    for folder, _, names in sorted(os.walk(top))
    for name in sorted(names)
    if not name.startswith('.')
  ]


def predict_batch(
  predictor: Predictor, files: list[str]
) -> list[dict[str, Any]]:
  """Predicts the classes of image files, bad ones among them.

  Args:
    predictor: The export.
    files: Paths; the network sees all images at once.

  Returns:
    Of each file a dict: `file`, and `predictions`, (class, score) pairs with
    the best first, or `error`, why there are none.
  """
  encoded, errors = {}, {}
  for file in files:
    try:
      with tf.io.gfile.GFile(file, 'rb') as f:
        contents = f.read()
      encoded[file] = predictor.convert(contents)
    except (OSError, ValueError, tf.errors.OpError) as e:
      if os.path.isdir(file):
        errors[file] = 'a folder without files'
        continue
      # TensorFlow begins with the path.
      text = str(getattr(e, 'message', None) or e)
      errors[file] = text.removeprefix(f'{file}; ')
  results = {}
  try:
    if encoded:
      results = dict(zip(encoded, predictor.ask(list(encoded.values()))))
  except tf.errors.OpError:
    # One bad image fails the whole batch; alone, each answers for itself.
    for file, image in encoded.items():
      try:
        results[file] = predictor.ask([image])[0]
      except tf.errors.OpError as e:
        errors[file] = messages.plain(e)
  return [
    {'file': file, 'error': errors[file]}
    if file in errors
    else {'file': file, 'predictions': results[file]}
    for file in files
  ]
