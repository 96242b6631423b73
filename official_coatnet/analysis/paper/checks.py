"""The gin files against the paper: every setting of every run.

Each field of each configuration is in one of three places: what the paper
prints (`printed_values`), what it is silent about and we read in one way
(`reading_values`; docs/recipes.md lists them), or what changes no result and is
free (`FREE`). A field that is in none of them fails the check, so that a new
one cannot be forgotten.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from official_coatnet.analysis.paper import runs, table10, tables
from official_coatnet.modeling import sizes
from official_coatnet.training import experiment as experiment_lib, gin_config

# By key in gin files: fields that change no result of the paper, and why. Of
# `DataConfig` those of both splits.
FREE: Mapping[str, str] = types.MappingProxyType(
  {
    'ModelConfig.lookup': 'the same numbers, read in another way',
    'ModelConfig.implementation': 'the same mathematics',
    'ModelConfig.rematerialize': 'memory for time',
    'DataConfig.source': 'where the data is',
    'DataConfig.data_dir': 'where the data is',
    'DataConfig.tfds_name': 'where the data is',
    'DataConfig.file_pattern': 'where the data is',
    'DataConfig.compression': 'how the data lies',
    'DataConfig.feature_keys': 'how the data lies',
    'DataConfig.labels_optional': 'how the data lies',
    'DataConfig.max_pixels': 'no image of the data sets is larger',
    'DataConfig.on_error': 'no image of the data sets is damaged',
    'DataConfig.max_skipped': 'likewise',
    'DataConfig.shuffle_buffer': 'memory of the hosts',
    'DataConfig.deterministic': 'speed of the hosts',
    'DataConfig.parallel_calls': 'speed of the hosts',
    'DataConfig.prefetch': 'speed of the hosts',
    'DataConfig.data_service': 'speed of the hosts',
    'RunConfig.steps_per_loop': 'how often the host is asked',
    'RunConfig.eval_interval_epochs': 'how often it is reported',
    'RunConfig.eval_interval_steps': 'how often it is reported',
    'RunConfig.checkpoint_interval_steps': 'what is kept',
    'RunConfig.max_to_keep': 'what is kept',
    'RunConfig.keep_every_steps': 'what is kept',
    'RunConfig.keep_every_hours': 'what is kept',
    'RunConfig.async_checkpoint': 'who waits for the disk',
    'RunConfig.max_bad_steps': 'how a run goes on that has gone wrong',
    'RunConfig.stage_norms': 'what is reported',
    'RunConfig.trackers': 'who is told',
    'RunConfig.init_checkpoint': 'where the pre-training is',
    'RunConfig.allow_shared_images': 'what is refused',
    'RunConfig.accept_other_data': 'what is refused',
    'RunConfig.seed': 'any seed',
    'RunConfig.jit_compile': 'who compiles the step',
  }
)

# What the paper is silent about and is the same in all of its runs.
_READINGS: Mapping[str, Any] = types.MappingProxyType(
  {
    'ModelConfig.family': 'paper',
    'ModelConfig.batch_norm_momentum': 0.99,
    'ModelConfig.batch_norm_epsilon': 1e-3,
    'ModelConfig.sync_batch_norm': False,
    'ModelConfig.representation_size': 'width',
    'ModelConfig.kernel_stddev': 0.02,
    'ModelConfig.dtype': 'mixed_bfloat16',
    'DataConfig.label_offset': None,
    'DataConfig.confidence_threshold': None,
    'DataConfig.crop_area_range': (0.08, 1.0),
    'DataConfig.crop_aspect_range': (3 / 4, 4 / 3),
    'DataConfig.eval_crop_fraction': 0.875,
    'DataConfig.interpolation': 'bilinear',
    'DataConfig.mean': (0.485, 0.456, 0.406),
    'DataConfig.deviation': (0.229, 0.224, 0.225),
    'DataConfig.random_flip': True,
    'DataConfig.randaugment_exclude': (),
    'DataConfig.randaugment_fill': 'reflect',
    'LossConfig.smoothing': 'tf',
    'LossConfig.reduction': 'sum',
    'LossConfig.class_weights': None,
    'OptimizerConfig.beta_1': 0.9,
    'OptimizerConfig.beta_2': 0.999,
    'OptimizerConfig.epsilon': 1e-6,
    'OptimizerConfig.microbatches': 1,
    'OptimizerConfig.trainable': None,
    'OptimizerConfig.layer_decay': None,
    'OptimizerConfig.ema_dynamic_decay': True,
    'RunConfig.best_metric': None,
    'RunConfig.early_stopping_patience': None,
    'RunConfig.max_loss': None,
    'RunConfig.init_weights': None,
    'RunConfig.init_last_layer': True,
    'RunConfig.weights': None,
  }
)
# Of the pre-trainings with a sigmoid loss.
_SIGMOID_HEAD_BIAS = -10.0
_JFT_MAX_LABELS = 16
# Sec. 4.1 has 1.28 million images; these are the numbers of the data set.
# Those of the other two come with their records.
_IMAGENET1K_EXAMPLES = {'train': 1_281_167, 'eval': 50_000}
_SPLITS = {'train': 'train', 'eval': 'validation'}


@dataclasses.dataclass(frozen=True)
class Difference:
  """A setting that is not the paper's, or not our reading of it.

  Attributes:
    gin_file: Of the run.
    key: In gin files.
    value: What the file has.
    expected: What it should have.
    reading: Whether the paper is silent, and `expected` is ours.
  """

  gin_file: str
  key: str
  value: Any
  expected: Any
  reading: bool = False

  def __str__(self):
    whose = 'our reading of it' if self.reading else 'the paper'
    return (
      f'{self.gin_file}: {self.key} is {self.value!r}, but {whose} has '
      f'{self.expected!r}.'
    )


def check(root: str) -> tuple[list[Difference], int]:
  """Resolves the file of every run and compares it with the paper.

  Args:
    root: Folder that holds gin/.

  Returns:
    What differs, and how many settings were compared.

  Raises:
    gin_config.ConfigError: If a file is missing or does not resolve.
    LookupError: If a field of a configuration is neither compared nor free.
  """
  differences, count = [], 0
  for run in runs.all_runs().values():
    experiment = gin_config.load([run.gin_file], root=root)
    found, compared = compare(run, experiment)
    differences += found
    count += compared
  return differences, count


def compare(
  run: runs.Run, experiment: experiment_lib.Experiment
) -> tuple[list[Difference], int]:
  """Compares one run; returns and raises as `check`."""
  values = values_of(experiment)
  expected = {'printed': printed_values(run), 'reading': reading_values(run)}
  keys = {**expected['printed'], **expected['reading']}
  forgotten = [k for k in values if k not in keys and not _is_free(k)]
  if forgotten:
    raise LookupError(
      f'{", ".join(forgotten)}: neither compared with the paper nor free; say '
      'which, in analysis/paper/checks.py.'
    )
  differences = [
    Difference(run.gin_file, key, values[key], value, kind == 'reading')
    for kind, settings in expected.items()
    for key, value in settings.items()
    if values[key] != value
  ]
  return differences, len(keys)


def _is_free(key: str) -> bool:
  return key.removeprefix('train/').removeprefix('eval/') in FREE


def values_of(experiment: experiment_lib.Experiment) -> dict[str, Any]:
  """Returns every setting of an experiment by its key in gin files.

  The learning rate that `decay` = 'constant' ends with is its peak, whatever
  `min_learning_rate` says.
  """
  parts: dict[str, Any] = {
    'ModelConfig': experiment.model,
    'train/DataConfig': experiment.train_data,
    'eval/DataConfig': experiment.eval_data,
    'LossConfig': experiment.loss,
    'OptimizerConfig': experiment.optimizer,
    'RunConfig': experiment.run,
  }
  values = {
    f'{part}.{field.name}': _plain(getattr(config, field.name))
    for part, config in parts.items()
    for field in dataclasses.fields(config)
  }
  if experiment.optimizer.decay == 'constant':
    key = 'OptimizerConfig.min_learning_rate'
    values[key] = experiment.optimizer.peak_learning_rate
  return values


def _plain(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value


def printed_values(run: runs.Run) -> dict[str, Any]:
  """Returns what the paper prints of a run, by key in gin files.

  Where it prints nothing of a run (Figure 1 and Table 2), what the head of the
  gin file names.
  """
  column = table10.TABLE_10[run.column]
  data = 'imagenet1k' if run.fine_tunes else run.column.split('_')[0]
  num_classes, schema = table10.CLASSES[data]
  figure_1 = run.variant == 'Figure 1'
  # The networks of Figure 1 are of no column: the smallest stands for them.
  network = next(iter(column.stochastic_depth)) if figure_1 else _network(run)
  values = {
    'RunConfig.epochs': column.epochs,
    'RunConfig.train_steps': None,
    'RunConfig.init_checkpoint_required': run.fine_tunes,
    'LossConfig.name': column.loss,
    'LossConfig.label_smoothing': column.label_smoothing,
    'OptimizerConfig.peak_learning_rate': column.peak_learning_rate[network],
    **{
      f'OptimizerConfig.{field}': getattr(column, field)
      for field in (
        'min_learning_rate', 'warmup_steps', 'warmup_epochs', 'decay',
        'weight_decay', 'clip_norm', 'ema_decay',
      )
    },
    **_printed_augmentation(run, column, network=network),
    **_printed_model(run),
    'ModelConfig.num_classes': num_classes,
    'ModelConfig.stochastic_depth': 0.0
    if figure_1
    else column.stochastic_depth[network],
  }  # fmt: skip
  for split, name in _SPLITS.items():
    values[f'{split}/DataConfig.split'] = name
    values[f'{split}/DataConfig.center_crop'] = column.center_crop
    values[f'{split}/DataConfig.batch_size'] = column.batch_size
    values[f'{split}/DataConfig.num_classes'] = num_classes
    values[f'{split}/DataConfig.image_size'] = run.image_size
    values[f'{split}/DataConfig.schema'] = schema
    values[f'{split}/DataConfig.num_examples'] = (
      _IMAGENET1K_EXAMPLES[split] if data == 'imagenet1k' else None
    )
  if run.variant == 'PT-RA-E150' and not run.fine_tunes:
    values['RunConfig.epochs'] = table10.E150_EPOCHS
  if figure_1 and not run.fine_tunes:
    # "Without any regularization or augmentation".
    values['LossConfig.label_smoothing'] = 0.0
    values['OptimizerConfig.weight_decay'] = 0.0
    if data == 'jft':
      values['RunConfig.epochs'] = table10.FIGURE_1_JFT_EPOCHS
  return values


def _network(run: runs.Run) -> str:
  """'coatnet_2' of 'coatnet_2_v1'."""
  return '_'.join(run.model.split('_')[:2])


def _printed_augmentation(
  run: runs.Run, column: table10.Column, *, network: str
) -> dict[str, Any]:
  """That of training; evaluation has none."""
  exceptions = column.randaugment_exceptions
  randaugment = exceptions.get(
    run.variant, exceptions.get(network, column.randaugment)
  )
  mixup_alpha = column.mixup_alpha
  if run.variant == 'Figure 1':
    randaugment = mixup_alpha = None
  return {
    'train/DataConfig.randaugment': randaugment,
    'train/DataConfig.mixup_alpha': mixup_alpha,
    'eval/DataConfig.randaugment': None,
    'eval/DataConfig.mixup_alpha': None,
  }


def _printed_model(run: runs.Run) -> dict[str, Any]:
  """The network: Tables 3 and 11, and what a table of ablations changes."""
  printed = {size.model: size for size in tables.SIZES}.get(_network(run))
  layouts = {model: layout for layout, model in tables.FIGURE_1.items()}
  # Of the sizes of Figure 1 the paper prints nothing: they are ours.
  size = printed or sizes.get_size(run.model)
  return {
    f'ModelConfig.{field}': value
    for field, value in {
      'name': run.model,
      'image_size': run.image_size,
      'layout': layouts.get(run.model, 'C-C-T-T'),
      'blocks': size.blocks,
      'widths': size.widths,
      'head_size': size.head_size,
      # Table 3 and Eqs. 3 and 5.
      'downsample': 'expand_conv',
      'expansion': 4,
      'se_ratio': 0.25,
      'shortcut_pool': 'max',
      'relative_attention': 'pre_softmax',
      'norm': 'batch_norm',
      **dict(run.settings),
    }.items()
  }


def reading_values(run: runs.Run) -> dict[str, Any]:
  """Returns our readings of what the paper is silent about, likewise."""
  column = table10.TABLE_10[run.column]
  values = {}
  for key, value in _READINGS.items():
    for name in _of_splits(key):
      values[name] = value
  sigmoid = column.loss == 'sigmoid'
  values['ModelConfig.head_bias'] = _SIGMOID_HEAD_BIAS if sigmoid else 0.0
  several = run.column == 'jft_pretrain'
  for name in _of_splits('DataConfig.max_labels'):
    values[name] = _JFT_MAX_LABELS if several else 1
  return values


def _of_splits(key: str) -> list[str]:
  is_data = key.startswith('DataConfig.')
  return [f'{split}/{key}' for split in _SPLITS] if is_data else [key]
