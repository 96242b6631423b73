"""Explains what an export answers: where it looks, and what it goes by.

explainer = explanation.Explainer('runs/demo/export/1')
found = explainer(encoded)       # the bytes of a JPEG or PNG
pictures.draw(found, 'photo.explained.png')
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.analysis.explain import maps
from official_coatnet.export import preprocessing, rebuilding, versions
from official_coatnet.training import objective

# Heads that are shown where none are chosen, and classes that are named.
_HEADS = 3
_CLASSES = 5
# How far the rebuilt network's probabilities may be from the export's: other
# kernels round otherwise.
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Options:
  """What is shown.

  Attributes:
    blocks: Whose attention, as of `maps.choose_blocks`; () for the last block
      of each stage that has attention.
    heads: Which of its heads; () for the three whose attention is least even.
    query: From which position, as of `maps.mean_or_row`; None for the mean over
      all positions.
    stage: Whose features the map of the class is of; None for that of
      `maps.choose_stage`.
  """

  blocks: tuple[str, ...] = ()
  heads: tuple[int, ...] = ()
  query: tuple[float, float] | None = None
  stage: str | None = None

  def __post_init__(self) -> None:
    if self.query is not None and not all(0 <= v <= 1 for v in self.query):
      raise ValueError(
        f'`query` is {self.query}; it must be two numbers from 0 to 1, parts '
        'of the width and of the height of the image, such as 0.5,0.25.'
      )


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
  """What a block looks at.

  Attributes:
    mean: Mean over its heads, [height, width]; sums to 1 with a softmax.
    heads: Number of a head to its own, likewise.
  """

  mean: np.ndarray
  heads: Mapping[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Explanation:
  """Of one image.

  Attributes:
    pixels: uint8 [height, width, 3], as the network sees them.
    predictions: Classes with probabilities, best first.
    stage: Whose features `class_map` is of.
    class_map: Of the best class, float32 [height, width] (`maps.class_map`).
    attention: By block.
    query: From where it looks, as of `Options`.
  """

  pixels: np.ndarray
  predictions: Sequence[tuple[str, float]]
  stage: str
  class_map: np.ndarray
  attention: Mapping[str, AttentionMaps]
  query: tuple[float, float] | None


class Explainer:
  """Explains images one after the other.

  Attributes:
    path: The export.
    model: Its network, as of `rebuilding.rebuild`.
    experiment: What that was trained by.
  """

  def __init__(self, path: str, options: Options | None = None):
    """Builds the network of an export.

    Args:
      path: The export, a SavedModel.
      options: What is shown.

    Raises:
      ValueError: If the network cannot be built, or does not have what the
        options name.
    """
    self.path = path
    self.model, self.experiment = rebuilding.rebuild(path)
    self._options = options or Options()
    self._blocks = maps.choose_blocks(self.model, self._options.blocks)
    self._stage = self._options.stage or maps.choose_stage(self.model)
    maps.check_stage(self.model, self._stage)
    self._layers = maps.attention_layers(self.model)
    for block in self._blocks:
      self._check_heads(block)
    self._names = versions.read_labels(
      os.path.join(path, versions.LABELS_FILE),
      num_classes=self.experiment.model.num_classes,
    )

  def _check_heads(self, block: str):
    count = self._layers[block].num_heads
    for head in self._options.heads:
      if not 0 <= head < count:
        raise ValueError(
          f'`heads` names {head}, but {block} has {count} heads, 0 to '
          f'{count - 1}.'
        )

  def __call__(
    self, encoded: bytes, *, answer: Sequence[tuple[str, float]] | None = None
  ) -> Explanation:
    """Explains an image.

    Args:
      encoded: As the export takes it (`prediction.Predictor.convert`).
      answer: What the export says of it; None not to compare.

    Raises:
      ValueError: If the network does not say what the export has said.
      tf.errors.InvalidArgumentError: If the image does not decode.
    """
    pixels, _ = preprocessing.decode_batch(
      tf.constant([encoded]), self.experiment
    )
    images = objective.normalize(self.experiment, pixels)
    class_map, logits = maps.class_map(self.model, images, stage=self._stage)
    predictions = self._name(logits[0])
    self._compare(predictions, answer)
    return Explanation(
      pixels=pixels[0].numpy(),
      predictions=predictions,
      stage=self._stage,
      class_map=class_map[0].numpy(),
      attention=self._attention(images),
      query=self._options.query,
    )

  def _attention(self, images: tf.Tensor) -> dict[str, AttentionMaps]:
    found = maps.attention_weights(self.model, images, names=self._blocks)
    attention = {}
    for block, values in found.items():
      weights = values[0].numpy()  # [heads, query, key]
      by_head = maps.mean_or_row(
        weights, self._layers[block].grid, query=self._options.query
      )
      heads = self._options.heads or maps.least_even(weights, _HEADS)
      attention[block] = AttentionMaps(
        mean=by_head.mean(axis=0), heads={head: by_head[head] for head in heads}
      )
    return attention

  def _name(self, logits: tf.Tensor) -> list[tuple[str, float]]:
    is_sigmoid = self.experiment.loss.name == 'sigmoid'
    values = tf.sigmoid(logits) if is_sigmoid else tf.nn.softmax(logits)
    order = tf.math.top_k(logits, min(_CLASSES, logits.shape[0])).indices
    return [(self._names[i], float(values[i])) for i in order.numpy()]

  def _compare(self, predictions, answer):
    if answer is None:
      return
    ours, theirs = predictions[0][1], float(answer[0][1])
    if abs(ours - theirs) > _TOLERANCE:
      raise ValueError(
        f'The network that was built from {self.path!r} gives '
        f'{predictions[0][0]!r} a probability of {ours:.4f}, the export itself '
        f'{theirs:.4f} to {answer[0][0]!r}: its files are not of one export, '
        'or this version builds another network. Export the run again by '
        'tools/export.py.'
      )
