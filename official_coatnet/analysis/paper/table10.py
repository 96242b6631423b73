"""Table 10: the hyper-parameters that the paper prints, column by column.

And those of the data sets (Sec. 4.1). `checks` compares gin files with them.
"""

import dataclasses
import types
from collections.abc import Mapping


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
