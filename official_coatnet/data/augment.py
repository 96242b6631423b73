"""RandAugment (Cubuk et al. 2020) on uint8 images, on the host."""

from collections.abc import Sequence

import tensorflow as tf
from official.vision.ops import augment

OPERATIONS = (
  'AutoContrast',
  'Equalize',
  'Invert',
  'Rotate',
  'Posterize',
  'Solarize',
  'Color',
  'Contrast',
  'Brightness',
  'Sharpness',
  'ShearX',
  'ShearY',
  'TranslateX',
  'TranslateY',
  'Cutout',
  'SolarizeAdd',
)


class RandAugment:
  """Applies randomly chosen operations, one after the other, to an image.

  Operations and magnitudes are those of the reference code, which Model Garden
  keeps: the scale of magnitudes is 10, and the "2, 15" of the paper's Table 10
  lies beyond it on purpose. Model Garden's own configuration moves images by a
  tenth of what the reference does (10 for 100); here 100 is the default.
  """

  def __init__(
    self,
    num_layers: int,
    magnitude: float,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
    exclude_ops: Sequence[str] = (),
  ):
    """Creates the augmentation.

    Args:
      num_layers: number of operations applied to an image.
      magnitude: strength of all operations, 0 and up.
      cutout_const: half the side of the grey square that Cutout leaves, in
        pixels at magnitude 10.
      translate_const: shift of TranslateX and TranslateY, in pixels at
        magnitude 10.
      exclude_ops: operations not to use, out of OPERATIONS.

    Raises:
      ValueError: if an excluded operation does not exist, if none is left, or
        if `num_layers` or `magnitude` is out of range.
    """
    unknown = sorted(set(exclude_ops) - set(OPERATIONS))
    if unknown:
      raise ValueError(
        f'RandAugment: exclude_ops names {unknown}, but there are only '
        f'{list(OPERATIONS)}.'
      )
    if set(exclude_ops) == set(OPERATIONS):
      raise ValueError(
        'RandAugment: exclude_ops names every operation; to switch '
        'augmentation off, set randaugment to None.'
      )
    if num_layers < 1 or magnitude < 0:
      raise ValueError(
        f'RandAugment: num_layers is {num_layers} and magnitude {magnitude}, '
        'but layers start at 1 and magnitudes at 0; to switch augmentation '
        'off, set randaugment to None.'
      )
    self._augmenter = augment.RandAugment(
      num_layers=num_layers,
      magnitude=magnitude,
      cutout_const=cutout_const,
      translate_const=translate_const,
      exclude_ops=list(exclude_ops),
    )

  def __call__(self, image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Augments one image.

    Args:
      image: uint8 [height, width, 3] tensor.
      seed: integer [2] tensor. Model Garden's operations draw from TensorFlow's
        stateful generators and cannot honour it: of all draws of the pipeline,
        these alone differ between two runs.

    Returns:
      A uint8 tensor of the shape of `image`.
    """
    del seed
    augmented = self._augmenter.distort(image)
    # Operations with a projective transform forget the shape.
    return tf.ensure_shape(augmented, image.shape)
