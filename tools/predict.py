"""Predicts the classes of images with an export.

    python tools/predict.py --saved_model=runs/exports/1 IMAGE...

An IMAGE is a file, a folder (all files in it) or a pattern such as 'x/*.jpg'.
One JSON object a line goes to standard output, in the order of the images:

    {"file": "x/1.jpg", "predictions": [{"class": "cat", "score": 0.93}, ...]}
    {"file": "x/notes.txt", "error": "no image of a known format"}

Images may be of all formats that records are built of (docs/formats.md). The
exit code is 1 if there was an error with any image, otherwise 0. What runs
is the export's own signature; the code of the network is not needed.
"""

import tools.prologue

import json
import os
import sys

from absl import app, flags

from official_coatnet.analysis.runs import drawings
from official_coatnet.data import image_files
from official_coatnet.export import prediction
from tools import image_flags, path_flags, progress

_SAVED_MODEL = path_flags.DEFINE_path(
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
_PICTURE = path_flags.DEFINE_path(
  'picture', None, 'Picture to draw, of the images with their classes.'
)


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


def _draw(results: list[dict], path: str, options: image_files.Options):
  """Draws the images that have predictions."""
  results = [r for r in results if 'predictions' in r]
  if not results:
    raise ValueError(f'--picture={path}: there is no image to draw.')
  drawings.predictions(
    [
      drawings.thumbnail(result['file'], options)
      if i < drawings.MAX_IMAGES
      else None
      for i, result in enumerate(results)
    ],
    [result['predictions'] for result in results],
    path,
    names=[os.path.basename(result['file']) for result in results],
  )


def main(argv):
  """Predicts and prints."""
  if len(argv) < 2:
    raise app.UsageError('Name an image, a folder or a pattern.')
  if _PICTURE.value:
    drawings.check_path(_PICTURE.value)
  predictor = prediction.Predictor(
    _SAVED_MODEL.value,
    top_k=_TOP_K.value,
    exif_orientation=image_flags.EXIF_ORIENTATION.value,
    value_range=image_flags.value_range(),
  )
  files = prediction.find_files(path_flags.expand(argv[1:]))
  results = []
  with progress.Progress() as show:
    for i in range(0, len(files), _BATCH_SIZE.value):
      batch = prediction.predict_batch(
        predictor, files[i : i + _BATCH_SIZE.value]
      )
      for result in batch:
        # At once: whoever reads need not wait for the last batch.
        print(to_json(result), flush=True)
      results += batch
      if len(files) > len(results):
        show(len(results), len(files))
  if _PICTURE.value:
    _draw(results, _PICTURE.value, predictor.image_options)
  if any('error' in result for result in results):
    sys.exit(1)


if __name__ == '__main__':
  flags.mark_flag_as_required('saved_model')
  tools.prologue.run(main)
