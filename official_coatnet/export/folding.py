"""The network that is served: the trained one without its BatchNorms.

At inference a BatchNorm is a product and a sum by channel, y = scale x + shift,
and so is part of a convolution that stands beside it:

    after a convolution (stem, expand, depthwise)
        scale (W x + b) + shift  =  (W scale) x + (b scale + shift)
    before one (the pre-norm of a MBConv block)
        W (scale x + shift) + b  =  (W scale) x + (W shift + b)

The second holds because that convolution is 1x1: at no position does it see
padding, which is zero after the BatchNorm and not before it, and it sees whole
positions whatever its stride. The identity branch of a block takes the raw x,
and does not change.

What stands here goes by the names of the weights, which a checkpoint has too,
and not by the graph: `norm='none'` makes the same network without BatchNorms
and with a bias in each convolution. In it, layer and GELU meet, and
`implementation='onednn'` has oneDNN compute both in one pass.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from official_coatnet.modeling import (
  config as config_lib,
  families,
  network,
)
from official_coatnet.training import checkpoints

# A BatchNorm's name, the layers that absorb it, and whether the BatchNorm comes
# before them. Those of the last three lines are BatchNorms in one family alone,
# where nothing stands between but a mean over positions, which may change
# places with a product and a sum by channel.
_ABSORBED_BY = (
  (r'norm(\d+)', (r'conv\1',), False),
  (r'pre_norm', ('expand_conv',), True),
  (r'expand_norm', ('expand_conv',), False),
  (r'depthwise_norm', ('depthwise_conv',), False),
  (
    r'attention_norm',
    ('attention/query', 'attention/key', 'attention/value'),
    True,
  ),
  (r'ffn_norm', ('ffn_expand',), True),
  (r'head_norm', ('logits',), True),
)
# What marks a BatchNorm among the weights.
_MARK = '/moving_variance'
# With the epsilon of the family's transformer.
_TRANSFORMER_NORMS = ('attention_norm', 'ffn_norm', 'head_norm')


def pays(config: config_lib.ModelConfig) -> bool:
  """Whether folding makes an export faster by 5 % or more.

  Where the order of a family leaves some norms, it does not: 1.05 times for one
  image and 1.03 for eight, of `timm_coatnet_0_rw` on one thread. The numbers of
  the trained network are then worth more.
  """
  return not families.get_family(config.family).unfolded


def fold_classifier(
  model: tf.keras.Model,
  config: config_lib.ModelConfig,
  *,
  implementation: str = 'onednn',
) -> tf.keras.Model:
  """Builds the network that computes what `model` does at inference, faster.

  Args:
    model: From `network.classifier(config)`, with its weights. It stays as it
      is, and shares nothing with the result.
    config: What it was built from.
    implementation: Of the folded network.

  Returns:
    A model from images, [batch, height, width, 3], to logits, [batch, classes],
    without BatchNorm and stochastic depth. It is for inference only. Weights
    that no BatchNorm touches are those of `model` to the bit.

  Raises:
    ValueError: If `config` is another network's.
  """
  weights = {
    name: variable.numpy()
    for name, variable in checkpoints.named_weights(model).items()
  }
  if config.norm == 'batch_norm':
    weights = fold_weights(
      weights, epsilon=config.batch_norm_epsilon, family=config.family
    )
  folded = network.classifier(
    inference_config(config, implementation=implementation)
  )
  variables = checkpoints.named_weights(folded)
  differences = sorted(set(weights) ^ set(variables))
  if differences:
    raise ValueError(
      f'`config` is not the one that {model.name!r} was built from: the '
      f'weights of one alone are {differences}.'
    )
  for name, variable in variables.items():
    variable.assign(weights[name].astype(variable.dtype.as_numpy_dtype))
  return folded


def inference_config(
  config: config_lib.ModelConfig, *, implementation: str = 'onednn'
) -> config_lib.ModelConfig:
  """Returns what `fold_classifier` builds for a trained network's `config`.

  LayerNorms (`norm='layer_norm'`) stay: their statistics are those of the
  example, and no convolution can absorb them.
  """
  return dataclasses.replace(
    config,
    norm='none' if config.norm == 'batch_norm' else config.norm,
    implementation=implementation,
    stochastic_depth=0.0,
  )


def fold_weights(
  weights: Mapping[str, np.ndarray],
  *,
  epsilon: float,
  family: str = families.PAPER,
) -> dict[str, np.ndarray]:
  """Folds all BatchNorms into kernels and biases, as far as their order allows.

  Args:
    weights: By name, as `checkpoints.named_weights` and `StoredWeights` give
      them, of a network with `norm='batch_norm'`.
    epsilon: What the BatchNorms of convolutions add to the variance.
    family: Of the network. Of a norm that no convolution can absorb, a factor
      and a term are left, under the names `gamma` and `beta`.

  Returns:
    The weights by name of the same network with `norm='none'`: those of the
    BatchNorms are gone, and each layer that absorbed one has a bias. What
    changed is in float64, for the caller to round; the rest is as it was.

  Raises:
    ValueError: If there is a BatchNorm that no layer can absorb.
  """
  row = families.get_family(family)
  folded = dict(weights)
  for name in weights:
    if not name.endswith(_MARK):
      continue
    norm = name.removesuffix(_MARK)
    own_name = norm.rpartition('/')[2]
    in_transformer = own_name in _TRANSFORMER_NORMS
    scale, shift = _pop_norm(
      folded, norm, row.transformer_norm_epsilon if in_transformer else epsilon
    )
    if own_name in row.unfolded:
      folded[f'{norm}/gamma'], folded[f'{norm}/beta'] = scale, shift
      continue
    layers, before = _find_layers(norm)
    for layer in layers:
      _absorb(folded, layer, norm=norm, before=before, by=(scale, shift))
  return folded


def _pop_norm(
  weights: dict[str, np.ndarray], norm: str, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
  """Takes a BatchNorm out of `weights`; its factor and term by channel."""

  def pop(kind):
    return weights.pop(f'{norm}/{kind}').astype(np.float64)

  scale = pop('gamma') / np.sqrt(pop('moving_variance') + epsilon)
  return scale, pop('beta') - pop('moving_mean') * scale


def _absorb(
  weights: dict[str, np.ndarray],
  layer: str,
  *,
  norm: str,
  before: bool,
  by: tuple[np.ndarray, np.ndarray],
):
  """Changes, in `weights`, a layer so that it has done the norm's work."""
  scale, shift = by
  kernel_name = next(
    (
      name
      for name in (f'{layer}/kernel', f'{layer}/depthwise_kernel')
      if name in weights
    ),
    None,
  )
  if kernel_name is None:
    raise ValueError(
      f'The weights of the BatchNorm {norm!r} are there, but not the kernel of '
      f'{layer!r}, which is to absorb it. Are they those of one network?'
    )
  kernel = weights[kernel_name].astype(np.float64)
  bias = weights.get(f'{layer}/bias', 0.0)
  if before:
    # Of a convolution [1, 1, channels, outputs], else [channels, ...].
    inner = kernel[0, 0] if kernel.ndim == 4 else kernel
    if kernel.ndim == 4 and kernel.shape[:2] != (1, 1):
      raise ValueError(
        f'{kernel_name!r} is {list(kernel.shape)}; only a 1x1 convolution can '
        f'absorb {norm!r}, which comes before it: any other sees padding.'
      )
    # [channels] with [channels, ...] -> [...]
    bias = bias + np.tensordot(shift, inner, axes=1)
    inner = inner * scale.reshape([-1] + [1] * (inner.ndim - 1))
    kernel = inner.reshape(kernel.shape)
  else:
    bias = bias * scale + shift
    # The outputs are the last axis, [..., channels, outputs], or of a depthwise
    # kernel the one before it, [3, 3, outputs, 1].
    depthwise = kernel_name.endswith('depthwise_kernel')
    kernel = kernel * (scale[:, np.newaxis] if depthwise else scale)
  weights[kernel_name] = kernel
  weights[f'{layer}/bias'] = bias


def _find_layers(norm: str) -> tuple[list[str], bool]:
  """Returns the names of what absorbs a BatchNorm; whether it follows them."""
  scope, _, own_name = norm.rpartition('/')
  for pattern, absorbers, before in _ABSORBED_BY:
    match = re.fullmatch(pattern, own_name)
    if match:
      names = [match.expand(name) for name in absorbers]
      return [f'{scope}/{name}' if scope else name for name in names], before
  raise ValueError(
    f'No layer is known that could absorb the BatchNorm {norm!r}. Known are '
    f'{", ".join(pattern for pattern, _, _ in _ABSORBED_BY)}. Export with '
    'fold=False (--nofold).'
  )
