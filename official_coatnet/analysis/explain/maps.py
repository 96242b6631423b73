"""Where a network looks: attention, and what counts for a class.

All numbers are the network's own. Attention is computed from what each layer is
given while the network runs, by the layer's `attention_weights`: the reference,
whatever implementation the network has. The map of a class is Grad-CAM
(Selvaraju et al., arXiv:1610.02391).
"""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.export import serving
from official_coatnet.modeling import attention, blocks, complexity
from official_coatnet.modeling.implementations import reference

# Positions a side from which on a map shows where something is.
_FINE = 6


def attention_layers(
  model: tf.keras.Model,
) -> dict[str, attention.RelativeAttention]:
  """Returns the attention layers of a network by block, in their order.

  Args:
    model: Of `network.classifier` or `network.backbone`, of any family.

  Returns:
    Such as {'s3_block0': layer, ...}; none for a network of convolutions.
  """
  return {
    layer.name: layer.attention
    for layer in model.layers
    if isinstance(layer, blocks.TransformerBlock)
  }


def choose_blocks(
  model: tf.keras.Model, names: Sequence[str] = ()
) -> list[str]:
  """Returns the blocks that names stand for.

  Args:
    model: As of `attention_layers`.
    names: Of blocks, such as 's3_block0', or of stages, such as 's3', which
      stands for its last block. None: the last of each stage with attention,
      S3 and S4 of the paper's networks.

  Raises:
    ValueError: If there is no such block, or it has no attention.
  """
  layers = attention_layers(model)
  if not layers:
    raise ValueError(
      f'The network {model.name!r} has no attention: all of its blocks are '
      'convolutions.'
    )
  last = {complexity.stage_of(name): name for name in layers}
  chosen = []
  for name in names or last:
    block = last.get(name, name)
    if block not in layers:
      raise ValueError(_why_not(model, name, list(layers)))
    if block not in chosen:
      chosen.append(block)
  return chosen


def _why_not(model, name: str, known: list[str]) -> str:
  of_model = {layer.name for layer in model.layers}
  stages = {complexity.stage_of(each) for each in of_model}
  reason = f'there is no such block or stage in the network {model.name!r}'
  if name in of_model | stages:
    reason = 'it is of convolutions and has no attention'
  return (
    f"`blocks` names '{name}': {reason}. Those with attention are "
    f'{", ".join(known)}, or by stage '
    f'{", ".join(dict.fromkeys(map(complexity.stage_of, known)))}.'
  )


class _Recorder(reference.Reference):
  """Stands for the implementation of a layer, and keeps its weights."""

  def __init__(self, layer: attention.RelativeAttention):
    self.inner = layer.implementation
    self.weights: tf.Tensor | None = None

  def attend(self, attention, x, *, training):
    self.weights = attention.attention_weights(x, training=training)
    return self.inner.attend(attention, x, training=training)


@contextlib.contextmanager
def _recording(
  layers: dict[str, attention.RelativeAttention],
) -> Iterator[dict[str, _Recorder]]:
  """Within it, layers leave what they weigh by."""
  recorders = {name: _Recorder(layer) for name, layer in layers.items()}
  try:
    for name, layer in layers.items():
      layer.implementation = recorders[name]
    yield recorders
  finally:
    for name, layer in layers.items():
      layer.implementation = recorders[name].inner


def attention_weights(
  model: tf.keras.Model, images: tf.Tensor, *, names: Sequence[str] = ()
) -> dict[str, tf.Tensor]:
  """Returns how blocks weigh positions against each other.

  Runs eagerly: not within a `tf.function`.

  Args:
    model: As of `attention_layers`.
    images: float [batch, height, width, 3], normalised.
    names: As of `choose_blocks`.

  Returns:
    By block [batch, heads, query, key], float32 at least. Queries and keys are
    positions of the block's grid, row by row (`RelativeAttention.grid`). Over
    the keys they sum to 1, but with `relative_attention='post_softmax'`.

  Raises:
    ValueError: As of `choose_blocks`.
  """
  layers = attention_layers(model)
  wanted = {name: layers[name] for name in choose_blocks(model, names)}
  with _recording(wanted) as recorders:
    model(images, training=False)
  return {name: recorder.weights for name, recorder in recorders.items()}


def mean_or_row(
  weights: np.ndarray,
  grid: tuple[int, int],
  *,
  query: tuple[float, float] | None = None,
) -> np.ndarray:
  """Returns how much is looked at each position.

  Args:
    weights: [..., query, key].
    grid: Height and width of the positions.
    query: From where: parts of the width and of the height, from the upper left
      corner, each in [0, 1]. None for the mean over all positions.

  Returns:
    [..., height, width].
  """
  if query is None:
    row = weights.mean(axis=-2)
  else:
    across, down = cell(query, grid)
    row = weights[..., down * grid[1] + across, :]
  # [..., key] -> [..., height, width]
  return row.reshape([*weights.shape[:-2], *grid])


def cell(query: tuple[float, float], grid: tuple[int, int]) -> tuple[int, int]:
  """Returns the column and the row of a grid that a place lies in."""
  height, width = grid
  across, down = query
  return min(int(across * width), width - 1), min(
    int(down * height), height - 1
  )


def least_even(weights: np.ndarray, count: int) -> list[int]:
  """Returns the heads whose attention is least spread out, in their order.

  Args:
    weights: [heads, query, key].
    count: Of heads; as many as there are if there are fewer.
  """
  positive = np.maximum(weights, np.finfo(weights.dtype).tiny)
  # Entropy, of the mean query: [heads, query, key] -> [heads]
  entropy = -(positive * np.log(positive)).sum(-1).mean(-1)
  order = np.argsort(entropy, kind='stable')
  return sorted(order[:count].tolist())


def class_map(
  model: tf.keras.Model,
  images: tf.Tensor,
  *,
  stage: str,
  class_ids: Sequence[int] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns what speaks for a class, and where: Grad-CAM.

  The features of a stage are summed over the channels, each channel times the
  mean over positions of the gradient of the class's logit. Of the last stage,
  over which the head of the paper's network averages, the value of a position
  is what the logit gains, in first order, when the features there grow. Such a
  map sums to 0, but for an epsilon: the head's norm takes the scale away.

  Args:
    model: Of `network.classifier`, of any family.
    images: float [batch, height, width, 3], normalised.
    stage: Whose features, such as 's4'.
    class_ids: Of each image; None for its likeliest class.

  Returns:
    float32 at least [batch, height, width] of the stage's grid, below 0 where
    something speaks against the class; and the logits, [batch, classes].

  Raises:
    ValueError: If there is no such stage.
  """
  check_stage(model, stage)
  probe = serving.representations(model)
  images = tf.convert_to_tensor(images)
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(images)
    outputs = probe(images, training=False)
    if class_ids is None:
      class_ids = tf.argmax(outputs['logits'], axis=1)
    # [batch, classes] -> [batch]
    chosen = tf.gather(outputs['logits'], class_ids, axis=1, batch_dims=1)
  features = outputs[stage]
  # Images do not depend on each other, so the gradient of the sum is of each.
  gradient = tape.gradient(chosen, features)
  features, gradient = (
    tf.cast(each, outputs['logits'].dtype) for each in (features, gradient)
  )
  # [batch, height, width, channels] -> [batch, 1, 1, channels]
  factors = tf.reduce_mean(gradient, axis=[1, 2], keepdims=True)
  return tf.reduce_sum(factors * features, axis=-1), outputs['logits']


def check_stage(model: tf.keras.Model, stage: str) -> None:
  """Raises ValueError if the network has no such stage."""
  known = stages(model)
  if stage not in known:
    raise ValueError(
      f'`stage` is {stage!r}; the stages of the network {model.name!r} are '
      f'{", ".join(known)}.'
    )


def stages(model: tf.keras.Model) -> dict[str, tuple[int, int]]:
  """Returns height and width of what each stage gives, the stem's first."""
  outputs = serving.representations(model).output
  return {
    name: tuple(outputs[name].shape[1:3])
    for name in sorted(outputs.keys() - {'logits', 'features'})
  }


def choose_stage(model: tf.keras.Model) -> str:
  """Returns the last stage whose map is fine enough to be looked at.

  S4 at 224 pixels, which gives 7x7. Of small images an earlier one.
  """
  fine = [name for name, grid in stages(model).items() if min(grid) >= _FINE]
  return fine[-1] if fine else 's0'
