"""Trains and evaluates the experiment of a gin file.

    python tools/train.py --gin_file=gin/jft_coatnet5.gin --tpu=my-pod \
        --model_dir=gs://my-bucket/run

A run resumes from the latest checkpoint of its --model_dir: start the same
command again. --dry_run takes the same configuration through two training
steps, an evaluation and an export on synthetic images, without data.
"""

import os
import sys
import tempfile

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# So that the tool runs from a clone, from any folder, without installation.
sys.path.insert(0, _ROOT)

from absl import app, flags, logging  # noqa: E402

from official_coatnet.export import saved_model  # noqa: E402
from official_coatnet.training import (  # noqa: E402
  controller,
  distribution,
  dry_run,
  gin_config,
  preflight,
)

_GIN_FILE = flags.DEFINE_multi_string(
  'gin_file', None, 'Gin file of the run, such as gin/imagenet1k_coatnet0.gin.'
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
  'gin_bindings', [], 'Bindings over the file, such as "BATCH_SIZE = 1024".'
)
_TPU = flags.DEFINE_string(
  'tpu',
  None,
  "Name of a Cloud TPU, its address (grpc://host:8470) or 'local'. Without it "
  'the run uses the GPUs of this machine, or its processor.',
)
_MODEL_DIR = flags.DEFINE_string(
  'model_dir', None, 'Folder of checkpoints, events and metrics; created.'
)
_MODE = flags.DEFINE_enum(
  'mode', 'train_and_eval', controller.MODES, 'What to do.'
)
_DRY_RUN = flags.DEFINE_bool(
  'dry_run',
  False,
  'Two training steps, one evaluation and an export of the same configuration '
  'on synthetic images, two a core. Without --model_dir in a temporary folder.',
)


def main(argv):
  """Parses the configuration and runs it."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  logging.set_verbosity(logging.INFO)
  try:
    experiment = gin_config.load(
      _GIN_FILE.value or [], _GIN_BINDINGS.value, root=_ROOT
    )
    if _DRY_RUN.value:
      _dry_run(experiment)
    else:
      _run(experiment)
  except (ValueError, FileNotFoundError, ConnectionError) as e:
    # What the user can mend, in one message and without a traceback.
    sys.exit(f'{os.path.basename(sys.argv[0])}: {e}')


def _run(experiment):
  """Runs on the chosen devices, or says all that stands in the way."""
  problems = []
  strategy = None
  try:
    strategy = distribution.make_strategy(_TPU.value)
  except ConnectionError as e:
    problems.append(str(e))
  problems += preflight.find_problems(
    experiment,
    mode=_MODE.value,
    model_dir=_MODEL_DIR.value,
    num_replicas=strategy.num_replicas_in_sync if strategy else 1,
    num_hosts=distribution.num_hosts(strategy) if strategy else 1,
  )
  if problems:
    raise ValueError(controller.join_problems(problems))
  results = _train(experiment, strategy, model_dir=_MODEL_DIR.value)
  logging.info('Done: %s. Files: %s', results, _MODEL_DIR.value)


def _train(experiment, strategy, *, model_dir):
  return controller.run(
    experiment,
    mode=_MODE.value,
    model_dir=model_dir,
    strategy=strategy,
    on_start=lambda: gin_config.write_config(model_dir),
    on_first_loop=lambda: gin_config.write_operative_config(model_dir),
  )


def _dry_run(experiment):
  """Runs the shrunken experiment, and exports it."""
  strategy = distribution.make_strategy(_TPU.value)
  experiment = dry_run.shrink(
    experiment, num_replicas=strategy.num_replicas_in_sync
  )
  with tempfile.TemporaryDirectory() as temporary:
    model_dir = _MODEL_DIR.value or temporary
    _train(experiment, strategy, model_dir=model_dir)
    export_dir = os.path.join(model_dir, 'export')
    path = saved_model.export(model_dir, export_dir)
    logging.info('Dry run passed: trained, evaluated and exported to %s.', path)


if __name__ == '__main__':
  flags.mark_flag_as_required('gin_file')
  app.run(main)
