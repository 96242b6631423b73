"""RandAugment has the pixels of Model Garden 2.15, whatever is installed.

In one operation processors differ. Sharpness smooths by a convolution of floats
and cuts off what is behind the point: where the true mean is a whole number,
the order in which a processor adds decides whether it is that or one less.
"""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import augment, augment_ops
from tests.golden import randaugment as golden

UNDERSCORED = {'SolarizeAdd': 'solarize_add'}


def argument(operation, magnitude):
  """The argument of an operation without a direction, from its definition."""
  level = magnitude / 10
  return {
    'Posterize': int(level * 4),
    'Solarize': int(level * 256),
    'SolarizeAdd': int(level * 110),
  }.get(operation, level * 1.8 + 0.1)


def transform(operation, amount):
  """The projective transform of a geometric operation."""
  if operation == 'Rotate':
    return augment_ops.rotation(
      amount, height=golden.HEIGHT, width=golden.WIDTH
    )
  place = {'ShearX': 1, 'TranslateX': 2, 'ShearY': 3, 'TranslateY': 5}
  values = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
  values[place[operation]] = amount
  return tf.constant(values)


def may_round(image):
  """Where the mean that Sharpness takes is a whole number, bool."""
  wide = image.astype(int)
  height, width = image.shape[:2]
  total = 4 * wide[1:-1, 1:-1]
  for row in range(3):
    for column in range(3):
      total += wide[row : row + height - 2, column : column + width - 2]
  whole = np.zeros(image.shape, bool)
  whole[1:-1, 1:-1] = total % 13 == 0
  return whole


class RandAugmentTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    with np.load(golden.FILE) as file:
      cls.golden = dict(file)
    cls.images = {
      name.removeprefix('image/'): pixels
      for name, pixels in cls.golden.items()
      if name.startswith('image/')
    }

  def test_every_operation_has_its_pixels(self):
    named = {name.split('/')[0] for name in self.golden}
    self.assertContainsSubset(augment.OPERATIONS, named)

  @parameterized.parameters(*golden.PLAIN)
  def test_without_argument(self, operation):
    function = getattr(augment_ops, operation.lower())
    for name, image in self.images.items():
      expected = self.golden[f'{operation}/{name}'][0, 0]
      self.assertAllEqual(function(tf.constant(image)), expected, msg=name)

  @functools.cached_property
  def rounds_alike(self):
    """Whether this processor adds as the one that wrote the file."""
    return all(
      np.array_equal(
        augment_ops.sharpness(tf.constant(image), argument('Sharpness', each)),
        self.golden[f'Sharpness/{name}'][place, 0],
      )
      for name, image in self.images.items()
      for place, each in enumerate(golden.MAGNITUDES)
    )

  def test_sharpness(self):
    for name, image in self.images.items():
      whole = may_round(image)
      self.assertBetween(whole.mean(), 0.01, 0.2)
      for place, magnitude in enumerate(golden.MAGNITUDES):
        factor = argument('Sharpness', magnitude)
        ours = augment_ops.sharpness(tf.constant(image), factor).numpy()
        off = ours.astype(int) - self.golden[f'Sharpness/{name}'][place, 0]
        with self.subTest(image=name, magnitude=magnitude):
          self.assertFalse(off[~whole].any())
          # One less in the mean, and a cut of its own.
          self.assertLessEqual(abs(off).max(), abs(1 - factor) + 1)

  @parameterized.parameters(*(v for v in golden.VALUES if v != 'Sharpness'))
  def test_with_argument(self, operation):
    function = getattr(
      augment_ops, UNDERSCORED.get(operation, operation.lower())
    )
    for name, image in self.images.items():
      for place, magnitude in enumerate(golden.MAGNITUDES):
        with self.subTest(image=name, magnitude=magnitude):
          self.assertAllEqual(
            function(tf.constant(image), argument(operation, magnitude)),
            self.golden[f'{operation}/{name}'][place, 0],
          )

  @parameterized.parameters(*golden.CONTRAST_SIZES)
  def test_contrast_of_sizes(self, height, width):
    image = golden.every_byte(height, width)
    for place, magnitude in enumerate(golden.MAGNITUDES):
      table = self.golden[f'contrast/{height}x{width}'][place]
      ours = augment_ops.contrast(
        tf.constant(image), argument('Contrast', magnitude)
      )
      self.assertAllEqual(ours, table[image], msg=magnitude)

  @parameterized.product(
    operation=list(golden.GEOMETRIC), fill=('reflect', 'grey')
  )
  def test_moves(self, operation, fill):
    noise = tf.constant(self.images['noise'])
    prefix = 'grey/' if fill == 'grey' else ''
    expected = self.golden[f'{prefix}{operation}/noise']
    for place, magnitude in enumerate(golden.MAGNITUDES):
      for turn, sign in enumerate((1, -1)):
        amount = sign * magnitude / 10 * golden.GEOMETRIC[operation]
        indices = augment_ops.index_map(
          transform(operation, amount),
          height=golden.HEIGHT,
          width=golden.WIDTH,
          fill=fill,
        )
        with self.subTest(magnitude=magnitude, sign=sign):
          self.assertAllEqual(
            augment_ops.move_pixels(noise, indices, fill=fill),
            expected[place, turn],
          )

  def test_cutout(self):
    for place, (row, column, half_side) in enumerate(golden.CUTOUTS):
      ours = augment_ops.cutout(
        tf.constant(self.images['noise']),
        row=tf.constant(row),
        column=tf.constant(column),
        half_side=half_side,
      )
      self.assertAllEqual(ours, self.golden['Cutout/noise'][place])

  @parameterized.parameters(*golden.RANDAUGMENTS)
  def test_draws(self, layers, magnitude, fill):
    """Which operations a seed draws, and what they make together."""
    expected = self.golden[f'randaugment/{layers},{magnitude},{fill}']
    self.assertGreater(len({each.tobytes() for each in expected}), 15)
    ours = golden.randaugmented(
      layers, magnitude, fill, image=self.images['noise']
    )
    if self.rounds_alike:
      self.assertAllEqual(ours, expected)
    for our, their in zip(ours, expected, strict=True):
      self.assertLess((our != their).mean(), 0.01)


if __name__ == '__main__':
  tf.test.main()
