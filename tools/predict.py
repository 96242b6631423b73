"""Predicts the classes of images with an export.

    python tools/predict.py --saved_model=runs/exports/1 IMAGE...

An IMAGE is a file, a folder (all files in it) or a pattern such as 'x/*.jpg'.
One JSON object a line goes to standard output, in the order of the images:

    {"file": "x/1.jpg", "predictions": [{"class": "cat", "score": 0.93}, ...]}
    {"file": "x/notes.txt", "error": "no image of a known format"}

Images may be of all formats that records are built of (docs/formats.md). The
exit code is 1 if there was an error with any image, otherwise 0. What runs
is the export's own signature; the code of the network is not needed.

    python tools/predict.py --saved_model=runs/exports/1 --explain=why IMAGE...

draws of each image where the network looks and what its first class rests on
(docs/explain.md). For that the network is built again from the export's files.
"""

import tools.prologue

import itertools
import json
import os
import sys

import tensorflow as tf
from absl import app, flags

from official_coatnet import files as files_lib
from official_coatnet.analysis.explain import explanation, pictures
from official_coatnet.analysis.runs import drawings
from official_coatnet.data import image_files
from official_coatnet.export import prediction, versions
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
_EXPLAIN = path_flags.DEFINE_path(
  'explain',
  None,
  'Folder for a picture of each image, NAME.explained.png, of where the '
  'network looks and what its first class rests on. Of one image also the '
  'picture, such as why.png.',
)
_EXPLAIN_BLOCKS = flags.DEFINE_list(
  'explain_blocks',
  [],
  'Whose attention is drawn: blocks such as s3_block0, or stages such as s3, '
  'which stands for its last block. By default the last block of each stage '
  'that has attention.',
)
_EXPLAIN_HEADS = flags.DEFINE_list(
  'explain_heads',
  [],
  'Which heads, counted from 0, such as 0,5. By default the three of a block '
  'whose attention is least even; the mean of all heads is always there.',
)
_EXPLAIN_QUERY = flags.DEFINE_list(
  'explain_query',
  [],
  'Position whose attention is drawn, X,Y in parts of the width and the height '
  'of what the network sees, such as 0.5,0.25. By default the mean over all.',
)
_EXPLAIN_STAGE = flags.DEFINE_string(
  'explain_stage',
  None,
  'Stage whose features the map of the class is of, such as s2. By default the '
  'last that has 6 positions a side.',
)
# Steps before the first image, and the seconds that each took for CoAtNet-0 on
# two cores.
_LOAD = {'loading the export': 1.0}
_REBUILD = {'building its network': 3.0}


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


def _numbers(flag: flags.FlagHolder, parse: type) -> tuple:
  """Returns the numbers of a list.

  Raises:
    ValueError: If one is none.
  """
  try:
    return tuple(parse(each) for each in flag.value)
  except ValueError as e:
    raise ValueError(
      f'--{flag.name} is {",".join(flag.value)!r}; it must be numbers with '
      f'commas between them, such as {"0,5" if parse is int else "0.5,0.25"}.'
    ) from e


def _explain_options() -> explanation.Options:
  query = _numbers(_EXPLAIN_QUERY, float)
  if len(query) not in (0, 2):
    raise ValueError(
      f'--explain_query is {",".join(_EXPLAIN_QUERY.value)!r}; it must be two '
      'numbers, such as 0.5,0.25.'
    )
  return explanation.Options(
    blocks=tuple(_EXPLAIN_BLOCKS.value),
    heads=_numbers(_EXPLAIN_HEADS, int),
    query=query or None,
    stage=_EXPLAIN_STAGE.value,
  )


def _check_explain(images: list[str]):
  """Refuses what cannot be drawn, before anything is loaded."""
  if not _EXPLAIN.value:
    for flag in (
      _EXPLAIN_BLOCKS,
      _EXPLAIN_HEADS,
      _EXPLAIN_QUERY,
      _EXPLAIN_STAGE,
    ):
      if flag.value:
        raise app.UsageError(f'--{flag.name} needs --explain.')
    return
  if not _is_picture(_EXPLAIN.value):
    files_lib.make_folder(_EXPLAIN.value)
    return
  drawings.check_path(_EXPLAIN.value)
  if len(images) > 1:
    raise ValueError(
      f'--explain={_EXPLAIN.value} is one picture, and there are '
      f'{len(images)} images; name a folder.'
    )
  if os.path.exists(_EXPLAIN.value) and any(
    os.path.samefile(_EXPLAIN.value, image)
    for image in images
    if os.path.exists(image)
  ):
    raise ValueError(
      f'--explain={_EXPLAIN.value} is the image itself; name another picture.'
    )


def _is_picture(path: str) -> bool:
  return bool(os.path.splitext(path)[1]) and not os.path.isdir(path)


def _picture_of(file: str, taken: set[str]) -> str:
  """Returns where the explanation of an image goes, other than `taken`."""
  if _is_picture(_EXPLAIN.value):
    return _EXPLAIN.value
  stem = os.path.splitext(os.path.basename(file))[0]
  names = (
    f'{stem}{f"-{n}" if n > 1 else ""}.explained.png'
    for n in itertools.count(1)
  )
  name = next(each for each in names if each not in taken)
  taken.add(name)
  return os.path.join(_EXPLAIN.value, name)


def _explain(results: list[dict], predictor: prediction.Predictor, explainer):
  """Draws an explanation of each image that has predictions."""
  results = [r for r in results if 'predictions' in r]
  if not results:
    raise ValueError(f'--explain={_EXPLAIN.value}: there is no image to draw.')
  taken: set[str] = set()
  for result in progress.counted(
    results, total=len(results), what='images explained'
  ):
    with tf.io.gfile.GFile(result['file'], 'rb') as f:
      encoded = predictor.convert(f.read())
    found = explainer(encoded, answer=result['predictions'])
    path = _picture_of(result['file'], taken)
    pictures.draw(found, path, name=os.path.basename(result['file']))
    print(path, file=sys.stderr)


def _load(
  options: explanation.Options,
) -> tuple[prediction.Predictor, explanation.Explainer | None]:
  """Returns what predicts, and what explains that where it is asked for."""
  path = versions.find_export(_SAVED_MODEL.value)
  steps = {**_LOAD, **(_REBUILD if _EXPLAIN.value else {})}
  explainer = None
  with progress.Steps(f'Loading {path}', steps) as show:
    show(*_LOAD)
    predictor = prediction.Predictor(
      path,
      top_k=_TOP_K.value,
      exif_orientation=image_flags.EXIF_ORIENTATION.value,
      value_range=image_flags.value_range(),
    )
    if _EXPLAIN.value:
      show(*_REBUILD)
      explainer = explanation.Explainer(predictor.path, options)
  return predictor, explainer


def main(argv):
  """Predicts and prints."""
  if len(argv) < 2:
    raise app.UsageError('Name an image, a folder or a pattern.')
  if _PICTURE.value:
    drawings.check_path(_PICTURE.value)
  files = prediction.find_files(path_flags.expand(argv[1:]))
  options = _explain_options()
  _check_explain(files)
  predictor, explainer = _load(options)
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
  if explainer is not None:
    _explain(results, predictor, explainer)
  if any('error' in result for result in results):
    sys.exit(1)


if __name__ == '__main__':
  flags.mark_flag_as_required('saved_model')
  tools.prologue.run(main)
