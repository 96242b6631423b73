"""Which stages of a network a run trains, and how fast each of its blocks.

For few images: `OptimizerConfig.trainable` leaves stages as they are, and
`OptimizerConfig.layer_decay` trains a block the slower, the further it is from
the head.
"""

import tensorflow as tf
from absl import logging

from official_coatnet.modeling import complexity, config as model_config
from official_coatnet.training import optimizer as optimizer_lib

HEAD = 'head'


def names(model: model_config.ModelConfig) -> tuple[str, ...]:
  """Returns the stages of a network: 's0' and on, and 'head'."""
  return (*(f's{i}' for i in range(len(model.stages))), HEAD)


def check(
  optimizer: optimizer_lib.OptimizerConfig, model: model_config.ModelConfig
):
  """Holds the optimizer's settings to the network.

  Raises:
    ValueError: If `trainable` names a stage that the network has not, or
      `layer_decay` has no block to act on.
  """
  chosen, known = optimizer.trainable, names(model)
  if chosen is None:
    return
  unknown = [name for name in chosen if name not in known]
  if unknown:
    raise ValueError(
      f'`optimizer.trainable` is {chosen!r}, but the network of layout '
      f'{model.layout!r} has no stage {unknown[0]!r}; it must be a tuple of '
      f"{', '.join(known)}, or 'all' (None)."
    )
  if chosen == (HEAD,) and optimizer.layer_decay is not None:
    raise ValueError(
      f'`optimizer.layer_decay` is {optimizer.layer_decay}, but '
      '`optimizer.trainable` is the head alone, whose rate it leaves as it is; '
      'set one of the two to None.'
    )


def is_frozen(name: str, trainable: tuple[str, ...] | None) -> bool:
  """Whether a layer, or a weight of that layer, keeps its values.

  Args:
    name: `<layer>` or `<layer>/<variable>`.
    trainable: As in `OptimizerConfig`.
  """
  layer = name.partition('/')[0]
  return trainable is not None and complexity.stage_of(layer) not in trainable


def freeze(model: tf.keras.Model, trainable: tuple[str, ...] | None):
  """Leaves out of `model.trainable_variables` what is not to be trained.

  A BatchNorm that is frozen normalises by its moving averages, and does not
  move them: Keras runs it as at inference. Call it before the network is
  traced.

  Args:
    model: From `network.classifier`.
    trainable: As in `OptimizerConfig`.
  """
  if trainable is None:
    return
  before = complexity.count_params(model)
  for layer in model.layers:
    if is_frozen(layer.name, trainable):
      layer.trainable = False
  logging.info(
    'Trained: %s, %.2f of %.2f M parameters; the others keep their values.',
    ', '.join(trainable),
    complexity.count_params(model) / 1e6,
    before / 1e6,
  )


def learning_rates(
  model: tf.keras.Model, decay: float | None
) -> dict[str, float] | None:
  """Returns what the learning rate of each layer is multiplied by.

  Args:
    model: From `network.classifier`.
    decay: As `OptimizerConfig.layer_decay`.

  Returns:
    Name of a layer to decay ** depth: 1 for the head, decay for the last block,
    and so on to the stem; None without a decay.
  """
  if decay is None:
    return None
  layers = [layer.name for layer in model.layers if layer.weights]
  blocks = [name for name in layers if complexity.stage_of(name) != HEAD]
  depths = {name: len(blocks) - i for i, name in enumerate(blocks)}
  return {name: decay ** depths.get(name, 0) for name in layers}


def start_problems(
  trainable: tuple[str, ...] | None, *, starts_at_random: bool
) -> list[str]:
  """Refuses to freeze what has learned nothing."""
  if trainable is None or not starts_at_random:
    return []
  return [
    f'`optimizer.trainable` is {trainable!r}, and the other stages would stay '
    'at random values for ever: set INIT_CHECKPOINT '
    '(RunConfig.init_checkpoint) to a pre-training, or trainable to None.'
  ]


def resume_problems(
  optimizer: optimizer_lib.OptimizerConfig,
  stored: optimizer_lib.OptimizerConfig,
  *,
  model_dir: str,
) -> list[str]:
  """Refuses to train other stages from the middle of a run.

  AdamW has moments of those alone that it trained, and corrects their bias by
  the steps of the whole run.
  """
  if set(optimizer.trainable or ()) == set(stored.trainable or ()):
    return []
  return [
    f'`optimizer.trainable` is {optimizer.trainable!r}, but the run in '
    f'{model_dir!r} trains {stored.trainable!r} (None: all stages), and has no '
    'moments of others. Set it back; or go on in a --model_dir of its own with '
    f"RunConfig.init_checkpoint = '{model_dir}'."
  ]


def check_new(new: list[str], trainable: tuple[str, ...] | None):
  """Refuses a new last layer that is frozen.

  Args:
    new: Names of the weights at their initial values, as in `transfer.Outcome`.
    trainable: As in `OptimizerConfig`.

  Raises:
    ValueError: If one of them would keep these values.
  """
  frozen = [name for name in new if is_frozen(name, trainable)]
  if frozen:
    raise ValueError(
      f'`optimizer.trainable` is {trainable!r}, but {", ".join(frozen)} are '
      "new and would stay at random values for ever; add 'head' to it, or "
      'start from a checkpoint with the same classes.'
    )
