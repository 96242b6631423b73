"""The runs that give the paper's results: their gin files, and a check of them.

A run is one gin file. `all_runs` lists those of every row of the paper and of
Figure 1, pre-trainings included; `check` resolves their files and compares each
hyper-parameter with Table 10; `chain` says which commands lead to a result.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from official_coatnet.analysis.paper import table10, tables
from official_coatnet.modeling import config as model_config
from official_coatnet.training import experiment as experiment_lib, gin_config

# Fields of `ModelConfig` of which the paper says nothing.
_FREE = ('dtype', 'head_bias', 'lookup', 'rematerialize')


@dataclasses.dataclass(frozen=True)
class Run:
  """What one gin file does.

  Attributes:
    gin_file: Its path in the repository.
    column: Of Table 10, such as 'jft_finetune'.
    model: Row of the size table.
    image_size: Side of the images, in pixels.
    variant: As in `paper.Result`; 'Figure 1' for the runs of that figure.
    settings: As in `paper.Result`.
    results: What the paper prints of it, possibly nothing.
  """

  gin_file: str
  column: str
  model: str
  image_size: int
  variant: str
  settings: tuple[tuple[str, Any], ...]
  results: tuple[tables.Result, ...] = ()

  @property
  def fine_tunes(self) -> bool:
    """Whether it starts from the weights of another run."""
    return self.column.endswith('_finetune')

  @property
  def name(self) -> str:
    """The name of the file, without folder and ending."""
    return self.gin_file.rsplit('/', 1)[1].removesuffix('.gin')


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


def all_runs() -> dict[str, Run]:
  """Returns the runs by gin file: those of all results, then of Figure 1."""
  runs = {}
  for result in tables.RESULTS:
    data = result.pretrained_on.removesuffix('300m')
    variant = result.variant if result.tables != ('2',) else 'Figure 1'
    pretraining = Run(
      result.pretraining_file,
      f'{data}_pretrain',
      result.model,
      224,
      variant,
      result.settings,
    )
    runs.setdefault(pretraining.gin_file, pretraining)
    if result.fine_tuned:
      fine_tuning = dataclasses.replace(
        pretraining,
        gin_file=result.gin_file,
        column=f'{data}_finetune',
        image_size=result.image_size,
      )
      runs.setdefault(fine_tuning.gin_file, fine_tuning)
    run = runs[result.gin_file]
    runs[run.gin_file] = dataclasses.replace(
      run, results=(*run.results, result)
    )
  for data in ('imagenet1k', 'jft'):
    for layout, model in tables.FIGURE_1.items():
      path = tables.figure_1_file(layout, data=data)
      run = Run(path, f'{data}_pretrain', model, 224, 'Figure 1', ())
      runs.setdefault(path, run)
  return runs


def chain(run: Run) -> list[tuple[str, str]]:
  """Returns (step, command) for each step that leads to the run's numbers.

  DATA and RUNS stand for folders; data sets are in DATA/imagenet1k,
  DATA/imagenet21k and DATA/jft.
  """
  steps = []
  data = run.column.split('_')[0]
  if run.fine_tunes:
    pretraining = all_runs()[run.results[0].pretraining_file]
    steps.append(('pre-train', _command(pretraining, data=data)))
    init = f' --gin_bindings="INIT_CHECKPOINT=\'RUNS/{pretraining.name}\'"'
    tune = _command(run, data='imagenet1k') + init
    steps.append(('fine-tune', tune))
    data = 'imagenet1k'
  else:
    steps.append(('pre-train', _command(run, data=data)))
  steps.append(('evaluate', f'{_command(run, data=data)} --mode=eval'))
  return steps


def _command(run: Run, *, data: str) -> str:
  return (
    f'python tools/train.py --gin_file={run.gin_file} '
    f'--model_dir=RUNS/{run.name} --gin_bindings="DATA_DIR=\'DATA/{data}\'"'
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
  for run in all_runs().values():
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


def expected_values(run: Run) -> dict[str, Any]:
  """Returns what the paper says of a run, by key in gin files.

  Where it says nothing of a run (Figure 1 and Table 2), the reading that the
  head of the gin file names.
  """
  column = table10.TABLE_10[run.column]
  data = 'imagenet1k' if run.fine_tunes else run.column.split('_')[0]
  num_classes, schema = table10.CLASSES[data]
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
    values['RunConfig.epochs'] = table10.E150_EPOCHS
  if figure_1 and not run.fine_tunes:
    # "Without any regularization or augmentation".
    values['LossConfig.label_smoothing'] = 0.0
    values['OptimizerConfig.weight_decay'] = 0.0
    if data == 'jft':
      values['RunConfig.epochs'] = table10.FIGURE_1_JFT_EPOCHS
  return values


def _expected_augmentation(
  run: Run, column: table10.Column, *, network: str
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


def _expected_model(run: Run, **settings) -> Mapping[str, Any]:
  config = model_config.ModelConfig(
    run.model, image_size=run.image_size, **settings, **dict(run.settings)
  )
  return {
    f'ModelConfig.{field.name}': getattr(config, field.name)
    for field in dataclasses.fields(config)
    if field.name not in _FREE
  }
