"""Table 10: the hyper-parameters that the paper prints, column by column.

And those of the data sets (Sec. 4.1). `check` resolves the gin file of each run
and compares every setting with them.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from official_coatnet.analysis.paper import runs
from official_coatnet.modeling import config as model_config
from official_coatnet.training import experiment as experiment_lib, gin_config

# Fields of `ModelConfig` of which the paper says nothing.
_FREE = ('dtype', 'head_bias', 'lookup', 'rematerialize')


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of Table 10.

  Attributes:
    stochastic_depth: By network; the networks are those of the column.
    peak_learning_rate: By network.
    min_learning_rate: At the end of the decay.
    center_crop: As printed.
    randaugment: (layers, magnitude), or None.
    mixup_alpha: None for no mixup.
    loss: 'softmax' or 'sigmoid'.
    label_smoothing: As printed.
    epochs: Of training.
    batch_size: Of training.
    warmup_steps: None where it is given in epochs, or there is none.
    warmup_epochs: None where it is given in steps, or there is none.
    decay: Of the learning rate; 'constant' where none is printed.
    weight_decay: Rate.
    clip_norm: Of the gradient.
    ema_decay: None for no average.
    randaugment_exceptions: By network or variant, where a note of the table
      has another RandAugment.
  """

  stochastic_depth: Mapping[str, float]
  peak_learning_rate: Mapping[str, float]
  min_learning_rate: float
  center_crop: bool
  randaugment: tuple[int, int] | None
  mixup_alpha: float | None
  loss: str
  label_smoothing: float
  epochs: int
  batch_size: int
  warmup_steps: int | None
  warmup_epochs: int | None
  decay: str
  weight_decay: float
  ema_decay: float | None
  clip_norm: float = 1.0
  randaugment_exceptions: Mapping[str, tuple[int, int]] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({})
  )


def _by_network(first: int, *values: float) -> Mapping[str, float]:
  """Values of CoAtNet-`first` and those after it."""
  return types.MappingProxyType(
    {f'coatnet_{first + i}': value for i, value in enumerate(values)}
  )


# The notes of the table: a diamond and a dagger.
_DIAMOND = types.MappingProxyType({'coatnet_3': (2, 20)})
_DAGGER = types.MappingProxyType({'PT-RA': (2, 5), 'PT-RA-E150': (2, 5)})

TABLE_10: Mapping[str, Column] = types.MappingProxyType(
  {
    'imagenet1k_pretrain': Column(
      stochastic_depth=_by_network(0, 0.2, 0.3, 0.5, 0.7),
      peak_learning_rate=_by_network(0, 1e-3, 1e-3, 1e-3, 1e-3),
      min_learning_rate=1e-5,
      center_crop=True,
      randaugment=(2, 15),
      mixup_alpha=0.8,
      loss='softmax',
      label_smoothing=0.1,
      epochs=300,
      batch_size=4096,
      warmup_steps=10_000,
      warmup_epochs=None,
      decay='cosine',
      weight_decay=0.05,
      ema_decay=None,
    ),
    'imagenet1k_finetune': Column(
      stochastic_depth=_by_network(0, 0.2, 0.3, 0.5, 0.7),
      peak_learning_rate=_by_network(0, 5e-5, 5e-5, 5e-5, 5e-5),
      min_learning_rate=5e-5,
      center_crop=False,
      randaugment=(2, 15),
      mixup_alpha=0.8,
      loss='softmax',
      label_smoothing=0.1,
      epochs=30,
      batch_size=512,
      warmup_steps=None,
      warmup_epochs=None,
      decay='constant',
      weight_decay=1e-8,
      ema_decay=0.9999,
      randaugment_exceptions=_DIAMOND,
    ),
    'imagenet21k_pretrain': Column(
      stochastic_depth=_by_network(2, 0.3, 0.5, 0.7),
      peak_learning_rate=_by_network(2, 1e-3, 1e-3, 1e-3),
      min_learning_rate=1e-5,
      center_crop=True,
      randaugment=None,
      mixup_alpha=None,
      loss='sigmoid',
      label_smoothing=1e-4,
      epochs=90,
      batch_size=4096,
      warmup_steps=None,
      warmup_epochs=5,
      decay='linear',
      weight_decay=0.01,
      ema_decay=None,
      randaugment_exceptions=_DAGGER,
    ),
    'imagenet21k_finetune': Column(
      stochastic_depth=_by_network(2, 0.3, 0.5, 0.7),
      peak_learning_rate=_by_network(2, 5e-5, 5e-5, 5e-5),
      min_learning_rate=5e-5,
      center_crop=False,
      randaugment=None,
      mixup_alpha=None,
      loss='softmax',
      label_smoothing=0.1,
      epochs=30,
      batch_size=1024,
      warmup_steps=None,
      warmup_epochs=None,
      decay='constant',
      weight_decay=1e-8,
      ema_decay=0.9999,
      randaugment_exceptions=_DAGGER,
    ),
    'jft_pretrain': Column(
      stochastic_depth=_by_network(3, 0.0, 0.1, 0.0),
      peak_learning_rate=_by_network(3, 1e-3, 5e-4, 5e-4),
      min_learning_rate=1e-5,
      center_crop=True,
      randaugment=(2, 5),
      mixup_alpha=None,
      loss='sigmoid',
      label_smoothing=1e-4,
      epochs=14,
      batch_size=4096,
      warmup_steps=20_000,
      warmup_epochs=None,
      decay='linear',
      weight_decay=0.01,
      ema_decay=None,
    ),
    'jft_finetune': Column(
      stochastic_depth=_by_network(3, 0.1, 0.3, 0.2),
      peak_learning_rate=_by_network(3, 5e-5, 5e-5, 5e-5),
      min_learning_rate=5e-5,
      center_crop=False,
      randaugment=(2, 5),
      mixup_alpha=None,
      loss='softmax',
      label_smoothing=0.1,
      epochs=30,
      batch_size=512,
      warmup_steps=None,
      warmup_epochs=None,
      decay='constant',
      weight_decay=1e-8,
      ema_decay=0.9999,
    ),
  }
)

# By the first word of a column: classes and schema of what is pre-trained on.
# Of ImageNet-21K we take the fall11 list; the paper gives no number.
CLASSES: Mapping[str, tuple[int, str]] = types.MappingProxyType(
  {
    'imagenet1k': (1000, 'imagenet'),
    'imagenet21k': (21841, 'imagenet'),
    'jft': (18291, 'multilabel'),
  }
)
# What Table 13 calls "E150".
E150_EPOCHS = 150
# Sec. 2.2: of the JFT runs of Figure 1.
FIGURE_1_JFT_EPOCHS = 3


@dataclasses.dataclass(frozen=True)
class Difference:
  """A hyper-parameter that is not the paper's."""

  gin_file: str
  key: str
  value: Any
  expected: Any

  def __str__(self):
    return (
      f'{self.gin_file}: {self.key} is {self.value!r}, but the paper has '
      f'{self.expected!r}.'
    )


def check(root: str) -> tuple[list[Difference], int]:
  """Resolves the file of every run and compares it with the paper.

  Args:
    root: Folder that holds gin/.

  Returns:
    What differs, and how many hyper-parameters were compared.

  Raises:
    gin_config.ConfigError: If a file is missing or does not resolve.
  """
  differences, count = [], 0
  for run in runs.all_runs().values():
    values = values_of(gin_config.load([run.gin_file], root=root))
    for key, expected in expected_values(run).items():
      count += 1
      if values[key] != expected:
        differences.append(Difference(run.gin_file, key, values[key], expected))
  return differences, count


def values_of(experiment: experiment_lib.Experiment) -> dict[str, Any]:
  """Returns every setting of an experiment by its key in gin files.

  The learning rate that `decay` = 'constant' ends with is its peak, whatever
  `min_learning_rate` says.
  """
  parts = {
    'ModelConfig': experiment.model,
    'train/DataConfig': experiment.train_data,
    'eval/DataConfig': experiment.eval_data,
    'LossConfig': experiment.loss,
    'OptimizerConfig': experiment.optimizer,
    'RunConfig': experiment.run,
  }
  values = {
    f'{part}.{field.name}': getattr(config, field.name)
    for part, config in parts.items()
    for field in dataclasses.fields(config)
  }
  if experiment.optimizer.decay == 'constant':
    key = 'OptimizerConfig.min_learning_rate'
    values[key] = experiment.optimizer.peak_learning_rate
  return values


def expected_values(run: runs.Run) -> dict[str, Any]:
  """Returns what the paper says of a run, by key in gin files.

  Where it says nothing of a run (Figure 1 and Table 2), the reading that the
  head of the gin file names.
  """
  column = TABLE_10[run.column]
  data = 'imagenet1k' if run.fine_tunes else run.column.split('_')[0]
  num_classes, schema = CLASSES[data]
  network = '_'.join(run.model.split('_')[:2])  # 'coatnet_2_v1' -> 'coatnet_2'
  figure_1 = run.variant == 'Figure 1'
  if figure_1:  # Its networks are of no column: the smallest stands for them.
    network = next(iter(column.stochastic_depth))
  values = {
    **_expected_augmentation(run, column, network=network),
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
  }  # fmt: skip
  for split in ('train', 'eval'):
    values[f'{split}/DataConfig.center_crop'] = column.center_crop
    values[f'{split}/DataConfig.batch_size'] = column.batch_size
    values[f'{split}/DataConfig.num_classes'] = num_classes
    values[f'{split}/DataConfig.image_size'] = run.image_size
    values[f'{split}/DataConfig.schema'] = schema
  depth = 0.0 if figure_1 else column.stochastic_depth[network]
  values |= _expected_model(
    run, num_classes=num_classes, stochastic_depth=depth
  )
  if run.variant == 'PT-RA-E150' and not run.fine_tunes:
    values['RunConfig.epochs'] = E150_EPOCHS
  if figure_1 and not run.fine_tunes:
    # "Without any regularization or augmentation".
    values['LossConfig.label_smoothing'] = 0.0
    values['OptimizerConfig.weight_decay'] = 0.0
    if data == 'jft':
      values['RunConfig.epochs'] = FIGURE_1_JFT_EPOCHS
  return values


def _expected_augmentation(
  run: runs.Run, column: Column, *, network: str
) -> dict[str, Any]:
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
  }


def _expected_model(run: runs.Run, **settings) -> Mapping[str, Any]:
  config = model_config.ModelConfig(
    run.model, image_size=run.image_size, **settings, **dict(run.settings)
  )
  return {
    f'ModelConfig.{field.name}': getattr(config, field.name)
    for field in dataclasses.fields(config)
    if field.name not in _FREE
  }
