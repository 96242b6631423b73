"""Exports the network of a run as a SavedModel.

    python tools/export.py --model_dir=runs/my_run --export_dir=runs/exports

It writes runs/exports/<version>/, complete or not at all, and prints that path.
TensorFlow Serving takes runs/exports as the base path of a model, and
tools/predict.py and tools/verify_export.py take either. README.md in the export
says what is in it and how to call it.
"""

import tools.prologue

import tensorflow as tf
from absl import app, flags, logging

from official_coatnet.export import saved_model
from official_coatnet.export.options import ExportOptions
from official_coatnet.training import experiment as experiment_lib
from tools import path_flags

_MODEL_DIR = path_flags.DEFINE_path('model_dir', None, 'Folder of the run.')
_EXPORT_DIR = path_flags.DEFINE_path(
  'export_dir', None, 'Folder of the versions; created.', by_tensorflow=True
)
_WEIGHTS = flags.DEFINE_enum(
  'weights',
  None,
  experiment_lib.WEIGHTS,
  'Which weights to export. By default what the run says: the average of the '
  'weights where it has one.',
)
_LABELS = path_flags.DEFINE_path(
  'labels',
  None,
  "Text file with one class name a line. By default the names in the run's "
  'data, if there were any, or else the class ids.',
)
_VERSION = flags.DEFINE_integer(
  'version', None, 'Number of the export. By default the next free one.'
)
_FOLD = flags.DEFINE_bool(
  'fold', True, 'Whether convolutions absorb the BatchNorms, which is faster.'
)
_BATCH_SIZES = flags.DEFINE_list(
  'batch_sizes',
  [str(size) for size in ExportOptions.batch_sizes],
  "Batch sizes to warm up: the allowed_batch_sizes of the server's batching. "
  'Others are answered as well.',
)
_TOP_K = flags.DEFINE_integer(
  'top_k', ExportOptions.top_k, 'Classes to name, at most all.'
)
_THRESHOLD = flags.DEFINE_float(
  'threshold',
  ExportOptions.threshold,
  'With the sigmoid loss: probability from which a class is a label.',
)
_MAX_PIXELS = flags.DEFINE_integer(
  'max_pixels',
  ExportOptions.max_pixels,
  'An image of more pixels is refused before it is decoded.',
)
_ANSWER_BAD_IMAGES = flags.DEFINE_bool(
  'answer_bad_images',
  ExportOptions.answer_bad_images,
  'Answer an image that does not decode by zeros and `ok` false, instead of '
  'failing the request that it is in.',
)
_STAGE_MAPS = flags.DEFINE_bool(
  'stage_maps',
  ExportOptions.stage_maps,
  'Let the signature `features` return the output of each stage, too.',
)
_LICENCE = flags.DEFINE_string(
  'licence', None, 'Licence of the model, for its card.'
)


def _options() -> ExportOptions:
  try:
    sizes = [int(size) for size in _BATCH_SIZES.value]
  except ValueError as e:
    raise ValueError(
      f'--batch_sizes is {",".join(_BATCH_SIZES.value)}; it must be numbers '
      'with commas between them, such as 1,2,4,8.'
    ) from e
  return ExportOptions(
    batch_sizes=sizes,
    top_k=_TOP_K.value,
    threshold=_THRESHOLD.value,
    max_pixels=_MAX_PIXELS.value,
    answer_bad_images=_ANSWER_BAD_IMAGES.value,
    stage_maps=_STAGE_MAPS.value,
  )


def main(argv):
  """Exports, and prints where the export is."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  # What TensorFlow says of a save is about the temporary folder, and what it
  # warns of is within Keras.
  logging.set_verbosity(logging.ERROR)
  tf.get_logger().setLevel('ERROR')
  path = saved_model.export(
    _MODEL_DIR.value,
    _EXPORT_DIR.value,
    weights=_WEIGHTS.value,
    labels=_LABELS.value,
    version=_VERSION.value,
    fold=_FOLD.value,
    options=_options(),
    licence=_LICENCE.value,
  )
  print(path)


if __name__ == '__main__':
  flags.mark_flags_as_required(['model_dir', 'export_dir'])
  tools.prologue.run(main)
