"""Imports weights that others publish, as the model_dir of a run.

    python tools/import_weights.py --list
    python tools/import_weights.py --source=timm/coatnet_0_rw_224.sw_in1k \
        --model_dir=runs/coatnet_0
    python tools/import_weights.py --source=model.safetensors --model_dir=D \
        --check photo.jpg ...

A source is a name of --list, 'hf-hub:owner/name' for another repository of the
Hugging Face hub, or a path: a file (.safetensors, .h5), or a folder with one.
What is written is read by train.py --mode=eval, export.py and INIT_CHECKPOINT
as any run is. docs/pretrained.md has it all.
"""

import tools.prologue

import os
import re

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from official_coatnet.export import prediction
from official_coatnet.modeling import config as model_config
from official_coatnet.pretrained import hub, importing, loading, published
from tools import path_flags, progress

_SOURCE = path_flags.DEFINE_multi_path(
  'source',
  [],
  'Name of published weights, or path of a file of them. With several, each is '
  'written to a folder of its own in --model_dir.',
)
_MODEL_DIR = path_flags.DEFINE_path(
  'model_dir', None, 'Folder to write; created.', by_tensorflow=True
)
_LIST = flags.DEFINE_bool('list', False, 'Print what is published, and end.')
_IMAGE_SIZE = flags.DEFINE_list(
  'image_size',
  None,
  'Side of the images in pixels, or HEIGHT,WIDTH. By default that of the '
  'weights; with another one the tables of relative bias are resized.',
)
_CHECK = flags.DEFINE_bool(
  'check',
  False,
  'Classify the images that follow on the command line with what was imported.',
)
_TOP_K = 5


def _print_list():
  rows = [('NAME', 'PARAMETERS', 'IMAGE', 'CLASSES', 'TOP-1', 'LICENCE')]
  for row in published.PUBLISHED.values():
    rows.append(
      (
        row.name,
        f'{row.parameters:.2f} M',
        str(row.image_size),
        f'{row.num_classes:,}',
        '-' if row.top1 is None else f'{row.top1:.2f} %',
        row.licence,
      )
    )
  widths = [max(map(len, column)) for column in zip(*rows)]
  for row in rows:
    cells = [
      cell.ljust(width) if i in (0, 5) else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths))
    ]
    print('  '.join(cells).rstrip())
  print(
    '\nTop-1 on the validation images of ImageNet-1K, as published. Those of '
    'kecam are to be downloaded by hand:'
  )
  for row in published.PUBLISHED.values():
    if row.origin == published.KECAM:
      print(f'  {row.url}')


def _image_size():
  if _IMAGE_SIZE.value is None:
    return None
  try:
    sizes = tuple(int(each) for each in _IMAGE_SIZE.value)
  except ValueError as e:
    raise ValueError(
      f'--image_size is {",".join(_IMAGE_SIZE.value)}; it must be a number of '
      'pixels, or HEIGHT,WIDTH.'
    ) from e
  return sizes[0] if len(sizes) == 1 else sizes


def _folders() -> dict[str, str]:
  """Returns where each source goes."""
  sources = list(dict.fromkeys(_SOURCE.value))
  if len(sources) == 1:
    return {sources[0]: _MODEL_DIR.value}
  folders: dict[str, str] = {}
  for source in sources:
    name = os.path.basename(source.rstrip('/'))
    name = re.sub(r'\.(safetensors|h5|hdf5)$', '', name)
    if name == 'model':  # As all of them are called on the hub.
      name = os.path.basename(os.path.dirname(os.path.abspath(source)))
    folder = os.path.join(_MODEL_DIR.value, name)
    if folder in folders.values():
      raise ValueError(
        f'--source={source} and another one would both go to {folder}; import '
        'them one by one.'
      )
    folders[source] = folder
  return folders


def _classify(model_dir: str, photos: list[str]):
  """Prints the classes of photos, with the weights that were imported."""
  model = loading.from_pretrained(model_dir)
  for photo in prediction.find_files(path_flags.expand(photos)):
    logits = model(model.preprocess(photo), training=False)
    scores = tf.nn.softmax(logits[0]).numpy()
    print(photo)
    for index in np.argsort(-scores, kind='stable')[:_TOP_K]:
      name = model.class_names[index] if model.class_names else str(index)
      print(f'  {scores[index]:6.1%}  {name}')


def main(argv):
  """Imports, and prints what became of each weight."""
  if len(argv) > 1 and not _CHECK.value:
    raise app.UsageError(
      f'Unknown argument {argv[1]!r}; images are for --check.'
    )
  if _LIST.value:
    _print_list()
    return
  if not _SOURCE.value or not _MODEL_DIR.value:
    raise app.UsageError('Give --source and --model_dir, or --list.')
  if _CHECK.value and len(argv) < 2:
    raise app.UsageError('--check: name the images to classify.')
  logging.set_verbosity(logging.ERROR)
  image_size = _image_size()
  for source, folder in _folders().items():
    importing.check_folder(folder)
    # While it fetches, the library of the hub draws how far it is.
    file = hub.find(source)
    row = file.row
    with progress.Steps(
      f'Importing {source}',
      importing.STEPS,
      scale=progress.depth(model_config.ModelConfig(row.model)) if row else 1.0,
    ) as show:
      imported = importing.import_weights(
        file, folder, image_size=image_size, on_step=show
      )
    origin = imported.origin
    print(f'{origin.source} -> {folder} ({imported.known.model})')
    print(imported.report.table())
    print(f'  sha256 {origin.sha256}', flush=True)
    if _CHECK.value:
      _classify(folder, argv[1:])


if __name__ == '__main__':
  tools.prologue.run(main)
