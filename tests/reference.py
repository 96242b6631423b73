"""CoAtNet's forward pass in NumPy, from the equations of the paper.

It shares no code with the package and takes no short cut: the relative bias is
a loop over the paper's formula, a convolution a loop over its kernel. Numbers
in brackets are sections and equations of the paper; where it is silent, the
package's documented choice is taken, and said so.

    net = Reference(weights)         # {'s0/conv0/kernel': array, ...}
    logits = net.classifier(images, blocks=(2, 1, 1, 1, 1), layout='C-C-T-T')

Computation is in the dtype of the images and weights.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

# --- Layers -------------------------------------------------------------------


def gelu(x: np.ndarray) -> np.ndarray:
  """GELU by its tanh approximation (Hendrycks and Gimpel).

  TensorFlow rounds the fitted constant to float32 whatever the dtype.
  """
  fitted = float(np.float32(0.044715))
  return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + fitted * x**3)))


def sigmoid(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
  """Softmax over the last axis."""
  e = np.exp(x - x.max(axis=-1, keepdims=True))
  return e / e.sum(axis=-1, keepdims=True)


def windows(x: np.ndarray, *, size: int, stride: int, fill: float):
  """Yields (row, column, what it sees) for each place of a size x size kernel.

  The padding is TensorFlow's SAME: the output has ceil(n / stride) places, and
  where the padding is odd, the end gets more of it than the beginning.

  Args:
    x: [batch, H, W, channels].
    size: Height and width of the kernel.
    stride: Steps of the kernel.
    fill: Value of the padding.
  """
  out, pads = [], []
  for n in x.shape[1:3]:
    out.append(math.ceil(n / stride))
    total = max((out[-1] - 1) * stride + size - n, 0)
    pads.append((total // 2, total - total // 2))
  x = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
  for row in range(size):
    for column in range(size):
      yield (
        row,
        column,
        x[:, row::stride, column::stride][:, : out[0], : out[1]],
      )


def conv(x: np.ndarray, kernel: np.ndarray, *, stride: int = 1) -> np.ndarray:
  """Convolution with `kernel`, [size, size, in, out]."""
  seen = windows(x, size=kernel.shape[0], stride=stride, fill=0.0)
  return sum(part @ kernel[row, column] for row, column, part in seen)


def depthwise_conv(
  x: np.ndarray, kernel: np.ndarray, *, stride: int = 1
) -> np.ndarray:
  """Depthwise convolution with `kernel`, [size, size, channels, 1]."""
  seen = windows(x, size=kernel.shape[0], stride=stride, fill=0.0)
  return sum(part * kernel[row, column, :, 0] for row, column, part in seen)


def pool(x: np.ndarray, *, kind: str) -> np.ndarray:
  """2x2 pooling of stride 2; padding is never the maximum nor in the mean."""
  if kind == 'max':
    seen = windows(x, size=2, stride=2, fill=-np.inf)
    return np.max([part for _, _, part in seen], axis=0)
  total = sum(part for _, _, part in windows(x, size=2, stride=2, fill=0.0))
  ones = np.ones_like(x)
  return total / sum(p for _, _, p in windows(ones, size=2, stride=2, fill=0.0))


def relative_bias(table: np.ndarray, *, height: int, width: int) -> np.ndarray:
  """The bias of each head, [heads, query, key], from A.1's formula.

  For two locations (i, j) and (i', j') the bias is P[i - i' + H, j - j' + W],
  all indices counted from 1. The query is at (i, j), as in Eq. 1's w[i-j].
  """
  locations = [
    (i, j) for i in range(1, height + 1) for j in range(1, width + 1)
  ]
  bias = np.empty([len(table), len(locations), len(locations)], table.dtype)
  for q, (i, j) in enumerate(locations):
    for k, (i_, j_) in enumerate(locations):
      bias[:, q, k] = table[:, (i - i_ + height) - 1, (j - j_ + width) - 1]
  return bias


# --- Blocks -------------------------------------------------------------------


class Reference:
  """The blocks, and the network that they make, over a dict of weights.

  Attributes:
    updates: After a pass in training mode, the new moving statistics by name.
  """

  def __init__(
    self,
    weights: Mapping[str, np.ndarray],
    *,
    training: bool = False,
    momentum: float = 0.99,
    batch_norm_epsilon: float = 1e-3,
    unbiased: bool = False,
  ):
    """Takes the weights.

    Args:
      weights: Arrays by name; the names are those of the package's variables.
      training: Whether BatchNorm takes the statistics of the batch.
      momentum: Of BatchNorm's moving statistics.
      batch_norm_epsilon: Added to BatchNorm's variance.
      unbiased: Whether the moving variance takes n / (n - 1) times the batch's
        variance, as TensorFlow's fused kernel does (the one for float32). The
        batch itself is normalised with the plain variance either way.
    """
    self.weights = weights
    self.training = training
    self.momentum = momentum
    self.batch_norm_epsilon = batch_norm_epsilon
    self.unbiased = unbiased
    self.updates = {}

  def _bias(self, x, name):
    return x + self.weights.get(f'{name}/bias', 0.0)

  def conv(self, x, name, *, stride=1):
    return self._bias(
      conv(x, self.weights[f'{name}/kernel'], stride=stride), name
    )

  def dense(self, x, name):
    return self._bias(x @ self.weights[f'{name}/kernel'], name)

  def norm(self, x, name):
    """BatchNorm where there are moving statistics, LayerNorm elsewhere."""
    gamma, beta = (self.weights[f'{name}/{v}'] for v in ('gamma', 'beta'))
    if f'{name}/moving_mean' in self.weights:
      mean, variance = self._statistics(x, name)
      epsilon = self.batch_norm_epsilon
    else:
      mean = x.mean(axis=-1, keepdims=True)
      variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
      epsilon = 1e-5
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta

  def _statistics(self, x, name):
    moving = [f'{name}/moving_mean', f'{name}/moving_variance']
    if not self.training:
      return [self.weights[v] for v in moving]
    mean = x.mean(axis=(0, 1, 2))
    variance = ((x - mean) ** 2).mean(axis=(0, 1, 2))
    n = x.size // x.shape[-1]
    correction = n / (n - 1) if self.unbiased else 1.0
    for v, new in zip(moving, (mean, variance * correction)):
      self.updates[v] = (
        self.momentum * self.weights[v] + (1 - self.momentum) * new
      )
    return mean, variance

  def stem(self, x, name='s0', *, blocks=2):
    """S0: `blocks` 3x3 convolutions, the first of stride 2 (Table 3).

    The package's choice: norm and GELU between them, and nothing at the end.
    """
    for i in range(blocks):
      x = self.conv(x, f'{name}/conv{i}', stride=1 if i else 2)
      if i < blocks - 1:
        x = gelu(self.norm(x, f'{name}/norm{i}'))
    return x

  def squeeze_excitation(self, x, name):
    """Gates the channels by what their averages say (the paper's [41])."""
    z = x.mean(axis=(1, 2), keepdims=True)
    z = self.conv(z, f'{name}/reduce')
    z = z * sigmoid(z)  # swish
    return x * sigmoid(self.conv(z, f'{name}/expand'))

  def shortcut(self, x, name, *, stride, shortcut_pool):
    """Proj(Pool(x)) of Eqs. 4 and 5, or x."""
    if stride == 2:
      x = pool(x, kind=shortcut_pool)
    if f'{name}/shortcut_projection/kernel' in self.weights:
      x = self.conv(x, f'{name}/shortcut_projection')
    return x

  def mbconv(
    self, x, name, *, stride=1, downsample='expand_conv', shortcut_pool='max'
  ):
    """Proj(Pool(x)) + Conv(DepthConv(Conv(Norm(x), stride=2))) (Eq. 5).

    With `downsample='depthwise'` the stride is in DepthConv (Table 9).
    """
    strides = (stride, 1) if downsample == 'expand_conv' else (1, stride)
    h = self.norm(x, f'{name}/pre_norm')
    h = self.conv(h, f'{name}/expand_conv', stride=strides[0])
    h = gelu(self.norm(h, f'{name}/expand_norm'))
    kernel = self.weights[f'{name}/depthwise_conv/depthwise_kernel']
    h = depthwise_conv(h, kernel, stride=strides[1])
    h = self._bias(h, f'{name}/depthwise_conv')
    h = gelu(self.norm(h, f'{name}/depthwise_norm'))
    h = self.squeeze_excitation(h, f'{name}/squeeze_excitation')
    h = self.conv(h, f'{name}/project_conv')
    return h + self.shortcut(
      x, name, stride=stride, shortcut_pool=shortcut_pool
    )

  def attention(self, x, name, *, relative_attention='pre_softmax'):
    """Eq. 3 for each head: y^pre, y^post, or without the relative bias."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height * width, channels)
    kernels, biases = (
      {v: self.weights[f'{name}/{v}/{kind}'] for v in ('query', 'key', 'value')}
      for kind in ('kernel', 'bias')
    )
    head_size = kernels['query'].shape[-1]
    heads = []
    for n in range(kernels['query'].shape[1]):
      q, k, v = (x @ kernels[p][:, n] + biases[p][n] for p in kernels)
      weights = q @ k.transpose(0, 2, 1) / math.sqrt(head_size)
      bias = 0.0
      if relative_attention != 'none':
        table = self.weights[f'{name}/relative_bias'][n : n + 1]
        bias = relative_bias(table, height=height, width=width)[0]
      if relative_attention == 'post_softmax':
        weights = softmax(weights) + bias
      else:
        weights = softmax(weights + bias)
      heads.append(weights @ v @ self.weights[f'{name}/output/kernel'][n])
    y = sum(heads) + self.weights[f'{name}/output/bias']
    return y.reshape(batch, height, width, -1)

  def transformer(
    self,
    x,
    name,
    *,
    stride=1,
    shortcut_pool='max',
    relative_attention='pre_softmax',
  ):
    """Proj(Pool(x)) + Attention(Pool(Norm(x))) (Eq. 4), then the FFN."""
    h = self.norm(x, f'{name}/attention_norm')
    if stride == 2:
      h = pool(h, kind=shortcut_pool)
    h = self.attention(
      h, f'{name}/attention', relative_attention=relative_attention
    )
    x = h + self.shortcut(x, name, stride=stride, shortcut_pool=shortcut_pool)
    h = self.dense(self.norm(x, f'{name}/ffn_norm'), f'{name}/ffn_expand')
    return x + self.dense(gelu(h), f'{name}/ffn_project')

  # --- Network ----------------------------------------------------------------

  def stages(
    self,
    images: np.ndarray,
    *,
    blocks: Sequence[int],
    layout: str,
    downsample: str = 'expand_conv',
    shortcut_pool: str = 'max',
    relative_attention: str = 'pre_softmax',
  ) -> list[np.ndarray]:
    """Returns the outputs of all stages: S0 to S4 (Fig. 4), or ViT_REL's two.

    ViT_REL (2.2) is a 16x16 convolution of stride 16 and transformer blocks.
    """
    if layout == 'ViT_REL':
      kinds, first_stride = ['T'], 1
      outputs = [self.conv(images, 's0/conv', stride=16)]
    else:
      kinds, first_stride = layout.split('-'), 2
      outputs = [self.stem(images, blocks=blocks[0])]
    for stage, kind in enumerate(kinds, start=1):
      x = outputs[-1]
      for i in range(blocks[stage]):
        name, stride = f's{stage}_block{i}', 1 if i else first_stride
        if kind == 'C':
          x = self.mbconv(
            x,
            name,
            stride=stride,
            downsample=downsample,
            shortcut_pool=shortcut_pool,
          )
        else:
          x = self.transformer(
            x,
            name,
            stride=stride,
            shortcut_pool=shortcut_pool,
            relative_attention=relative_attention,
          )
      outputs.append(x)
    return outputs

  def head(self, x: np.ndarray) -> np.ndarray:
    """Global average pooling (A.1) and a linear classifier.

    The package's choice: LayerNorm and a tanh layer between the two.
    """
    x = self.norm(x.mean(axis=(1, 2)), 'head_norm')
    if 'pre_logits/kernel' in self.weights:
      x = np.tanh(self.dense(x, 'pre_logits'))
    return self.dense(x, 'logits')

  def classifier(self, images: np.ndarray, **options) -> np.ndarray:
    """Returns the logits; `options` are those of `stages`."""
    return self.head(self.stages(images, **options)[-1])
