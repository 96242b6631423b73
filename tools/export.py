"""Exports the network of a run as a SavedModel, or for TFLite or ONNX.

    python tools/export.py --model_dir=runs/my_run --export_dir=runs/exports

It writes runs/exports/<version>/, complete or not at all, and prints that path.
TensorFlow Serving takes runs/exports as the base path of a model, and
tools/predict.py and tools/verify_export.py take either. README.md in the export
says what is in it and how to call it. What a server has to be given for it, or
how far another runtime's numbers are from TensorFlow's, goes to standard error.
"""

import tools.prologue

import contextlib
import logging as python_logging
import os
import sys
import tempfile
from collections.abc import Iterator

import tensorflow as tf
from absl import app, flags, logging

from official_coatnet import files
from official_coatnet.export import batching, runtimes, saved_model, versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.export.verify import c_api, samples, start_up
from official_coatnet.training import experiment as experiment_lib, model_dir
from tools import path_flags, progress

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
_CHECKPOINT_STEP = flags.DEFINE_integer(
  'checkpoint_step',
  None,
  'Step of the checkpoint to take. By default the best one where the run keeps '
  'it, else the newest that is whole.',
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
  'fold',
  True,
  'Whether convolutions absorb the BatchNorms, where that is faster: in most '
  'networks of timm it is not, whose order leaves some of them.',
)
_BATCH_SIZES = flags.DEFINE_list(
  'batch_sizes',
  [str(size) for size in ExportOptions.batch_sizes],
  'Batch sizes to warm up, at most the max_batch_size of a server that puts '
  'requests together. Others are answered as well.',
)
_BATCHING_CONFIG = path_flags.DEFINE_path(
  'batching_config',
  None,
  "The server's --batching_parameters_file, such as "
  'docs/serving/batching_config.txt: an export that a server with it would not '
  'load is refused.',
)
_TIME_WARMUP = flags.DEFINE_bool(
  'time_warmup', True, 'Measure how long a server loads and warms it up.'
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
# Measured as `saved_model.STEPS`.
_START_UP = {'starting a server with it': 10.0}
_FORMAT = flags.DEFINE_enum(
  'format',
  'saved_model',
  list(versions.FORMATS),
  'What to write: for TensorFlow Serving, for TFLite or for ONNX.',
)
_QUANTIZE = flags.DEFINE_enum(
  'quantize',
  'none',
  runtimes.QUANTIZATIONS,
  'With --format=tflite: how weights are stored; int8 is by dynamic range.',
)
_IMAGES = path_flags.DEFINE_path(
  'images',
  None,
  'With --format=tflite or onnx: pattern of image files to compare its numbers '
  "on, such as 'photos/*.jpg'. By default samples made for it.",
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


# Flags that say how a SavedModel answers.
_OF_SAVED_MODELS = (
  *('batch_sizes', 'batching_config', 'time_warmup', 'top_k', 'threshold'),
  *('max_pixels', 'answer_bad_images', 'stage_maps'),
)


def _check_flags(options: ExportOptions):
  """Refuses flags of another format, and what a server would not load."""
  if _FORMAT.value != 'saved_model':
    for name in _OF_SAVED_MODELS:
      if flags.FLAGS[name].value != flags.FLAGS[name].default:
        raise ValueError(
          f'--{name} is for SavedModels, and --format is {_FORMAT.value}, '
          'which answers with logits alone. Leave it out.'
        )
  elif _IMAGES.value is not None:
    raise ValueError(
      '--images is for --format=tflite and onnx; a SavedModel is compared by '
      'tools/verify_export.py.'
    )
  if _BATCHING_CONFIG.value is not None:
    batching.read(_BATCHING_CONFIG.value).check_batch_sizes(options.batch_sizes)


def _measures_start_up() -> bool:
  # Not on an object store, of which TensorFlow's C++ alone knows nothing.
  return (
    _FORMAT.value == 'saved_model'
    and _TIME_WARMUP.value
    and files.is_local(_EXPORT_DIR.value)
  )


def _measure_start_up(path: str) -> start_up.StartUp | c_api.LoadError | None:
  """Returns how long a server's start takes, or why that is not known."""
  if not _measures_start_up():
    return None
  try:
    return start_up.measure(path)
  except c_api.LoadError as e:
    return e


def _format_start_up(
  found: start_up.StartUp | c_api.LoadError | None, options: ExportOptions
) -> str:
  """Says what a server needs to be given, and how long its start takes."""
  lines = []
  if found is not None:
    if isinstance(found, c_api.LoadError):
      lines.append(f'The start of a server could not be timed: {found}')
    else:
      period, threshold = start_up.PERIOD_SECONDS, found.failure_threshold
      lines.append(
        f'A server with {found.cores} cores of this machine loads it in about '
        f'{found.load:.1f} s and warms it up in {found.warmup:.1f} s, '
        f'{found.requests} requests. For Kubernetes: startupProbe: '
        f'{{periodSeconds: {period}, failureThreshold: {threshold}}}'
      )
  if _BATCHING_CONFIG.value is None:
    lines.append(
      'A server with batching takes it if its max_batch_size is '
      f'{max(options.batch_sizes)} or more (--batching_config checks that).'
    )
  return '\n'.join(lines)


def _format_difference(path: str) -> str:
  """Says how large the file is, and how far its numbers are from ours."""
  file = os.path.join(path, versions.FORMATS[_FORMAT.value])
  found = versions.read_provenance(path).difference or {}
  return (
    f'{file}: {tf.io.gfile.stat(file).length / 1e6:.1f} MB. Its logits differ '
    f"from TensorFlow's by {found['largest']:.2g} at most, and the first class "
    f'is the same for {found["same_top1"]} of {found["images"]} images.'
  )


@contextlib.contextmanager
def _quiet_converter() -> Iterator[None]:
  """Keeps to itself what TFLite's converter writes past Python.

  It is a list of what it is content with, in the words of an error. What Python
  writes goes where it went.
  """
  sys.stderr.flush()
  with (
    open(os.dup(2), 'w', buffering=1) as kept,
    tempfile.TemporaryFile() as nowhere,
    contextlib.redirect_stderr(kept),
  ):
    os.dup2(nowhere.fileno(), 2)
    try:
      yield
    finally:
      kept.flush()
      os.dup2(kept.fileno(), 2)


def _is_for_users(record: python_logging.LogRecord) -> bool:
  """Whether a line of the log is an error, or a warning of this package.

  What TensorFlow says of a save is about the temporary folder, and what it
  warns of is within Keras.
  """
  is_ours = f'{os.sep}official_coatnet{os.sep}' in record.pathname
  least = logging.WARNING if is_ours else logging.ERROR
  return record.levelno >= logging.converter.absl_to_standard(least)


def _export(options: ExportOptions, show: progress.Steps) -> str:
  return saved_model.export(
    _MODEL_DIR.value,
    _EXPORT_DIR.value,
    weights=_WEIGHTS.value,
    checkpoint_step=_CHECKPOINT_STEP.value,
    labels=_LABELS.value,
    version=_VERSION.value,
    fold=_FOLD.value,
    options=options,
    licence=_LICENCE.value,
    file_format=_FORMAT.value,
    quantize=_QUANTIZE.value,
    encoded=_IMAGES.value and samples.read_images(_IMAGES.value),
    on_step=show,
  )


def main(argv):
  """Exports, and prints where the export is."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  logging.get_absl_handler().addFilter(_is_for_users)
  tf.get_logger().setLevel('ERROR')
  options = _options()
  _check_flags(options)
  is_tflite = _FORMAT.value == 'tflite'
  experiment = model_dir.read_experiment(_MODEL_DIR.value)
  steps = dict(saved_model.STEPS[_FORMAT.value])
  if _measures_start_up():
    steps |= _START_UP
  with contextlib.ExitStack() as stack:
    # First, so that what is drawn goes where it would have gone.
    if is_tflite:
      stack.enter_context(_quiet_converter())
    show = stack.enter_context(
      progress.Steps(
        f'Exporting {_MODEL_DIR.value}',
        steps,
        scale=progress.depth(experiment.model),
      )
    )
    with tools.prologue.STOP.patient():
      path = _export(options, show)
    if _measures_start_up():
      show(*_START_UP)
    found = _measure_start_up(path)
  print(path, flush=True)
  if _FORMAT.value == 'saved_model':
    print(_format_start_up(found, options), file=sys.stderr)
  else:
    print(_format_difference(path), file=sys.stderr)


if __name__ == '__main__':
  flags.mark_flags_as_required(['model_dir', 'export_dir'])
  tools.prologue.run(main)
