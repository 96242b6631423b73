"""Evaluation class by class, and which classes are taken for which.

`Tally` counts on the host; `PerClassEvaluator` feeds it, one step at a time.
Every image counts once, as in any evaluation: padding and images left out do
not, nor do images without labels.

With one label an image a mistake has a name: the image is of one class, and
another one is the likeliest. With several labels it has none, since a class
that is missed is not missed in favour of a certain other one. Then there are
two kinds of precision and recall: of the likeliest class alone, which is the
paper's precision@1 class by class, and of all classes whose probability is
one half or more.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.data import device, sources as sources_lib
from official_coatnet.training import (
  evaluator as evaluator_lib,
  experiment as experiment_lib,
  objective,
)

# So many of the likeliest classes of an image are looked at.
TOP_K = 5
# A class of a sigmoid loss is said to be there from this probability on.
THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True)
class Mistakes:
  """The images whose likeliest class is not theirs, in order.

  Attributes:
    index: int64 [n], their numbers in the evaluation set, from 0, in the order
      of `streams.evaluation_records`.
    label: int32 [n], their classes.
    classes: int32 [n, k], the likeliest classes, best first.
    scores: float32 [n, k], their probabilities.
  """

  index: np.ndarray
  label: np.ndarray
  classes: np.ndarray
  scores: np.ndarray

  def pairs(self) -> list[tuple[int, int, np.ndarray]]:
    """Returns (class, what it is taken for, places here), most often first.

    The places of a pair start where the network was surest. Pairs that are as
    frequent are in the order of their classes.
    """
    predicted = self.classes[:, 0]
    order = np.lexsort((-self.scores[:, 0], predicted, self.label))
    both = np.stack([self.label, predicted], axis=1)[order]  # [n, 2]
    changes = np.flatnonzero(np.any(np.diff(both, axis=0), axis=1)) + 1
    groups = np.split(order, changes) if len(order) else []
    found = [(int(self.label[g[0]]), int(predicted[g[0]]), g) for g in groups]
    return sorted(found, key=lambda pair: -len(pair[2]))


class Tally:
  """Counts of an evaluation by class; each is int64 [classes].

  Attributes:
    experiment: What is evaluated.
    several_labels: Whether an image has several.
    step: Of the checkpoint; set by who evaluates, as is `source`.
    source: Where the images come from, if they are not made up.
    images: Images that have the class among their labels.
    right: Those of them whose likeliest class it is.
    right_in_top_k: Those of them that have it among the `TOP_K` likeliest.
    predicted: Images whose likeliest class it is.
    over: With several labels, images that have it with `THRESHOLD` or more.
    over_right: Those of them that have it among their labels.
  """

  def __init__(self, experiment: experiment_lib.Experiment):
    self.experiment = experiment
    schema = experiment.eval_data.schema
    self.several_labels = 'precision_at_1' in objective.metric_names(schema)
    self.step = 0
    self.source: sources_lib.Source | None = None
    self.reset()

  def reset(self):
    """Starts all counts anew."""
    self.images, self.predicted = self._zeros(), self._zeros()
    self.right, self.right_in_top_k = self._zeros(), self._zeros()
    self.over, self.over_right = self._zeros(), self._zeros()
    self._rows = 0
    self._mistakes: list[Mistakes] = []

  def _zeros(self) -> np.ndarray:
    return np.zeros([self.experiment.model.num_classes], np.int64)

  def _count(self, classes: np.ndarray) -> np.ndarray:
    return np.bincount(classes, minlength=self.experiment.model.num_classes)

  def add(self, part: Mapping[str, np.ndarray]):
    """Adds the batch of a replica; replicas in their order.

    Args:
      part: What `observe` returns, as arrays.
    """
    labels, classes = part['label'], part['classes']
    counts = (part['weight'] > 0) & np.any(labels >= 0, axis=1)  # [batch]
    # [batch, max_labels, 1] == [batch, 1, k]; the padding, -1, equals none.
    hits = labels[:, :, None] == classes[:, None, :]
    valid = counts[:, None] & (labels >= 0)  # [batch, max_labels]
    self.images += self._count(labels[valid])
    self.right += self._count(labels[valid & hits[..., 0]])
    self.right_in_top_k += self._count(labels[valid & hits.any(axis=2)])
    self.predicted += self._count(classes[counts, 0])
    if self.several_labels:
      self.over += part['over'].astype(np.int64)
      self.over_right += part['over_right'].astype(np.int64)
    else:
      wrong = np.flatnonzero(counts & ~hits[:, 0, 0])
      self._mistakes.append(
        Mistakes(
          self._rows + wrong,
          labels[wrong, 0],
          classes[wrong],
          part['scores'][wrong],
        )
      )
    self._rows += len(labels)

  @property
  def mistakes(self) -> Mistakes:
    """Those of all images; none where an image has several labels."""
    none, wide = np.zeros([0], np.int32), np.zeros([0, 1], np.int32)
    parts = self._mistakes or [Mistakes(none, none, wide, wide)]
    return Mistakes(
      *(
        np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Mistakes)
      )
    )


def check(*, mode: str, num_hosts: int = 1):
  """Raises ValueError where a run cannot be evaluated class by class."""
  if mode != 'eval':
    raise ValueError(
      f'The mode is {mode!r}; an evaluation class by class (--per_class) is '
      "one of mode 'eval'."
    )
  if num_hosts > 1:
    raise ValueError(
      f'The run is on {num_hosts} hosts; an evaluation class by class '
      '(--per_class) is on one, which knows the order of all images. Evaluate '
      'on one machine, or on a TPU of one host.'
    )


def observe(
  batch: Mapping[str, tf.Tensor], logits: tf.Tensor, *, tally: Tally
) -> dict[str, tf.Tensor]:
  """Returns what a `Tally` counts of a batch: little, whatever the classes.

  Args:
    batch: Of evaluation.
    logits: [batch, classes].
    tally: Says what it wants.

  Returns:
    'label' and 'weight' of the batch; 'classes', int32 [batch, k], and
    'scores', float32 [batch, k], of the likeliest classes, best first; and with
    several labels 'over' and 'over_right', float32 [classes].
  """
  logits = tf.cast(logits, tf.float32)
  sigmoid = tally.experiment.loss.name == 'sigmoid'
  scores = tf.sigmoid(logits) if sigmoid else tf.nn.softmax(logits)
  # Of the logits: large ones have the same score.
  classes = tf.math.top_k(logits, min(TOP_K, logits.shape[-1])).indices
  found = {
    'label': batch['label'],
    'weight': batch['weight'],
    'classes': classes,
    'scores': tf.gather(scores, classes, batch_dims=1),
  }
  if tally.several_labels:
    targets = device.multi_hot(batch['label'], logits.shape[-1])
    labelled = tf.reduce_max(targets, axis=1) * batch['weight']
    over = tf.cast(scores >= THRESHOLD, tf.float32) * labelled[:, None]
    found['over'] = tf.reduce_sum(over, axis=0)
    found['over_right'] = tf.reduce_sum(over * targets, axis=0)
  return found


class PerClassEvaluator(evaluator_lib.Evaluator):
  """An evaluator that fills a `Tally`, too; on one host."""

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    model: tf.keras.Model,
    *,
    tally: Tally,
    **kwargs,
  ):
    """Creates it; `tally` is filled anew by each evaluation."""
    super().__init__(experiment, model, **kwargs)
    self._tally = tally

  def evaluate(self, num_steps: tf.Tensor) -> dict[str, float]:
    self._tally.reset()
    return super().evaluate(num_steps)

  def _loop(self, iterator, num_steps):
    for _ in range(int(num_steps)):
      for part in self._parts(self._step(iterator)):
        self._tally.add(part)

  def _parts(self, outputs) -> Sequence[dict[str, np.ndarray]]:
    """Returns what each replica has observed, in their order."""
    columns = {
      name: self._strategy.experimental_local_results(value)
      for name, value in outputs.items()
    }
    count = self._strategy.num_replicas_in_sync
    return [
      {name: values[i].numpy() for name, values in columns.items()}
      for i in range(count)
    ]

  @tf.function
  def _step(self, iterator):
    return self._strategy.run(self._observe, args=(next(iterator),))

  def _observe(self, batch):
    return observe(batch, self.add_batch(batch), tally=self._tally)
