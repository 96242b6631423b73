"""Writes the weights of a run for another package.

    python tools/export_weights.py --model_dir=runs/my_run \
      --output_dir=runs/timm --format=timm

writes runs/timm/ (model.safetensors, config.json and a card), which PyTorch's
timm loads: timm.create_model('local-dir:runs/timm', pretrained=True).
--push=owner/name uploads it to the Hugging Face hub as well, as whoever has
logged in by `hf auth login`. It needs the extra: pip install '.[weights]'.

For TensorFlow Serving there is tools/export.py.
"""

import tools.prologue

from absl import app, flags

from official_coatnet.pretrained import publishing
from official_coatnet.training import experiment as experiment_lib, model_dir
from tools import path_flags, progress

_MODEL_DIR = path_flags.DEFINE_path('model_dir', None, 'Folder of the run.')
_OUTPUT_DIR = path_flags.DEFINE_path(
  'output_dir',
  None,
  'Folder to write; created. Files of the same names are replaced.',
  by_tensorflow=True,
)
_FORMAT = flags.DEFINE_enum(
  'format', 'timm', ['timm'], 'Package that is to load the weights.'
)
_WEIGHTS = flags.DEFINE_enum(
  'weights',
  None,
  experiment_lib.WEIGHTS,
  'Which weights to write. By default what the run says: the average of the '
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
  "Text file with one class name a line. By default the run's own names, if "
  'its data had any.',
)
_LICENCE = flags.DEFINE_string(
  'licence',
  None,
  "Licence of the weights, by the hub's name for it, such as apache-2.0.",
)
_PUSH = flags.DEFINE_string(
  'push',
  None,
  'Repository of the Hugging Face hub to upload to, owner/name; created if '
  'need be.',
)


def main(argv):
  """Writes the files, prints their paths and perhaps uploads them."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  if _PUSH.value is not None:
    publishing.check_repository(_PUSH.value)
  experiment = model_dir.read_experiment(_MODEL_DIR.value)
  with progress.Steps(
    f'Exporting {_MODEL_DIR.value}',
    publishing.STEPS,
    scale=progress.depth(experiment.model),
  ) as show:
    paths = publishing.publish(
      _MODEL_DIR.value,
      _OUTPUT_DIR.value,
      weights=_WEIGHTS.value,
      checkpoint_step=_CHECKPOINT_STEP.value,
      labels=_LABELS.value,
      licence=_LICENCE.value,
      on_step=show,
    )
  print(*paths, sep='\n', flush=True)
  if _PUSH.value is not None:
    print(publishing.push(_OUTPUT_DIR.value, _PUSH.value))


if __name__ == '__main__':
  flags.mark_flags_as_required(['model_dir', 'output_dir'])
  tools.prologue.run(main)
