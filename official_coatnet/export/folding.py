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

from official_coatnet.modeling import config as config_lib, network
from official_coatnet.training import checkpoints

# A BatchNorm's name, the convolution that absorbs it, and whether the BatchNorm
# comes before that convolution.
_ABSORBED_BY = (
  (r'norm(\d+)', r'conv\1', False),
  (r'pre_norm', r'expand_conv', True),
  (r'expand_norm', r'expand_conv', False),
  (r'depthwise_norm', r'depthwise_conv', False),
)
# What marks a BatchNorm among the weights.
_MARK = '/moving_variance'


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
    weights = fold_weights(weights, epsilon=config.batch_norm_epsilon)
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
  weights: Mapping[str, np.ndarray], *, epsilon: float
) -> dict[str, np.ndarray]:
  """Folds all BatchNorms into kernels and biases.

  Args:
    weights: By name, as `checkpoints.named_weights` and `StoredWeights` give
      them, of a network with `norm='batch_norm'`.
    epsilon: What the BatchNorms add to the variance.

  Returns:
    The weights by name of the same network with `norm='none'`: those of the
    BatchNorms are gone, and each convolution that absorbed one has a bias. What
    changed is in float64, for the caller to round; the rest is as it was.

  Raises:
    ValueError: If there is a BatchNorm that no convolution can absorb.
  """
  folded = dict(weights)
  for name in weights:
    if name.endswith(_MARK):
      _fold_norm(folded, name.removesuffix(_MARK), epsilon=epsilon)
  return folded


def _fold_norm(weights: dict[str, np.ndarray], norm: str, *, epsilon: float):
  """Replaces, in `weights`, a BatchNorm by what its convolution becomes."""
  conv, before = _find_convolution(norm)
  kernel_name = next(
    (n for n in (f'{conv}/kernel', f'{conv}/depthwise_kernel') if n in weights),
    None,
  )
  if kernel_name is None:
    raise ValueError(
      f'The weights of the BatchNorm {norm!r} are there, but not the kernel of '
      f'{conv!r}, which is to absorb it. Are they those of one network?'
    )

  def pop(kind):
    return weights.pop(f'{norm}/{kind}').astype(np.float64)

  # [channels], each
  scale = pop('gamma') / np.sqrt(pop('moving_variance') + epsilon)
  shift = pop('beta') - pop('moving_mean') * scale
  kernel = weights[kernel_name].astype(np.float64)
  bias = weights.get(f'{conv}/bias', 0.0)
  if before:
    if kernel.shape[:2] != (1, 1):
      raise ValueError(
        f'{kernel_name!r} is {list(kernel.shape)}; only a 1x1 convolution can '
        f'absorb {norm!r}, which comes before it: any other sees padding.'
      )
    # [channels] with [1, 1, channels, outputs] -> [outputs]
    bias = bias + np.einsum('c,xyco->o', shift, kernel)
    kernel = kernel * scale[:, np.newaxis]
  else:
    bias = bias * scale + shift
    # The outputs are the last axis, [..., channels, outputs], or of a depthwise
    # kernel the one before it, [3, 3, outputs, 1].
    depthwise = kernel_name.endswith('depthwise_kernel')
    kernel = kernel * (scale[:, np.newaxis] if depthwise else scale)
  weights[kernel_name] = kernel
  weights[f'{conv}/bias'] = bias


def _find_convolution(norm: str) -> tuple[str, bool]:
  """Returns the name of what absorbs a BatchNorm, and whether it follows it."""
  scope, _, own_name = norm.rpartition('/')
  for pattern, convolution, before in _ABSORBED_BY:
    match = re.fullmatch(pattern, own_name)
    if match:
      return f'{scope}/{match.expand(convolution)}', before
  raise ValueError(
    f'No convolution is known that could absorb the BatchNorm {norm!r}. Known '
    f'are {", ".join(pattern for pattern, _, _ in _ABSORBED_BY)}. Export with '
    'fold=False (--nofold).'
  )
