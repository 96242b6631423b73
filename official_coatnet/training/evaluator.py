"""Exact evaluation: every image once, none dropped, none counted twice."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import orbit
import tensorflow as tf

from official_coatnet.training import (
  experiment as experiment_lib,
  objective,
  stop as stop_lib,
)

# Steps of a loop when the number of images is not known beforehand.
_BLIND_STEPS = 10


class Evaluator(orbit.AbstractEvaluator):
  """Runs a network over an evaluation set.

  The input ends in endless batches of weight zero, so that hosts with unequal
  shares of the images can all run the same number of steps. The evaluation ends
  with the first step that adds no image.
  """

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    model: tf.keras.Model,
    *,
    strategy: tf.distribute.Strategy,
    dataset: tf.distribute.DistributedDataset,
    expected_steps: int | None = None,
    weights: Callable[[], AbstractContextManager] = nullcontext,
    stop: stop_lib.Stop | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
  ):
    """Creates the evaluator. Call within the strategy's scope.

    Args:
      experiment: What is evaluated.
      model: From `network.classifier(..., draw_keys=True)`.
      strategy: Where it runs.
      dataset: Distributed batches of `pipeline.make_dataset` for evaluation.
      expected_steps: Steps that hold all images, if known.
      weights: Makes a context in which the model holds the weights to
        evaluate.
      stop: Says when to end before the last image; asked after each batch.
      progress: Called after each batch with how many are done, of how many.
    """
    self._progress = progress
    self._stop = stop or stop_lib.Stop()
    self._experiment = experiment
    self._model = model
    self._strategy = strategy
    self._dataset = dataset
    self._expected_steps = expected_steps
    self._weights = weights
    self._metrics = objective.Metrics(experiment.eval_data, name='eval_data')
    self._examples = tf.keras.metrics.Sum('examples')

  def evaluate(self, num_steps: tf.Tensor) -> dict[str, float]:
    """Evaluates the whole set.

    Args:
      num_steps: orbit's number of steps. Only -1, the whole set, has a meaning.

    Returns:
      The loss (without label smoothing), the metrics of
      `objective.metric_names` and the number of examples. Where images that do
      not decode are left out, 'skipped_images', their number: they are not
      among the examples.

    Raises:
      ValueError: If more images than `max_skipped` were left out.
      stop_lib.StoppedError: If it is to end.
    """
    del num_steps
    self._metrics.reset_state()
    self._examples.reset_state()
    iterator = iter(self._dataset)
    seen = -1.0
    steps = self._expected_steps or _BLIND_STEPS
    done = 0
    with self._weights():
      while (images := self._num_images()) != seen:
        seen = images
        for _ in range(steps):
          self._loop(iterator, tf.constant(1, tf.int32))
          done += 1
          # The last step, which adds no image, is none of them.
          if self._expected_steps is None or done <= self._expected_steps:
            self._progress(done, self._expected_steps)
          # The first batch compiles.
          self._stop.begin()
          self._stop.check()
        steps = 1 if self._expected_steps else _BLIND_STEPS
    results = self._metrics.results()
    results['examples'] = float(self._examples.result())
    skipped = self._metrics.skipped
    skipped.check(count=skipped.result(), seen=int(seen))
    return {**results, **skipped.results()}

  def _num_images(self) -> float:
    """Number of images so far, with those left out."""
    return float(self._examples.result()) + self._metrics.skipped.result()

  @tf.function
  def _loop(self, iterator, num_steps):
    for _ in tf.range(num_steps):
      # Without it the loop's variables would get a name scope of their own.
      with tf.name_scope(''):
        self._strategy.run(self.eval_step, args=(next(iterator),))

  def eval_step(self, batch: dict[str, tf.Tensor]):
    """Adds one batch of a replica to the metrics."""
    self.add_batch(batch)

  def add_batch(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """As `eval_step`; returns the logits, [batch, classes]."""
    config = self._experiment
    images, targets = objective.device_half(config, batch, is_training=False)
    keys = tf.zeros([tf.shape(images)[0]], tf.int32)
    logits = self._model({'image': images, 'draw_keys': keys}, training=False)
    self._metrics.update_state(
      batch['label'],
      logits,
      losses=objective.per_example_loss(config.loss, targets, logits=logits),
      weight=batch['weight'],
    )
    self._examples.update_state(batch['weight'])
    self._metrics.skipped.update_state(batch)  # Its weights are in `weight`.
    return logits
