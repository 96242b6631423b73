"""Summarises a network or a run.

    python tools/summarize.py --model=coatnet_0 --image_size=224
    python tools/summarize.py --gin_file=gin/imagenet1k_coatnet0.gin
    python tools/summarize.py --model_dir=runs/my_run --picture=curves.png
    python tools/summarize.py --model_dir=runs/tuned --baseline_dir=runs/scratch

Of a network: parameters and multiply-adds, stage by stage. Of a run: length,
best and last evaluation, speed, core-hours, and the training curves; and what
it gains over another run of as many steps.
"""

import tools.prologue

import json
from typing import Any

import tensorflow as tf
from absl import app, flags

from official_coatnet.analysis.runs import drawings, summary
from official_coatnet.modeling import config as model_config
from tools import gin_flags, path_flags, progress

_MODEL = flags.DEFINE_string(
  'model', None, 'Network to summarise, such as coatnet_0.'
)
_IMAGE_SIZE = flags.DEFINE_list(
  'image_size', ['224'], 'With --model: side, or height,width, in pixels.'
)
_NUM_CLASSES = flags.DEFINE_integer('num_classes', 1000, 'With --model.')
_GIN = gin_flags.DEFINE_gin(
  [],
  file_help='Instead of --model: gin file of a run with the network.',
  bindings_help='Bindings over --gin_file, such as "IMAGE_SIZE = 384".',
)
_MODEL_DIR = path_flags.DEFINE_path(
  'model_dir', None, 'Instead of --model: folder of a run to summarise.'
)
_BASELINE_DIR = path_flags.DEFINE_path(
  'baseline_dir', None, 'With --model_dir: folder of a run to compare it with.'
)
_PICTURE = path_flags.DEFINE_path(
  'picture', None, 'With --model_dir: picture to draw, of the training curves.'
)
_FORMAT = flags.DEFINE_enum(
  'format', 'text', ('text', 'json'), 'Of the output.'
)
# What takes long, and the seconds that it took for CoAtNet-0 on two cores.
_STEPS = {'building the network': 2.5}


def _summarize_network() -> str:
  if _GIN.files.value:
    config = _GIN.load().model
  else:
    config = model_config.ModelConfig(
      _MODEL.value,
      image_size=_parse_image_size(_IMAGE_SIZE.value),
      num_classes=_NUM_CLASSES.value,
    )
  with progress.Steps(
    f'Summarizing {config.name}', _STEPS, scale=progress.depth(config)
  ) as show:
    show(*_STEPS)
    result = summary.summarize_model(config)
  return _format(result, summary.format_model)


def _summarize_run() -> str:
  if _PICTURE.value:
    drawings.check_path(_PICTURE.value)
  result = summary.summarize_run(_MODEL_DIR.value)
  if _PICTURE.value:
    drawings.training_curves(
      summary.read_metrics(_MODEL_DIR.value),
      _PICTURE.value,
      title=f'{result["model"]}: {_MODEL_DIR.value}',
    )
  if not _BASELINE_DIR.value:
    return _format(result, summary.format_run)
  result['comparison'] = summary.compare_runs(
    _MODEL_DIR.value, _BASELINE_DIR.value
  )
  return _format(
    result,
    lambda result: (
      f'{summary.format_run(result)}\n'
      f'gain             {summary.format_comparison(result["comparison"])}'
    ),
  )


def _format(result, format_text) -> str:
  if _FORMAT.value == 'json':
    return json.dumps(result, indent=2)
  return format_text(result)


def _parse_image_size(sides: list[str]) -> Any:
  """Returns one number or several; `ModelConfig` says whether they will do."""
  try:
    numbers = tuple(int(side) for side in sides)
  except ValueError as e:
    raise ValueError(
      f'--image_size={",".join(sides)} is no number of pixels; give one, or '
      'height,width, such as 224 or 224,320.'
    ) from e
  return numbers[0] if len(numbers) == 1 else numbers


def _check_flags():
  """Raises UsageError unless the flags say what to summarise, once."""
  what = (_MODEL.value, _GIN.files.value, _MODEL_DIR.value)
  if sum(bool(value) for value in what) != 1:
    raise app.UsageError(
      'Give one of --model, --gin_file and --model_dir, which say what to '
      'summarise.'
    )
  if _PICTURE.value and not _MODEL_DIR.value:
    raise app.UsageError('--picture draws a run: it needs --model_dir.')
  if _BASELINE_DIR.value and not _MODEL_DIR.value:
    raise app.UsageError(
      '--baseline_dir is compared with --model_dir: give it.'
    )
  if _GIN.bindings.value and not _GIN.files.value:
    raise app.UsageError('--gin_bindings needs --gin_file.')


def main(argv):
  """Prints a summary."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  _check_flags()
  tf.get_logger().setLevel('ERROR')
  print(_summarize_run() if _MODEL_DIR.value else _summarize_network())


if __name__ == '__main__':
  tools.prologue.run(main)
