"""Trains and evaluates the experiment of a gin file.

    python tools/train.py --gin_file=gin/jft_coatnet5.gin --tpu=my-pod \
        --model_dir=gs://my-bucket/run

A run resumes from the latest checkpoint of its --model_dir: start the same
command again. SIGTERM ends it after the loop in hand, with a checkpoint and
exit code 75, which says that to start again helps; 75 it is as well where a
worker or a TPU has gone. Ctrl-C saves likewise, and ends with 130. A second
signal ends it at once. docs/pods.md tells of TPU slices and of several
machines. --dry_run takes the same configuration through two training steps, an
evaluation and an export on synthetic images, without data.

--mode=eval --per_class evaluates class by class: docs/training.md says what it
writes, and where.
"""

import tools.prologue

import logging as python_logging
import tempfile
from typing import Any

from absl import app, flags, logging

from official_coatnet.analysis.runs import per_class as per_class_files
from official_coatnet.export import saved_model, versions
from official_coatnet.pretrained import hub, importing
from official_coatnet.training import (
  controller,
  devices,
  dry_run,
  gin_config,
  model_dir as model_dir_lib,
  per_class,
  preflight,
  restart,
  tpu as tpu_lib,
)
from tools import gin_flags, path_flags, run_display, terminal

_TRAINING_MODES = ('train', 'train_and_eval')

_GIN = gin_flags.DEFINE_gin(
  None,
  file_help='Gin file of the run, such as gin/imagenet1k_coatnet0.gin.',
  bindings_help='Bindings over the file, such as "BATCH_SIZE = 1024".',
)
_TPU = flags.DEFINE_string(
  'tpu',
  None,
  "Name of a Cloud TPU, its address (grpc://host:8470) or 'local'. Without it "
  'the run uses the GPUs of this machine, or its processor; with TF_CONFIG '
  'those of several machines.',
)
_TPU_ZONE = flags.DEFINE_string(
  'tpu_zone', None, 'Zone of --tpu; that of this machine if not given.'
)
_GCP_PROJECT = flags.DEFINE_string(
  'gcp_project', None, 'Project of --tpu; that of this machine if not given.'
)
_MODEL_DIR = path_flags.DEFINE_path(
  'model_dir',
  None,
  'Folder of checkpoints, events and metrics; created.',
  by_tensorflow=True,
)
_MODE = flags.DEFINE_enum(
  'mode', 'train_and_eval', controller.MODES, 'What to do.'
)
_PER_CLASS = flags.DEFINE_bool(
  'per_class',
  False,
  'With --mode=eval: accuracy class by class and what is taken for what, as '
  'CSV, JSON and pictures.',
)
_CHECKPOINT_STEP = flags.DEFINE_integer(
  'checkpoint_step',
  None,
  'With --mode=eval: step of the checkpoint. By default the best one where the '
  'run keeps it, else the newest that is whole.',
)
_RESTART = flags.DEFINE_bool(
  'restart',
  False,
  'Begin at step 0 in a --model_dir that has checkpoints. What is there goes '
  'into restarted-TIME/ in it. Not for a command that is started again and '
  'again: it would begin each time.',
)
_OUTPUT_DIR = path_flags.DEFINE_path(
  'output_dir',
  None,
  'Folder for what --per_class writes; created. By default evaluation/ckpt-N '
  'in the --model_dir, with N the step.',
)
_PROFILE = flags.DEFINE_string(
  'profile',
  None,
  'First and last step to take a trace of, such as 100:110, for the profiler '
  'of TensorBoard; in train/ of the --model_dir.',
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
  if _OUTPUT_DIR.value and not _PER_CLASS.value:
    raise app.UsageError('--output_dir is for what --per_class writes.')
  _profile()
  if _CHECKPOINT_STEP.value is not None and _MODE.value != 'eval':
    raise app.UsageError(
      '--checkpoint_step is for --mode=eval; a run goes on from its newest '
      'checkpoint.'
    )
  if _RESTART.value and (_DRY_RUN.value or _MODE.value not in _TRAINING_MODES):
    raise app.UsageError('--restart is for a training.')
  logging.set_verbosity(terminal.start_verbosity())
  if not terminal.is_verbose():
    # Between several machines it tells of each sum over them, twice.
    python_logging.getLogger('tensorflow').setLevel('WARNING')
  experiment = _GIN.load(
    find_start=_find_start,
    model_dir=None if _RESTART.value else _MODEL_DIR.value,
  )
  if _DRY_RUN.value:
    _dry_run(experiment)
  else:
    _run(experiment)


def _profile() -> tuple[int, int] | None:
  """Returns first and last step of --profile."""
  if _PROFILE.value is None:
    return None
  first, _, last = _PROFILE.value.partition(':')
  rule = 'it must be the first and the last step to trace, such as 100:110'
  if not (first.isdecimal() and last.isdecimal()):
    raise app.UsageError(f'--profile is {_PROFILE.value}; {rule}.')
  if not 1 <= int(first) <= int(last):
    raise app.UsageError(
      f'--profile is {_PROFILE.value}; {rule}: the first is 1 or more, and not '
      'after the last.'
    )
  if _MODE.value not in ('train', 'train_and_eval'):
    raise app.UsageError(
      f'--profile is for training, and --mode is {_MODE.value}.'
    )
  if tpu_lib.is_remote(_TPU.value):
    raise app.UsageError(
      f'--profile traces this machine, and --tpu={_TPU.value} is another one. '
      'Run on the TPU VM itself, with --tpu=local.'
    )
  return int(first), int(last)


def _find_start(path: str) -> str | None:
  """Returns the checkpoint that INIT_CHECKPOINT means."""
  if hub.is_name(path) and _MODE.value in ('eval', 'continuous_eval'):
    return None  # The weights are the run's own.
  try:
    return importing.find_start(path)
  except (ValueError, ImportError) as e:
    raise ValueError(f'`init_checkpoint`: {e}') from e


def _run(experiment):
  """Runs on the chosen devices, or says all that stands in the way."""
  tpu_type = None
  if _TPU.value:
    # To connect takes minutes: before, whatever can be known is looked at. The
    # controller looks again, by when the number of hosts is certain and the
    # data may be others.
    expected, problems = _look_at_tpu()
    tpu_type = expected.pop('tpu_type', None)
    model_dir = _MODEL_DIR.value
    if model_dir and _RESTART.value:
      model_dir = restart.new_folder(model_dir)
    problems += preflight.examine(
      experiment, mode=_MODE.value, model_dir=model_dir, **expected
    )[0]
    if problems:
      raise ValueError(preflight.join_problems(problems))
  tally = None
  if _PER_CLASS.value:
    tally = per_class.Tally(experiment)
    per_class.check(mode=_MODE.value)
    folder = _OUTPUT_DIR.value
    if folder and not model_dir_lib.is_writable(folder):
      raise ValueError(
        f'--output_dir is {folder}, where no file can be written; name another '
        'folder.'
      )
  results = _train(
    experiment,
    _make_strategy(),
    model_dir=_MODEL_DIR.value,
    tally=tally,
    tpu_type=tpu_type,
  )
  if tally is not None:
    _report_classes(tally)
  logging.info('Done: %s. Files: %s', results, _MODEL_DIR.value)


def _look_at_tpu() -> tuple[dict, list[str]]:
  """Returns what the TPU will be, for the preflight, and what is amiss."""
  expected: dict[str, Any] = {'remote_workers': tpu_lib.is_remote(_TPU.value)}
  try:
    found = tpu_lib.find(
      _TPU.value, zone=_TPU_ZONE.value, project=_GCP_PROJECT.value
    )
  except (ConnectionError, ValueError) as e:
    return expected, [str(e)]
  logging.info('Found: %s.', found)
  for warning in found.warnings():
    logging.warning('%s', warning)
  expected['tpu_type'] = found.accelerator_type
  expected['num_replicas'] = found.min_cores or 1
  expected['num_hosts'] = found.num_hosts or 1
  return expected, found.problems()


def _make_strategy():
  machines = devices.read_cluster()
  if machines is not None and _MODE.value == 'continuous_eval':
    raise ValueError(
      '--mode is continuous_eval and TF_CONFIG is set: the workers might see '
      'different checkpoints. Unset TF_CONFIG, and evaluate on one machine.'
    )
  strategy = devices.make_strategy(
    _TPU.value,
    zone=_TPU_ZONE.value,
    project=_GCP_PROJECT.value,
    cluster=machines,
  )
  tools.prologue.STOP.listen()
  return strategy


def _report_classes(tally: per_class.Tally):
  """Prints what is worst, and writes all of it where that is possible."""
  model_dir = _MODEL_DIR.value
  labels, names = model_dir_lib.find_labels(model_dir), None
  if labels:
    names = versions.read_labels(labels, num_classes=len(tally.images))
  print(
    per_class_files.format_text(per_class_files.summarize(tally, names=names))
  )
  folder = _OUTPUT_DIR.value
  folder = folder or model_dir_lib.evaluation_folder(model_dir, tally.step)
  if not model_dir_lib.is_writable(folder):
    print(
      f'Nothing is written: {folder} cannot be. --output_dir=DIR writes the '
      'files elsewhere.'
    )
    return
  for path in per_class_files.write(folder, tally, names=names):
    logging.info('Written: %s', path)


def _train(experiment, strategy, *, model_dir, tally=None, tpu_type=None):
  with run_display.shown() as listener:
    return controller.run(
      experiment,
      mode=_MODE.value,
      model_dir=model_dir,
      strategy=strategy,
      on_start=lambda: gin_config.write_config(
        model_dir, gin_files=_GIN.files.value
      ),
      on_first_loop=lambda: gin_config.write_operative_config(model_dir),
      tally=tally,
      checkpoint_step=_CHECKPOINT_STEP.value,
      restart=_RESTART.value,
      stop=tools.prologue.STOP,
      listener=listener,
      started=tools.prologue.STARTED,
      tpu_type=tpu_type,
      profile=_profile(),
    )


def _dry_run(experiment):
  """Runs the shrunken experiment, and exports it."""
  if _TPU.value:
    _, problems = _look_at_tpu()
    if tpu_lib.is_remote(_TPU.value) and not _MODEL_DIR.value:
      problems.append(
        '--dry_run on a TPU of other machines needs a --model_dir in a bucket, '
        'such as --model_dir=gs://my-bucket/dry_run: its workers write there.'
      )
    if problems:
      raise ValueError(preflight.join_problems(problems))
  strategy = _make_strategy()
  experiment = dry_run.shrink(
    experiment, num_replicas=strategy.num_replicas_in_sync
  )
  with tempfile.TemporaryDirectory() as temporary:
    model_dir = _MODEL_DIR.value or temporary
    _train(experiment, strategy, model_dir=model_dir)
    export_dir = model_dir_lib.export_folder(model_dir)
    with tools.prologue.STOP.patient():
      path = saved_model.export(model_dir, export_dir)
    logging.info('Dry run passed: trained, evaluated and exported to %s.', path)


if __name__ == '__main__':
  flags.mark_flag_as_required('gin_file')
  tools.prologue.run(main)
