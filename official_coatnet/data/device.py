"""The device half of the input pipeline: pure functions of batches.

The host ships uint8 images and padded label ids; what turns them into the
float tensors of a loss runs on the accelerator, inside the train step. All
shapes are static and every function compiles under `jit_compile=True`.
"""

from collections.abc import Sequence

import tensorflow as tf

# Mean and standard deviation of red, green and blue of the ImageNet-1K training
# images, in 0..1: the values that came with Torch's ResNet and are used since
# by torchvision, timm and Model Garden alike.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def normalize(
  images: tf.Tensor,
  dtype: tf.DType = tf.float32,
  *,
  mean: Sequence[float] = IMAGENET_MEAN,
  deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> tf.Tensor:
  """Centres and scales RGB images.

  Args:
    images: [..., 3] tensor of pixels on the 0..255 scale, uint8 or floating.
    dtype: floating type of the result. The arithmetic is float32 whatever it
      is: a bfloat16 holds 0..255 exactly but not what comes after.
    mean: what is taken from red, green and blue in 0..1; ImageNet's, unless
      given.
    deviation: what they are divided by then, likewise.

  Returns:
    A tensor of the shape of `images` and of type `dtype`.
  """
  images = tf.cast(images, tf.float32)
  # On the scale of the pixels.
  offset = tf.constant([value * 255 for value in mean], tf.float32)
  scale = tf.constant([value * 255 for value in deviation], tf.float32)
  return tf.cast((images - offset) / scale, dtype)


def multi_hot(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
  """Turns padded label ids into a row of zeros and ones for each example.

  A comparison and a reduction, which XLA fuses into one pass that writes the
  result only. A scatter would be serialised row by row on a TPU.

  Args:
    labels: integer [batch, max_labels] tensor of classes in
      [0, num_classes), padded with -1. An id that comes twice counts once.
      Ids outside the range leave no trace: the host has checked them.
    num_classes: width of the result.

  Returns:
    A float32 [batch, num_classes] tensor. A row without labels is all zero.
  """
  classes = tf.range(num_classes, dtype=labels.dtype)
  # [batch, max_labels, 1] == [num_classes] -> [batch, max_labels, num_classes]
  matches = tf.equal(labels[:, :, tf.newaxis], classes)
  return tf.cast(tf.reduce_any(matches, axis=1), tf.float32)


def smooth_softmax(targets: tf.Tensor, smoothing: float) -> tf.Tensor:
  """Label smoothing for the softmax loss: t (1 - e) + e / K.

  Args:
    targets: floating [batch, num_classes] tensor, each row of which sums to 1.
    smoothing: e, in [0, 1].

  Returns:
    A tensor like `targets`, each row of which sums to 1.
  """
  num_classes = targets.shape[-1]
  return targets * (1.0 - smoothing) + smoothing / num_classes


def smooth_sigmoid(
  targets: tf.Tensor, smoothing: float, *, mode: str = 'tf'
) -> tf.Tensor:
  """Label smoothing for the sigmoid loss, where each class stands alone.

  The paper gives the rate (1e-4 in Table 10) but not the form.

  Args:
    targets: floating [batch, num_classes] tensor with values in [0, 1].
    smoothing: e, in [0, 1].
    mode: 'tf' for t (1 - e) + e / 2, as in tf.keras.losses and tf.losses;
      'full' for t (1 - e) + e (1 - t), which flips a label with chance e.

  Returns:
    A tensor like `targets`.

  Raises:
    ValueError: if `mode` is neither of the two.
  """
  if mode == 'tf':
    return targets * (1.0 - smoothing) + smoothing * 0.5
  if mode == 'full':
    return targets * (1.0 - smoothing) + smoothing * (1.0 - targets)
  raise ValueError(
    f"smooth_sigmoid: mode is {mode!r}, but must be 'tf' or 'full'; use 'tf' "
    'for the smoothing of tf.keras.losses.'
  )


def mixup(
  images: tf.Tensor, targets: tf.Tensor, ratio: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Blends each example with its neighbour in the batch (Zhang et al. 2018).

  Example i is mixed with example i XOR 1. Pairs are adjacent, so that the
  result is the same however many replicas share the global batch, as long as
  each holds an even number of examples.

  Args:
    images: [batch, height, width, channels] floating tensor, normalised.
    targets: [batch, num_classes] floating tensor.
    ratio: [batch] floating tensor, the share that an example keeps of itself,
      drawn from Beta(alpha, alpha).

  Returns:
    The blended images and targets, shapes and types unchanged.

  Raises:
    ValueError: if the batch size is not known or is odd.
  """
  batch_size = images.shape[0]
  if batch_size is None or batch_size % 2:
    raise ValueError(
      f'mixup: the batch of a replica has {batch_size} examples, but must have '
      'an even, static number, since examples are mixed in pairs; choose a '
      'batch_size that twice the number of replicas divides.'
    )
  return _blend(images, ratio), _blend(targets, ratio)


def _blend(values: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
  """Returns ratio * values[i] + (1 - ratio) * values[i XOR 1]."""
  shape = values.shape.as_list()
  # A ratio in bfloat16 has 8 bits; the cast back fuses into the same pass.
  exact = tf.cast(values, tf.float32)
  # [batch, ...] -> [batch / 2, 2, ...]: the pairs.
  pairs = tf.reshape(exact, [shape[0] // 2, 2] + shape[1:])
  partner = tf.reshape(tf.reverse(pairs, axis=[1]), shape)
  # [batch] -> [batch, 1, ...]: one ratio an example.
  ratio = tf.reshape(
    tf.cast(ratio, tf.float32), [shape[0]] + [1] * (len(shape) - 1)
  )
  return tf.cast(ratio * exact + (1.0 - ratio) * partner, values.dtype)
