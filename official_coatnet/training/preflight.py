"""What stands in the way of a run, said at once and before it starts."""

import dataclasses
import os

from official_coatnet import files
from official_coatnet.data import (
  checks,
  config as config_lib,
  pairs,
  sources as sources_lib,
)
from official_coatnet.modeling import implementations
from official_coatnet.training import (
  best,
  best_file,
  checkpoint_files,
  checkpoints,
  consistency,
  experiment as experiment_lib,
  inputs,
  model_dir as model_dir_lib,
  plan,
  stages,
  trackers,
)

# Of a network: what makes it another one, whatever the image size and classes.
_ARCHITECTURE = ('layout', 'blocks', 'widths', 'head_size', 'family')
_TRAINING_MODES = ('train', 'train_and_eval')


def examine(
  experiment: experiment_lib.Experiment,
  *,
  mode: str,
  model_dir: str | None,
  num_replicas: int = 1,
  num_hosts: int = 1,
  remote_workers: bool = False,
) -> tuple[list[str], dict[str, sources_lib.Source]]:
  """Looks for everything that would stop a run later.

  Args:
    experiment: What is to run.
    mode: One of `controller.MODES`.
    model_dir: Where it leaves its files, or None if not given.
    num_replicas: Cores that share a batch.
    num_hosts: Hosts that read files.
    remote_workers: Whether these hosts are other machines, driven from here, as
      those of a TPU slice are.

  Returns:
    One sentence or more a problem; empty if there is none. And what it has
    opened to look at, 'train_data' or 'eval_data' or both, for the run to read.
  """
  splits = _splits(experiment, mode)
  if problems := _file_system_problems(experiment, splits, model_dir):
    return problems, {}  # Whatever follows would stumble over them.
  problems = plan.batch_problems(experiment, num_replicas=num_replicas)
  problems += _model_dir_problems(experiment, model_dir, mode=mode)
  problems += _export_only_problems(experiment, mode)
  if remote_workers:
    problems += _storage_problems(splits, model_dir)
  sources = {}
  for split, data in splits.items():
    found, source = checks.examine(data, num_hosts=num_hosts)
    for problem in found:
      if problem not in problems:
        problems.append(problem)
    if source is not None:
      sources[split] = source
  problems += _pair_problems(experiment, sources)
  problems += consistency.examine(
    experiment, sources, mode=mode, model_dir=model_dir
  ).problems
  if experiment.run.init_checkpoint:
    problems += _init_checkpoint_problems(experiment)
  elif experiment.run.init_checkpoint_required and mode in _TRAINING_MODES:
    problems += _from_scratch_problems(model_dir)
  if mode in _TRAINING_MODES:
    # Where the data cannot be opened, that has been said.
    if 'train_data' in sources or experiment.train_data.source == 'synthetic':
      problems += inputs.class_weight_problems(
        experiment, sources.get('train_data')
      )
    problems += best.problems(experiment, mode=mode)
    problems += trackers.problems(experiment.run.trackers)
    problems += stages.start_problems(
      experiment.optimizer.trainable,
      starts_at_random=not experiment.run.init_checkpoint
      # A dry run takes no checkpoint, and two steps.
      and experiment.train_data.source != 'synthetic'
      and not checkpoint_files.exist(model_dir),
    )
  return problems, sources


def _splits(experiment, mode: str) -> dict[str, config_lib.DataConfig]:
  """Returns what the mode reads."""
  splits = {'eval_data': experiment.eval_data}
  if mode in _TRAINING_MODES:
    splits['train_data'] = experiment.train_data
  if mode == 'train':
    del splits['eval_data']
  return splits


def join_problems(problems: list[str]) -> str:
  """Makes one message of all that stands in the way of a run."""
  lines = '\n'.join(f'  - {problem}' for problem in problems)
  return f'The run cannot start:\n{lines}'


def _file_system_problems(
  experiment, splits, model_dir: str | None
) -> list[str]:
  """Names paths that TensorFlow has no file system for, such as s3://."""
  paths = {
    '--model_dir': model_dir,
    '`init_checkpoint`': experiment.run.init_checkpoint,
  }
  for split, data in splits.items():
    if data.source != 'synthetic':
      paths[f'data_dir of `{split}`'] = data.data_dir
      paths[f'file_pattern of `{split}`'] = data.file_pattern
  problems = []
  for name, path in paths.items():
    try:
      files.check_file_system(path or '')
    except ValueError as e:
      problems.append(f'{name}: {e}')
  return problems


def _export_only_problems(experiment, mode: str) -> list[str]:
  """Refuses to train what only an export serves."""
  model = experiment.model
  problems: list[str] = []
  if mode not in _TRAINING_MODES:
    return problems
  if model.norm == 'none':
    problems.append(
      "`norm` is 'none', which is for exports alone: their convolutions have "
      'absorbed BatchNorms that were trained, and without any the network does '
      "not train well. Take 'batch_norm', or 'layer_norm' (Table 8); "
      'tools/export.py folds it by itself.'
    )
  form = model.implementation
  if form is not None and not implementations.get(form).for_training:
    problems.append(
      f'`implementation` is {form!r}, which is for exports alone: its forward '
      'pass is faster than that of the reference, its backward pass slower. '
      "Take 'cpu' for a training on a CPU, or None for what suits the device; "
      'tools/export.py chooses its own.'
    )
  return problems


def _from_scratch_problems(model_dir: str | None) -> list[str]:
  """Refuses random weights, unless the run resumes and so has its own."""
  if checkpoint_files.exist(model_dir):
    return []
  return [
    '`init_checkpoint` is None, but this run is a fine-tuning and must not '
    'start from random weights: set INIT_CHECKPOINT to the model_dir (or a '
    'checkpoint) of the pre-training. To train from scratch all the same, set '
    'RunConfig.init_checkpoint_required = False.'
  ]


def _pair_problems(experiment, sources) -> list[str]:
  """Compares the images to evaluate on with those to train on.

  An evaluation of a run that trains elsewhere is compared, too, where the
  manifest of what it trains on can be read.
  """
  evaluation = sources.get('eval_data')
  if evaluation is None or evaluation.manifest is None:
    return []
  if 'train_data' in sources:
    manifest = sources['train_data'].manifest
  else:
    manifest = pairs.read_quietly(experiment.train_data)
  if manifest is None:
    return []
  return pairs.find_problems(
    (experiment.train_data, manifest),
    (experiment.eval_data, evaluation.manifest),
    allow_shared_images=experiment.run.allow_shared_images,
  )


def _storage_problems(splits, model_dir: str | None) -> list[str]:
  """Refuses local folders where the workers read and write."""
  problems = []
  if model_dir is not None and files.is_local(model_dir):
    problems.append(
      f'--model_dir is {model_dir!r}, a folder of this machine, but the '
      "TPU's workers write the checkpoints; give a folder in a bucket, such as "
      '--model_dir=gs://my-bucket/run.'
    )
  for split, data in splits.items():
    folder = data.data_dir or data.file_pattern
    if data.source == 'tfds' and data.data_dir is None:
      folder = '~/tensorflow_datasets'
    if data.source == 'synthetic' or folder is None:
      continue
    if files.is_local(folder):
      problems.append(
        f'`{split}` is read from {folder!r}, a folder of this machine, but the '
        "TPU's workers read the data; copy it to a bucket and set DATA_DIR, "
        "such as DATA_DIR = 'gs://my-bucket/imagenet'."
      )
  return problems


def _init_checkpoint_problems(experiment) -> list[str]:
  try:
    stored = checkpoints.StoredWeights(
      experiment.run.init_checkpoint, weights=experiment.run.init_weights
    )
    folder = os.path.dirname(stored.prefix)
    start = model_dir_lib.read_experiment(folder)
  except FileNotFoundError:
    return []  # Weights alone do not say what they were trained on.
  except ValueError as e:
    return [f'`init_checkpoint`: {e}']
  different = '; '.join(
    f'`{field}` is {before!r} there and {now!r} here'
    for field in _ARCHITECTURE
    if (before := getattr(start.model, field))
    != (now := getattr(experiment.model, field))
  )
  if different:
    return [
      f'`init_checkpoint`: {folder!r} holds weights of {start.model.name!r}, '
      f'and the network is {experiment.model.name!r}: {different}. Set MODEL '
      f'to {start.model.name!r}, or to None, which means that of the weights.'
    ]
  different = _preprocessing_differences(
    start, experiment, experiment_lib.NORMALIZATION
  )
  if not different:
    return []
  return [
    f'`init_checkpoint`: the weights of {folder!r} know pixels by another '
    f'normalization: {different}. Set DataConfig.mean and DataConfig.deviation '
    'to those, or MODEL to None, which prepares images as they know them; in a '
    '--model_dir of its own.'
  ]


def _model_dir_problems(
  experiment: experiment_lib.Experiment, model_dir: str | None, *, mode: str
) -> list[str]:
  if not model_dir:
    return [
      '--model_dir is missing: give the folder for checkpoints, events and '
      'metrics (it is created), such as --model_dir=runs/my_run.'
    ]
  try:
    files.check_no_pattern(
      model_dir, name='--model_dir', is_new=mode in _TRAINING_MODES
    )
    if mode == 'eval' and not _has_weights(model_dir):
      model_dir_lib.find_checkpoint(model_dir)  # Says why there are none.
  except ValueError as e:
    return [str(e)]
  try:
    stored = model_dir_lib.read_experiment(model_dir)
  except FileNotFoundError:
    return []
  except ValueError as e:
    return [f'{e} Give another --model_dir.']
  return [
    *_model_differences(experiment, stored, model_dir=model_dir),
    *_preprocessing_problems(
      experiment, stored, model_dir=model_dir, mode=mode
    ),
    *_stage_problems(experiment, stored, model_dir=model_dir, mode=mode),
  ]


def _has_weights(model_dir: str) -> bool:
  """Whether a run has something to be evaluated, which may be damaged."""
  return (
    checkpoint_files.exist(model_dir) or best_file.read(model_dir) is not None
  )


def _stage_problems(experiment, stored, *, model_dir, mode) -> list[str]:
  if mode not in _TRAINING_MODES or not checkpoint_files.exist(model_dir):
    return []
  return stages.resume_problems(
    experiment.optimizer, stored.optimizer, model_dir=model_dir
  )


def _preprocessing_problems(experiment, stored, *, model_dir, mode):
  """Refuses to show a network pixels other than it was trained on.

  An evaluation may resize otherwise, to see what comes of it.
  """
  fields = experiment_lib.NORMALIZATION
  if mode in _TRAINING_MODES:
    fields = experiment_lib.PREPROCESSING
  different = _preprocessing_differences(stored, experiment, fields)
  if not different:
    return []
  return [
    f'The folder {model_dir!r} belongs to a network that is trained on images '
    f'prepared otherwise: {different}. Give another --model_dir, or set '
    'DataConfig to those.'
  ]


def _preprocessing_differences(old, new, fields) -> str:
  """Says which of the fields of the data are others."""
  return '; '.join(
    f'{field} was {before!r} and is now {now!r}'
    for field in fields
    if (before := getattr(old.eval_data, field))
    != (now := getattr(new.eval_data, field))
  )


def _model_differences(experiment, stored, *, model_dir) -> list[str]:
  new, old = experiment.to_dict()['model'], stored.to_dict()['model']
  fixed = [
    field.name
    for field in dataclasses.fields(experiment.model)
    # With other values of the rest the same weights may be run.
    if field.metadata.get('weights', True)
  ]
  different = [name for name in fixed if new[name] != old[name]]
  if not different:
    return []
  remedy = 'Give another --model_dir, or the gin file and bindings of that run.'
  if different == ['image_size']:
    remedy = (
      'Its relative-bias tables are of that size: to go on at the new one, '
      'fine-tune it in a --model_dir of its own with '
      f"RunConfig.init_checkpoint = '{model_dir}', which resizes them."
    )
  changes = '; '.join(
    f'{f} was {old[f]!r} and is now {new[f]!r}' for f in different
  )
  return [
    f'The folder {model_dir!r} belongs to another model: {changes}. {remedy}'
  ]
