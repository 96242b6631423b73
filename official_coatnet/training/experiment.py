"""An experiment: the model, the data, the loss, the optimizer and the run."""

import dataclasses
import json
from typing import Any

from official_coatnet import fields, kinds
from official_coatnet.data import config as data_config
from official_coatnet.modeling import config as model_config
from official_coatnet.training import optimizer, stages

WEIGHTS = ('ema', 'raw')
LOSSES = ('softmax', 'sigmoid')
SMOOTHINGS = ('tf', 'full')
REDUCTIONS = ('sum', 'mean')
METRICS = ('loss', 'top1', 'top5', 'precision_at_1', 'precision_at_5')
BALANCED = 'balanced'
TRACKERS = ('wandb', 'mlflow')
# Fields of a `DataConfig` that say what pixels mean to the network.
NORMALIZATION = ('mean', 'deviation')
PREPROCESSING = (*NORMALIZATION, 'interpolation')


_EMA = 'for EMA where there is one'


@fields.rules(
  name=kinds.Choice(LOSSES),
  label_smoothing=kinds.Number('[0, 1)'),
  smoothing=kinds.Choice(SMOOTHINGS),
  reduction=kinds.Choice(REDUCTIONS),
  class_weights=kinds.Either(
    (
      kinds.Several(
        kinds.Number('[0, inf)'),
        'a tuple of a number of at least 0 for each class, not all 0',
        together=any,
      ),
      kinds.Choice((BALANCED,)),
    ),
    none='for 1',
  ),
)
@dataclasses.dataclass(frozen=True)
class LossConfig:
  """The loss and its targets (Table 10).

  Attributes:
    name: 'softmax' or 'sigmoid'.
    label_smoothing: e. Softmax: t(1-e) + e/classes. Sigmoid: see `smoothing`.
    smoothing: Of the sigmoid loss: 'tf', t(1-e) + e/2 as TensorFlow's losses
      have it, or 'full', t(1-e) + e(1-t). The paper does not say.
    reduction: Of the sigmoid loss over classes: 'sum' or 'mean'.
    class_weights: How much an image of each class counts in the training loss:
      a tuple of a number for each class; 'balanced' for the mean number of
      images of a class over that of this one, which the manifest knows; None
      for 1. With mixup an image counts as its mixture of classes. Of the
      softmax loss, with one label an image. What is reported counts all images
      alike.
  """

  name: str = 'softmax'
  label_smoothing: float = 0.0
  smoothing: str = 'tf'
  reduction: str = 'sum'
  class_weights: tuple[float, ...] | str | None = None

  def __post_init__(self) -> None:
    fields.check(self)


@fields.rules(
  epochs=kinds.Number('[0, inf)', none='where `train_steps` says it'),
  train_steps=kinds.Whole(0, none='for `epochs`'),
  steps_per_loop=kinds.Whole(1, kinds.LARGEST_INT32),
  eval_interval_epochs=kinds.Number('[0, inf)', none='for only at the end'),
  eval_interval_steps=kinds.Whole(0, none='for `eval_interval_epochs`'),
  checkpoint_interval_steps=kinds.Whole(0, none='for each evaluation'),
  max_to_keep=kinds.Whole(1, kinds.LARGEST_INT32),
  keep_every_steps=kinds.Whole(1, none='for none'),
  keep_every_hours=kinds.Number('(0, inf)', none='for none'),
  async_checkpoint=kinds.Flag(),
  max_bad_steps=kinds.Whole(0, kinds.LARGEST_INT32),
  max_loss=kinds.Number('(0, inf)', none='for no limit'),
  stage_norms=kinds.Flag(),
  trackers=kinds.Several(
    kinds.Choice(TRACKERS),
    f'a tuple of {" and ".join(map(repr, TRACKERS))}, or of one of them, once',
    together=lambda names: len(set(names)) == len(names),
    lone=True,
  ),
  best_metric=kinds.Choice(METRICS, none='for no best checkpoint'),
  early_stopping_patience=kinds.Whole(1, none='for all steps'),
  init_checkpoint=kinds.Path(none='for weights at random'),
  init_checkpoint_required=kinds.Flag(),
  init_weights=kinds.Choice(WEIGHTS, none=_EMA),
  init_last_layer=kinds.Flag(),
  accept_other_data=kinds.Flag(),
  weights=kinds.Choice(WEIGHTS, none=_EMA),
  # What NumPy's generator takes.
  seed=kinds.Whole(0, 2**32 - 1),
  jit_compile=kinds.Flag(),
  allow_shared_images=kinds.Flag(),
)
@dataclasses.dataclass(frozen=True)
class RunConfig:
  """How long a run is and what it leaves behind.

  Attributes:
    epochs: Passes over the training data.
    train_steps: Steps; wins over `epochs`. None means `epochs`.
    steps_per_loop: Steps that the accelerator runs without the host.
    eval_interval_epochs: Epochs between evaluations; None: only at the end.
    eval_interval_steps: The same in steps; wins.
    checkpoint_interval_steps: Steps between checkpoints; None: at each
      evaluation and at the end.
    max_to_keep: Of the latest checkpoints, how many are kept.
    keep_every_steps: And the first at or after each multiple of so many steps.
    keep_every_hours: And the first, and each that is so many hours younger.
    async_checkpoint: Whether the run goes on as soon as a checkpoint is in the
      host's memory, if three times its size is free there, and a thread brings
      it to the folder. Else it waits until that is done.
    best_metric: By which evaluation's checkpoint to keep beside the latest ones
      as the best: 'loss', 'top1', 'top5' ('precision_at_1', 'precision_at_5' of
      several labels), or None. Where there is one, evaluation, export and
      `init_checkpoint` take it instead of the latest; a run resumes from the
      latest all the same.
    early_stopping_patience: Evaluations in a row without a better `best_metric`
      after which the run ends; None to take all steps. The learning rate falls
      as it would in the whole run.
    init_checkpoint: A model_dir or checkpoint to start the weights from.
    init_checkpoint_required: Whether the run refuses to start from random
      weights, as a fine-tuning should. Evaluation, a run that resumes and a dry
      run need no `init_checkpoint`.
    init_weights: Which weights of `init_checkpoint` to take: 'ema', 'raw', or
      None for EMA where there is one and raw weights elsewhere.
    init_last_layer: Whether the last layer is taken from there, too, if it has
      as many classes, as after ImageNet-1K alone. Where it has others the layer
      is new anyway.
    accept_other_data: Whether the run goes on with, is evaluated on, or keeps
      the last layer of `init_checkpoint` for data that are not those it was
      trained on: the same classes under other names, or repaired records. What
      differs is logged; without it the run does not start.
    weights: Which weights of this run evaluation and export use, likewise.
    seed: Of initial values, order of data, augmentation, stochastic depth.
    jit_compile: Whether XLA compiles the step on CPU and GPU (TPUs always do).
    max_bad_steps: Steps in a row that may be left out because their loss,
      gradient or update is not finite (or their loss above `max_loss`); such a
      step changes nothing. With 0 the first one stops the run. After more of
      them in a row the last checkpoint is restored, once, at the step where the
      run is, so that it goes on with other data; then the run stops.
    max_loss: Mean loss of a batch above which a step counts as one that is not
      finite, or None for no such limit.
    stage_norms: Whether TensorBoard gets norms of each stage after each loop:
      of the gradient of its last step, of the weights, and of how far these
      have moved since the loop before. The host reads all weights for it, and
      holds those of the loop before.
    trackers: Experiment trackers that are told the numbers of metrics.jsonl,
      too: 'wandb' (Weights & Biases), 'mlflow'. Their own environment variables
      say where they are; one that cannot be reached is done without.
    allow_shared_images: Whether images to evaluate on may be among those to
      train on, where the manifests of two builds say that they are.
  """

  epochs: float | None = None
  train_steps: int | None = None
  steps_per_loop: int = 100
  eval_interval_epochs: float | None = None
  eval_interval_steps: int | None = None
  checkpoint_interval_steps: int | None = None
  max_to_keep: int = 3
  keep_every_steps: int | None = None
  keep_every_hours: float | None = None
  async_checkpoint: bool = True
  best_metric: str | None = None
  early_stopping_patience: int | None = None
  init_checkpoint: str | None = None
  init_checkpoint_required: bool = False
  init_weights: str | None = None
  init_last_layer: bool = True
  accept_other_data: bool = False
  weights: str | None = None
  seed: int = 0
  jit_compile: bool = False
  max_bad_steps: int = 0
  max_loss: float | None = None
  stage_norms: bool = False
  trackers: tuple[str, ...] = ()
  allow_shared_images: bool = False

  def __post_init__(self) -> None:
    fields.check(self)
    if self.epochs is None and self.train_steps is None:
      raise ValueError(
        'Neither `epochs` nor `train_steps` is set; give one of them (EPOCHS '
        'or TRAIN_STEPS in a gin file).'
      )
    self._check_patience()

  def _check_patience(self) -> None:
    patience = self.early_stopping_patience
    if patience is None:
      return
    if self.best_metric is None:
      raise ValueError(
        f'`early_stopping_patience` is {patience}, but `best_metric` is None: '
        "set it to what has to become better, such as 'top1' or 'loss'."
      )
    if self.eval_interval_steps is None and self.eval_interval_epochs is None:
      raise ValueError(
        f'`early_stopping_patience` is {patience}, but the run evaluates at '
        'its end alone: set `eval_interval_epochs` or `eval_interval_steps`.'
      )


def check_weights(weights: str | None) -> None:
  """Raises ValueError unless `weights` is None, 'ema' or 'raw'."""
  if weights is not None and weights not in WEIGHTS:
    raise ValueError(
      f'`weights` is {weights!r}; it must be {" or ".join(WEIGHTS)}, or None '
      'for EMA where there is one.'
    )


def _part(cls: type) -> kinds.Part:
  name = cls.__name__
  return kinds.Part(cls, fix=f'In a gin file, @{name}() makes one.')


@fields.rules(
  model=_part(model_config.ModelConfig),
  train_data=_part(data_config.DataConfig),
  eval_data=_part(data_config.DataConfig),
  loss=_part(LossConfig),
  optimizer=_part(optimizer.OptimizerConfig),
  run=_part(RunConfig),
)
@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that a run is, but for the machine and the folder.

  Attributes:
    model: The network.
    train_data: What it is trained on.
    eval_data: What it is evaluated on.
    loss: Its loss.
    optimizer: Its optimizer.
    run: Its length and what it leaves behind.
  """

  model: model_config.ModelConfig
  train_data: data_config.DataConfig
  eval_data: data_config.DataConfig
  loss: LossConfig
  optimizer: optimizer.OptimizerConfig
  run: RunConfig

  def __post_init__(self) -> None:
    fields.check(self)
    for split in ('train_data', 'eval_data'):
      data = getattr(self, split)
      for field, macro, equal in (
        (
          'num_classes',
          'NUM_CLASSES',
          data.num_classes == self.model.num_classes,
        ),
        (
          'image_size',
          'IMAGE_SIZE',
          data.height_width == self.model.height_width,
        ),
      ):
        if not equal:
          raise ValueError(
            f'`{split}.{field}` is {getattr(data, field)}, `model.{field}` is '
            f'{getattr(self.model, field)}; they must be equal. Set both by '
            f'the macro {macro}.'
          )
    stages.check(self.optimizer, self.model)
    self._check_class_weights()
    for field in PREPROCESSING:
      train, evaluation = (
        getattr(data, field) for data in (self.train_data, self.eval_data)
      )
      if train != evaluation:
        raise ValueError(
          f'`train_data.{field}` is {train}, `eval_data.{field}` is '
          f'{evaluation}; they must be equal, or the network is evaluated on '
          f'what it was not trained on. Set both by DataConfig.{field}.'
        )

  def _check_class_weights(self) -> None:
    weights, classes = self.loss.class_weights, self.model.num_classes
    if weights is None:
      return
    if self.loss.name != 'softmax' or self.train_data.schema == 'multilabel':
      raise ValueError(
        '`loss.class_weights` is set, but it is for the softmax loss with one '
        f'label an image; this run has the loss {self.loss.name!r} and records '
        f'of schema {self.train_data.schema!r}. Set class_weights to None.'
      )
    if weights != BALANCED and len(weights) != classes:
      raise ValueError(
        f'`loss.class_weights` has {len(weights)} numbers, `model.num_classes` '
        f'is {classes}; give one for each class, in the order of the manifest '
        "(labels.txt), or 'balanced'."
      )

  @property
  def uses_ema(self) -> bool:
    """Whether evaluation and export use the average of the weights."""
    return self.optimizer.ema_decay is not None and self.run.weights != 'raw'

  def to_dict(self) -> dict[str, Any]:
    """Returns nested dicts of what JSON can hold."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
    return values

  @classmethod
  def from_dict(cls, values: dict[str, Any]) -> 'Experiment':
    """Inverse of `to_dict`."""
    types: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(cls)}
    return cls(
      **{
        name: types[name](**{k: _tuple(v) for k, v in part.items()})
        for name, part in values.items()
      }
    )


def _tuple(value: Any) -> Any:
  return tuple(_tuple(v) for v in value) if isinstance(value, list) else value
