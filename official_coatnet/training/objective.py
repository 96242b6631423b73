"""What is minimised and what is measured, for whoever runs the network.

The device half of the input, the losses and the metrics of trainer, evaluator
and the cost model (`analysis.tpu`). Losses are float32 and reduce over classes
only; metrics are pairs of values and weights, float32 [batch] each: a metric is
sum(values * weights) / sum(weights), so that padded batches, images left out
and examples without labels average exactly.
"""

import tensorflow as tf

from official_coatnet.data import config as data_config, device
from official_coatnet.training import experiment as experiment_lib


def normalize(
  config: experiment_lib.Experiment,
  images: tf.Tensor,
  *,
  dtype: tf.DType = tf.float32,
) -> tf.Tensor:
  """Makes of pixels what the network of an experiment was trained on.

  Whoever runs a trained network takes this: `device.normalize` alone does not
  know the experiment's mean and deviation.

  Args:
    config: The experiment. Its two splits have one mean and one deviation.
    images: [..., 3] pixels on the 0..255 scale, uint8 or floating.
    dtype: Floating type of the result.
  """
  data = config.eval_data
  return device.normalize(
    images, dtype, mean=data.mean, deviation=data.deviation
  )


def device_half(
  config: experiment_lib.Experiment,
  batch: dict[str, tf.Tensor],
  *,
  is_training: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Makes what the host does not ship: floats, multi-hot rows, mixtures.

  Args:
    config: The experiment.
    batch: As in `Trainer.train_step`, or a batch of evaluation, in which
      `weight` stands in place of `index` and `mixup_ratio`.
    is_training: Whether labels are smoothed, and images mixed.

  Returns:
    Images [b, height, width, 3] in the network's compute dtype, and targets,
    float32 [b, classes].
  """
  policy = tf.keras.mixed_precision.Policy(config.model.dtype)
  images = normalize(config, batch['image'], dtype=policy.compute_dtype)
  targets = device.multi_hot(batch['label'], config.model.num_classes)
  if not is_training:
    return images, targets
  smoothing = config.loss.label_smoothing
  if config.loss.name == 'softmax':
    targets = device.smooth_softmax(targets, smoothing)
  else:
    targets = device.smooth_sigmoid(
      targets, smoothing, mode=config.loss.smoothing
    )
  if 'mixup_ratio' in batch:
    images, targets = device.mixup(images, targets, batch['mixup_ratio'])
  return images, targets


def per_example_loss(
  config: experiment_lib.LossConfig, targets: tf.Tensor, *, logits: tf.Tensor
) -> tf.Tensor:
  """Returns the configured loss of each example, float32 [batch].

  Args:
    config: Which loss.
    targets: float32 [batch, classes], from `device_half`.
    logits: float32 [batch, classes].
  """
  if config.name == 'softmax':
    return softmax_cross_entropy(targets, logits)
  return sigmoid_cross_entropy(targets, logits, reduction=config.reduction)


def example_weights(
  config: experiment_lib.LossConfig, targets: tf.Tensor
) -> tf.Tensor | None:
  """Returns what each example counts by its class, float32 [batch].

  Args:
    config: Whose `class_weights` to take; None gives None.
    targets: float32 [batch, classes], from `device_half` in training: smoothed,
      and mixed.

  Raises:
    ValueError: If the weights are 'balanced', which `inputs.with_class_weights`
      makes numbers of.
  """
  if config.class_weights is None:
    return None
  if config.class_weights == experiment_lib.BALANCED:
    raise ValueError(
      "`loss.class_weights` is 'balanced': the numbers of images are not known "
      'here. Give a tuple of numbers, or None.'
    )
  weights = tf.constant(config.class_weights, tf.float32)
  smoothing = config.label_smoothing
  # Undone, or the weights of all other classes would have a part in it.
  shares = (targets - smoothing / weights.shape[0]) / (1.0 - smoothing)
  # Not a product of matrices, which a TPU would round.
  return tf.reduce_sum(shares * weights, axis=-1)


def softmax_cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """Returns -sum_c t_c log softmax(logits)_c, float32 [batch].

  Args:
    targets: float [batch, classes], each row summing to 1.
    logits: float [batch, classes].
  """
  return tf.nn.softmax_cross_entropy_with_logits(
    tf.cast(targets, tf.float32), tf.cast(logits, tf.float32)
  )


def sigmoid_cross_entropy(
  targets: tf.Tensor, logits: tf.Tensor, *, reduction: str = 'sum'
) -> tf.Tensor:
  """Returns the binary cross-entropy over classes, float32 [batch].

  Args:
    targets: float [batch, classes] in [0, 1].
    logits: float [batch, classes].
    reduction: 'sum' over classes, as big_vision does (DESIGN's reading; the
      paper is silent), or 'mean', as EfficientNetV2's code does.

  Raises:
    ValueError: If the reduction is unknown.
  """
  if reduction not in experiment_lib.REDUCTIONS:
    raise ValueError(
      f'`reduction` is {reduction!r}; it must be one of '
      f'{experiment_lib.REDUCTIONS}.'
    )
  losses = tf.nn.sigmoid_cross_entropy_with_logits(
    tf.cast(targets, tf.float32), tf.cast(logits, tf.float32)
  )
  if reduction == 'sum':
    return tf.reduce_sum(losses, axis=-1)
  return tf.reduce_mean(losses, axis=-1)


def precision_at_k(
  labels: tf.Tensor, logits: tf.Tensor, *, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Whether one of the k highest logits is among the labels of the example.

  With one label an example this is top-k accuracy; with several and k = 1 it is
  the paper's Precision@1 (Tables 2 and 6).

  Args:
    labels: int32 [batch, max_labels], padded with -1.
    logits: [batch, classes].
    k: Number of predictions looked at; at most the number of classes counts.

  Returns:
    Values (0 or 1) and weights (0 for an example without labels).
  """
  k = min(k, logits.shape[-1])
  # [batch, k]
  predictions = tf.math.top_k(tf.cast(logits, tf.float32), k).indices
  # [batch, max_labels, 1] == [batch, 1, k] -> [batch, max_labels, k]. The
  # padding, -1, equals no prediction.
  hits = labels[:, :, None] == predictions[:, None, :]
  values = tf.cast(tf.reduce_any(hits, axis=[1, 2]), tf.float32)
  weights = tf.cast(tf.reduce_any(labels >= 0, axis=1), tf.float32)
  return values, weights


def metric_names(schema: str) -> dict[str, int]:
  """Returns the metrics of a data set: name to k of `precision_at_k`."""
  if schema == 'multilabel':
    return {'precision_at_1': 1, 'precision_at_5': 5}
  return {'top1': 1, 'top5': 5}


class Metrics:
  """Means over the examples of a loop: the loss, and precision at k.

  Attributes:
    skipped: Counts the images that are left out.
  """

  def __init__(self, data: data_config.DataConfig, *, name: str):
    """Creates them. Call within the strategy's scope.

    Args:
      data: What is read.
      name: Of its part of the experiment, 'train_data' or 'eval_data'.
    """
    self._top_k = metric_names(data.schema)
    self._means = {
      mean: tf.keras.metrics.Mean(f'{name}_{mean}')
      for mean in ('loss', *self._top_k)
    }
    self.skipped = SkippedImages(data, name=name)

  def reset_state(self):
    """Starts all of them anew."""
    for metric in (*self._means.values(), self.skipped):
      metric.reset_state()

  def update_state(
    self,
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    losses: tf.Tensor,
    weight: tf.Tensor | None,
  ):
    """Adds a replica's examples, but for the count of what is left out.

    Args:
      labels: int32 [batch, max_labels], padded with -1.
      logits: [batch, classes].
      losses: float32 [batch].
      weight: float32 [batch], 0 for what does not count, or None.
    """
    self._means['loss'].update_state(losses, sample_weight=weight)
    for name, k in self._top_k.items():
      values, weights = precision_at_k(labels, logits, k=k)
      if weight is not None:
        weights *= weight
      self._means[name].update_state(values, sample_weight=weights)

  def results(self) -> dict[str, float]:
    """Returns the means by name, the loss first."""
    return {name: float(m.result()) for name, m in self._means.items()}


class SkippedImages:
  """Counts what `DataConfig.on_error` 'skip' leaves out, and sets its limit."""

  def __init__(self, data: data_config.DataConfig, *, name: str):
    """Creates the counter. Call within the strategy's scope.

    Args:
      data: What is read. Unless it skips images, nothing is done at all.
      name: Of its part of the experiment, for messages.
    """
    self._data = data
    self._name = name
    self._count = None
    if data.on_error == 'skip':
      self._count = tf.keras.metrics.Sum(f'{name}_skipped')

  def reset_state(self):
    """Starts the count anew."""
    if self._count is not None:
      self._count.reset_state()

  def update_state(self, batch: dict[str, tf.Tensor]) -> tf.Tensor | None:
    """Counts the images of a replica's batch that are left out.

    Returns:
      Weights, float32 [batch], 0 for what is left out; None if nothing ever is.
    """
    if self._count is None:
      return None
    self._count.update_state(batch['skipped'])
    return 1.0 - batch['skipped']

  def result(self) -> float:
    """Number of images left out since `reset_state`."""
    return 0.0 if self._count is None else float(self._count.result())

  def check(self, *, count: float, seen: int):
    """Holds a number of images that were left out to the limit.

    Args:
      count: Images that were left out.
      seen: Images, those among them, that the limit is a share of.

    Raises:
      ValueError: If there are more than `max_skipped` allows.
    """
    limit = self._data.max_skipped
    if self._count is not None and count > limit * seen:
      raise ValueError(
        f'`{self._name}`: {count:.0f} images do not decode, which is more than '
        f'a share of DataConfig.max_skipped = {limit} of {seen}. '
        '`tools/tfrecords.py validate` lists them; build the records again, or '
        'raise max_skipped.'
      )

  def results(self) -> dict[str, float]:
    """Returns `result` by its name; empty if none is ever left out."""
    return {} if self._count is None else {'skipped_images': self.result()}
