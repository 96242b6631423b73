"""What the host draws for an image: RandAugment, and its share in mixup.

RandAugment (Cubuk et al. 2020) is applied here, to uint8 images; mixup (Zhang
et al. 2018) by the device, see `device.mixup`.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from official_coatnet.data import augment_ops

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
FILLS = ('reflect', 'grey')

# Operations with a direction, drawn for each image.
_GEOMETRIC = ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY')


class RandAugment:
  """Applies randomly chosen operations, one after the other, to an image.

  Operations, arguments and odds are those of Model Garden 2.15, and each
  operation gives its pixels, byte for byte; the draws are other ones, since
  Model Garden's cannot be repeated.

  The oddities of the reference are kept, since results of papers rest on them
  (see `augment_ops` for those within an operation):

  *   Magnitudes count on a scale of 10, so that the "2, 15" of Table 10 of the
      CoAtNet paper goes beyond it: turns by 45 degrees, shifts by 150 pixels,
      whatever the size of the image.
  *   Magnitude 5 leaves colour, contrast, brightness and sharpness as they are,
      and magnitude 20 does so with posterize, which is stronger at lower ones.
  *   Beside the n operations there is "none" in each layer, all with
      probability 1 / (n + 1).

  In two things Model Garden differs from the code that Google published with
  papers of those years, autoaugment.py in tensorflow/tpu
  (models/official/efficientnet) and in google/automl (efficientnetv2). There,
  what rotate, shear and translate bring in from beyond the image is grey 128: a
  fourth channel tells it apart (`wrap`, `unwrap`). Model Garden fills by
  reflection, which makes that channel useless: `fill='grey'` brings the grey
  back. And there, one of the operations always applies; here and in Model
  Garden, 1 in n + 1 layers does nothing. The paper does not say what it used.

  Model Garden's own configuration moves images by a tenth of what the reference
  does (a `translate_const` of 10 for 100); here 100 is the default.
  """

  def __init__(
    self,
    num_layers: int,
    magnitude: float,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
    exclude_ops: Sequence[str] = (),
    fill: str = 'reflect',
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
      fill: what geometric operations bring in from beyond the image: 'reflect'
        or 'grey'.

    Raises:
      ValueError: if an excluded operation does not exist, if none is left, or
        if `num_layers`, `magnitude` or `fill` is out of range.
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
    if fill not in FILLS:
      raise ValueError(
        f'RandAugment: fill is {fill!r}, but must be one of {list(FILLS)}; '
        "use 'reflect' for Model Garden's, 'grey' for the reference's."
      )
    self._num_layers = num_layers
    self._level = magnitude / 10.0
    self._cutout_const = cutout_const
    self._translate_const = translate_const
    self._operations = [op for op in OPERATIONS if op not in exclude_ops]
    self._fill = fill

  def __call__(self, image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Augments one image.

    Args:
      image: uint8 [height, width, 3] tensor of static shape.
      seed: integer [2] tensor; equal seeds give equal pixels.

    Returns:
      A uint8 tensor of the shape of `image`.

    Raises:
      ValueError: if the image is of another type or its shape is not known.
    """
    image = tf.convert_to_tensor(image)
    shape = image.shape
    if (
      image.dtype != tf.uint8
      or not shape.is_fully_defined()
      or shape.rank != 3
      or shape[-1] != 3
    ):
      raise ValueError(
        f'RandAugment: the image is {image.dtype.name} {shape}, but must be '
        'uint8 [height, width, 3] with a known height and width; cast it, or '
        'use tf.ensure_shape.'
      )
    # One call draws all; four in [0, 1) for each layer.
    draws = tf.random.stateless_uniform([self._num_layers, 4], seed)
    # One set for all layers, which reach for them at random: the less memory
    # they take, the more of it is in the cache.
    maps = {
      operation: tf.constant(
        self._index_maps(operation, height=shape[0], width=shape[1])
      )
      for operation in self._operations
      if operation in _GEOMETRIC
    }
    for layer in range(self._num_layers):
      image = self._apply_one(image, draws[layer], maps)
    return image

  def _apply_one(
    self, image: tf.Tensor, draws: tf.Tensor, maps: dict[str, tf.Tensor]
  ) -> tf.Tensor:
    """Applies the operation that `draws` choose, or none."""
    height, width, _ = image.shape
    choice, direction, row, column = tf.unstack(
      tf.cast(draws * [len(self._operations) + 1, 2, height, width], tf.int32)
    )

    def apply(operation: str) -> tf.Tensor:
      if operation in _GEOMETRIC:
        return augment_ops.move_pixels(
          image, maps[operation][direction], fill=self._fill
        )
      if operation == 'Cutout':
        half_side = int(self._level * self._cutout_const)
        return augment_ops.cutout(
          image, row=row, column=column, half_side=half_side
        )
      return self._apply_to_values(operation, image)

    branches = [functools.partial(apply, op) for op in self._operations]
    # Of the branches, only the one chosen runs.
    return tf.switch_case(
      choice, [*branches, functools.partial(tf.identity, image)]
    )

  def _apply_to_values(self, operation: str, image: tf.Tensor) -> tf.Tensor:
    """Applies an operation that leaves pixels where they are."""
    level = self._level
    factor = level * 1.8 + 0.1
    functions = {
      'AutoContrast': augment_ops.autocontrast,
      'Equalize': augment_ops.equalize,
      'Invert': augment_ops.invert,
      'Posterize': lambda x: augment_ops.posterize(x, int(level * 4)),
      'Solarize': lambda x: augment_ops.solarize(x, int(level * 256)),
      'SolarizeAdd': lambda x: augment_ops.solarize_add(x, int(level * 110)),
      'Color': lambda x: augment_ops.color(x, factor),
      'Contrast': lambda x: augment_ops.contrast(x, factor),
      'Brightness': lambda x: augment_ops.brightness(x, factor),
      'Sharpness': lambda x: augment_ops.sharpness(x, factor),
    }
    return functions[operation](image)

  def _index_maps(
    self, operation: str, *, height: int, width: int
  ) -> np.ndarray:
    """Returns the int32 [2, height x width] maps of both directions."""
    amount = (
      self._level
      * {
        'Rotate': 30.0,
        'ShearX': 0.3,
        'ShearY': 0.3,
        'TranslateX': self._translate_const,
        'TranslateY': self._translate_const,
      }[operation]
    )

    def make_map(signed: float) -> np.ndarray:
      if operation == 'Rotate':
        transform = augment_ops.rotation(signed, height=height, width=width)
      else:
        # x' = x + a y + b; y' = c x + y + d.
        a, b, c, d = (
          signed if operation == each else 0.0
          for each in ('ShearX', 'TranslateX', 'ShearY', 'TranslateY')
        )
        transform = tf.constant([1.0, a, b, c, 1.0, d, 0.0, 0.0])
      return augment_ops.index_map(
        transform, height=height, width=width, fill=self._fill
      )

    # Out of any graph that is being built, and off accelerators.
    with tf.init_scope(), tf.device('CPU:0'):
      return np.stack([make_map(amount), make_map(-amount)])


def sample_beta(alpha: float, *, seed: tf.Tensor) -> tf.Tensor:
  """Draws from Beta(alpha, alpha), for any alpha > 0.

  The share of one of two Gamma(alpha) draws in their sum. A Gamma(alpha) draw
  is a Gamma(alpha + 1) draw times u ** (1 / alpha) with u uniform; taking
  logarithms, small alphas do not underflow to 0 / 0. On the host, since
  gamma has no TPU kernel.

  Args:
    alpha: parameter of the distribution.
    seed: integer [2] tensor.

  Returns:
    A scalar float32 tensor in [0, 1].
  """
  gamma_seed, uniform_seed = tf.unstack(tf.random.split(seed, 2))
  gammas = tf.random.stateless_gamma([2], gamma_seed, alpha=alpha + 1.0)
  # In (0, 1], for the logarithm.
  uniforms = 1.0 - tf.random.stateless_uniform([2], uniform_seed)
  logs = tf.math.log(gammas) + tf.math.log(uniforms) / alpha
  return tf.sigmoid(logs[0] - logs[1])
