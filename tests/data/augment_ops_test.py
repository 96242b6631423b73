"""Tests of official_coatnet.data.augment_ops against Model Garden, by pixel.

Where Model Garden is not that of 2.15, what it has changed since is left to
tests/golden/randaugment_test.py, which has the bytes of 2.15.
"""

import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import augment as reference

from official_coatnet.data import augment_ops

HEIGHT, WIDTH = 46, 62
RECIPES = (5, 15, 20)
SWEEP = tuple(range(31))
# Later ones have another contrast, and there is no TensorFlow Addons for them.
IS_2_15 = tf.__version__.startswith('2.15.')
UNDERSCORED = {'SolarizeAdd': 'solarize_add'}


def make_images():
  """Images with few values, one value, a narrow range and noise."""
  rng = np.random.default_rng(0)
  shape = (HEIGHT, WIDTH, 3)
  ramp = np.linspace(40, 200, HEIGHT)[:, None, None] * [1.0, 0.9, 1.2]
  return [
    rng.integers(0, 256, shape, np.uint8),
    np.clip(ramp + rng.normal(0, 12, shape), 0, 255).astype(np.uint8),
    rng.choice(np.array([3, 77, 78, 250], np.uint8), shape),
    np.broadcast_to(np.array([0, 100, 255], np.uint8), shape).copy(),
  ]


def level_argument(operation, magnitude):
  """The argument that Model Garden gives an operation without a sign."""
  (argument,) = reference.level_to_arg(40.0, 100.0)[operation](float(magnitude))
  return argument


class AugmentOpsTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.images = make_images()

  def check(self, ours, theirs, *, compiled=False):
    """Compares two functions of an image on all images."""
    if compiled:
      ours, theirs = tf.function(ours), tf.function(theirs)
    for number, image in enumerate(self.images):
      with self.subTest(image=number):
        image = tf.constant(image)
        self.assertAllEqual(ours(image), theirs(image))

  @parameterized.parameters('invert', 'autocontrast', 'equalize')
  def test_without_argument(self, name):
    for compiled in (False, True):
      self.check(
        getattr(augment_ops, name), getattr(reference, name), compiled=compiled
      )

  @parameterized.parameters(
    'Posterize', 'Solarize', 'SolarizeAdd', 'Brightness', 'Contrast'
  )
  def test_of_every_byte(self, operation):
    if operation == 'Contrast' and not IS_2_15:
      self.skipTest('This Model Garden has another contrast.')
    every_byte = tf.reshape(tf.range(256), [16, 16, 1])
    every_byte = tf.image.grayscale_to_rgb(tf.cast(every_byte, tf.uint8))
    ours = getattr(augment_ops, UNDERSCORED.get(operation, operation.lower()))
    theirs = reference.NAME_TO_FUNC[operation]
    for magnitude in SWEEP:
      argument = level_argument(operation, magnitude)
      with self.subTest(magnitude=magnitude, argument=argument):
        self.assertAllEqual(
          ours(every_byte, argument), theirs(every_byte, argument)
        )

  @unittest.skipUnless(IS_2_15, 'This Model Garden has another contrast.')
  @parameterized.parameters((46, 62), (224, 224), (256, 260))
  def test_contrast_of_sizes(self, *size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    image = tf.constant(image)
    for magnitude in (3, *RECIPES):
      factor = level_argument('Contrast', magnitude)
      with self.subTest(magnitude=magnitude):
        self.assertAllEqual(
          augment_ops.contrast(image, factor), reference.contrast(image, factor)
        )

  @parameterized.parameters('Color', 'Sharpness')
  def test_blends(self, operation):
    ours = getattr(augment_ops, operation.lower())
    theirs = getattr(reference, operation.lower())
    for magnitude in SWEEP:
      factor = level_argument(operation, magnitude)
      self.check(
        lambda image, factor=factor: ours(image, factor),
        lambda image, factor=factor: theirs(image, factor),
        compiled=magnitude == 15,
      )

  @parameterized.parameters((0, 0), (20, 30), (45, 1), (13, 61))
  def test_cutout(self, row, column):
    for half_side in (0, 20, 60, 80):
      self.check(
        lambda image, half_side=half_side: augment_ops.cutout(
          image,
          row=tf.constant(row),
          column=tf.constant(column),
          half_side=half_side,
        ),
        lambda image, half_side=half_side: reference._fill_rectangle(
          image, column, row, half_side, half_side, [128] * 3
        ),
      )


GEOMETRIC = {
  # Magnitude 10 and the transform to an argument, from the definitions.
  'Rotate': (30.0, lambda d: augment_ops.rotation(d, height=46, width=62)),
  'ShearX': (0.3, lambda a: tf.constant([1.0, a, 0, 0, 1, 0, 0, 0])),
  'ShearY': (0.3, lambda a: tf.constant([1.0, 0, 0, a, 1, 0, 0, 0])),
  'TranslateX': (100.0, lambda a: tf.constant([1.0, 0, a, 0, 1, 0, 0, 0])),
  'TranslateY': (100.0, lambda a: tf.constant([1.0, 0, 0, 0, 1, a, 0, 0])),
}


def google_code(operation, argument, image):
  """A geometric operation of the reference TPU code, grey included."""
  import tensorflow_addons as tfa

  wrapped = tf.concat([image, tf.ones([*image.shape[:2], 1], tf.uint8)], -1)
  if operation == 'Rotate':
    moved = tfa.image.rotate(wrapped, argument * (np.pi / 180))
  elif operation.startswith('Translate'):
    shift = [-argument, 0] if operation == 'TranslateX' else [0, -argument]
    moved = tfa.image.translate(wrapped, shift)
  else:
    a, b = (argument, 0) if operation == 'ShearX' else (0, argument)
    moved = tfa.image.transform(wrapped, [1.0, a, 0, b, 1, 0, 0, 0])
  return tf.where(moved[..., 3:] == 0, tf.constant(128, tf.uint8), moved)[
    ..., :3
  ]


class GeometricOpsTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.image = tf.constant(make_images()[0])

  def moved(self, operation, argument, *, fill):
    _, make_transform = GEOMETRIC[operation]
    indices = augment_ops.index_map(
      make_transform(argument), height=HEIGHT, width=WIDTH, fill=fill
    )
    return augment_ops.move_pixels(self.image, indices, fill=fill)

  @parameterized.product(operation=list(GEOMETRIC), sign=(1, -1))
  def test_reflect_is_model_gardens(self, operation, sign):
    theirs = reference.NAME_TO_FUNC[operation]
    for magnitude in (*SWEEP, 2.9, 13.7):
      argument = sign * magnitude / 10 * GEOMETRIC[operation][0]
      with self.subTest(magnitude=magnitude):
        self.assertAllEqual(
          self.moved(operation, argument, fill='reflect'),
          theirs(self.image, tf.constant(argument), [128] * 3),
        )

  @unittest.skipUnless(IS_2_15, 'There is no TensorFlow Addons for this one.')
  @parameterized.product(operation=list(GEOMETRIC), sign=(1, -1))
  def test_grey_is_the_reference_codes(self, operation, sign):
    for magnitude in (0, 2, *RECIPES):
      argument = sign * magnitude / 10 * GEOMETRIC[operation][0]
      with self.subTest(magnitude=magnitude):
        self.assertAllEqual(
          self.moved(operation, argument, fill='grey'),
          google_code(operation, tf.constant(argument), self.image),
        )


if __name__ == '__main__':
  tf.test.main()
