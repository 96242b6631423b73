"""Predicts the classes of images with an export.

    python tools/predict.py --saved_model=runs/exports/1 IMAGE...

An IMAGE is a file, a folder (all files in it) or a pattern such as 'x/*.jpg'.
One JSON object a line goes to standard output, in the order of the images:

    {"file": "x/1.jpg", "predictions": [{"class": "cat", "score": 0.93}, ...]}
    {"file": "x/notes.txt", "error": "Unknown image file format. ..."}

The exit code is 1 if there was an error with any image, otherwise 0. What runs
is the export's own signature; the code of the network is not needed.
"""

import glob
import json
import os
import re
import sys

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# So that the tool runs from a clone, from any folder, without installation.
sys.path.insert(0, _ROOT)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402

from official_coatnet.analysis.runs import drawings  # noqa: E402
from official_coatnet.data import images, pixel_count  # noqa: E402
from official_coatnet.export import (  # noqa: E402
  provenance,
  versions,
)

_SAVED_MODEL = flags.DEFINE_string(
  'saved_model',
  None,
  'An export, or the folder of its versions, of which the latest is taken.',
)
_TOP_K = flags.DEFINE_integer(
  'top_k', 5, 'Classes an image, at most all.', lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', 16, 'Images that the network sees at once.', lower_bound=1
)
_PICTURE = flags.DEFINE_string(
  'picture', None, 'Picture to draw, of the images with their classes.'
)

# Longest side of an image that is handed to the picture, in pixels.
_THUMBNAIL_SIDE = 320


class Predictor:
  """A loaded export.

  Attributes:
    path: Where it was loaded from.
  """

  def __init__(self, path: str, *, top_k: int):
    """Loads an export.

    Args:
      path: The export, or the folder of its versions.
      top_k: Classes wanted an image.

    Raises:
      ValueError: If there is none, or none of this package.
    """
    if not tf.saved_model.contains_saved_model(path):
      path = versions.find_latest(path)
    try:
      # Kept: the signature alone does not keep the variables alive.
      self._model = tf.saved_model.load(path)
      self._signature = self._model.signatures['serving_default']
    except (OSError, KeyError, tf.errors.OpError) as e:
      raise ValueError(
        f'--saved_model={path} cannot be loaded ({e}). It is damaged or no '
        'export of tools/export.py.'
      ) from e
    outputs = self._signature.structured_outputs
    missing = {'probabilities', 'classes', 'scores'} - set(outputs)
    if missing:
      raise ValueError(
        f'--saved_model={path} has no output {sorted(missing)}; it is no '
        'export of tools/export.py.'
      )
    self.path = path
    self._top_k = top_k
    self._labels = None
    if top_k > outputs['classes'].shape[-1]:
      self._labels = np.array(
        versions.read_labels(
          os.path.join(path, versions.LABELS_ASSET),
          num_classes=outputs['probabilities'].shape[-1],
        )
      )

  def __call__(self, encoded: list[bytes]) -> list[list[tuple[str, float]]]:
    """Returns classes with scores, best first, of each encoded image.

    Raises:
      tf.errors.OpError: If any of them cannot be decoded.
    """
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
      limit = provenance.read(self.path).options.max_pixels
      pixels = int(pixel_count.count_pixels(image, all_frames=True))
      if pixels > limit:
        message = f'The image has {pixels} pixels, more than {limit}.'
        raise tf.errors.InvalidArgumentError(None, None, message)
      images.decode_whole(image)
    message = 'The image cannot be decoded.'
    raise tf.errors.InvalidArgumentError(None, None, message)


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


def predict_batch(predictor: Predictor, files: list[str]) -> list[dict]:
  """Returns a dict a file: its `predictions`, or why there are none."""
  contents, errors = {}, {}
  for file in files:
    try:
      with tf.io.gfile.GFile(file, 'rb') as f:
        contents[file] = f.read()
    except (OSError, tf.errors.OpError) as e:
      errors[file] = getattr(e, 'message', None) or str(e)
  results = {}
  try:
    if contents:
      results = dict(zip(contents, predictor(list(contents.values()))))
  except tf.errors.OpError:
    # One bad image fails the whole batch; alone, each answers for itself.
    for file, encoded in contents.items():
      try:
        results[file] = predictor([encoded])[0]
      except tf.errors.OpError as e:
        errors[file] = _reason(e)
  return [
    {'file': file, 'error': errors[file]}
    if file in errors
    else {'file': file, 'predictions': results[file]}
    for file in files
  ]


def _reason(error: tf.errors.OpError) -> str:
  """Returns what an error of a graph says, without where in the graph."""
  noise = ('Graph execution error', 'Detected at node', '<stack traces', '[[')
  lines = (line.strip() for line in error.message.split('\n'))
  kept = [line for line in lines if line and not line.startswith(noise)]
  text = ' '.join(kept) or error.message
  for pattern, replacement in (
    (r'\{\{function_node [^}]*\}\}\s*', ''),
    (r' \[Op:\w+\].*', ''),
    (r'^assertion failed: \[(.*)\]$', r'\1'),
  ):
    text = re.sub(pattern, replacement, text)
  return text


def to_json(result: dict) -> str:
  """Writes a result of `predict_batch` as one line of JSON."""
  if 'predictions' in result:
    pairs = [
      # The shortest decimal number that is this float32.
      {'class': name, 'score': float(str(score))}
      for name, score in result['predictions']
    ]
    result = {**result, 'predictions': pairs}
  return json.dumps(result, ensure_ascii=False)


def _draw(results: list[dict], path: str):
  """Draws the images that have predictions."""
  results = [r for r in results if 'predictions' in r]
  if not results:
    raise ValueError(f'--picture={path}: there is no image to draw.')
  drawings.predictions(
    [
      _thumbnail(result['file']) if i < drawings.MAX_IMAGES else None
      for i, result in enumerate(results)
    ],
    [result['predictions'] for result in results],
    path,
    names=[os.path.basename(result['file']) for result in results],
  )


def _thumbnail(file: str) -> np.ndarray:
  """Returns an image that is small enough to be drawn, uint8."""
  encoded = tf.io.read_file(file)
  try:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
  except tf.errors.InvalidArgumentError:
    # TensorFlow's BMP decoder cannot convert: grey stays grey, RGBA so too.
    image = tf.io.decode_image(encoded, expand_animations=False)
    grey = image.shape[-1] == 1
    image = tf.repeat(image, 3, axis=-1) if grey else image[..., :3]
  scale = _THUMBNAIL_SIDE / max(image.shape)
  if scale < 1:
    size = [max(1, round(side * scale)) for side in image.shape[:2]]
    image = tf.image.resize(image, size, antialias=True)
    image = tf.saturate_cast(tf.round(image), tf.uint8)
  return image.numpy()


def main(argv):
  """Predicts and prints."""
  if len(argv) < 2:
    raise app.UsageError('Name an image, a folder or a pattern.')
  try:
    predictor = Predictor(_SAVED_MODEL.value, top_k=_TOP_K.value)
    files = find_files(argv[1:])
    results = []
    for i in range(0, len(files), _BATCH_SIZE.value):
      batch = predict_batch(predictor, files[i : i + _BATCH_SIZE.value])
      for result in batch:
        # At once: whoever reads need not wait for the last batch.
        print(to_json(result), flush=True)
      results += batch
    if _PICTURE.value:
      _draw(results, _PICTURE.value)
  except (ValueError, ImportError) as e:
    # What the user can mend, in one message and without a traceback.
    sys.exit(f'{os.path.basename(sys.argv[0])}: {e}')
  if any('error' in result for result in results):
    sys.exit(1)


if __name__ == '__main__':
  flags.mark_flag_as_required('saved_model')
  app.run(main)
