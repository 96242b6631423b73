"""Images that are left out because they do not decode: weights and a count."""

import tensorflow as tf

from official_coatnet.data import config as data_config


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
