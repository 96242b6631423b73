"""Tests of official_coatnet.data.resizing against PIL, on photographs.

Bilinear resizing is tested where it is used, in images_test.
"""

import io
import math

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from PIL import Image

from official_coatnet.data import images, resizing
from tests.fixtures import photographs


def _as_timm(picture, size, crop_fraction):
  """timm's evaluation: torchvision's Resize, or ResizeKeepRatio; CenterCrop."""
  height, width = size
  target = [math.floor(side / crop_fraction) for side in size]
  wide, high = picture.size
  if target[0] == target[1]:
    if wide <= high:
      scaled = (target[0], int(target[0] * high / wide))
    else:
      scaled = (int(target[0] * wide / high), target[0])
  else:
    ratio = min(high / target[0], wide / target[1])
    scaled = (round(wide / ratio), round(high / ratio))
  resized = picture.resize(scaled, Image.BICUBIC)
  left = round((scaled[0] - width) / 2.0)
  top = round((scaled[1] - height) / 2.0)
  return np.asarray(resized.crop((left, top, left + width, top + height)))


def _squashed(picture, size):
  return np.asarray(picture.resize(size[::-1], Image.BICUBIC))


def _encode(picture, image_format='PNG'):
  buffer = io.BytesIO()
  picture.save(buffer, image_format)
  return buffer.getvalue()


class PhotographsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    # As JPEG, so that decoding is compared as well.
    cls.encoded = {
      name: _encode(picture, 'JPEG')
      for name, picture in photographs.load_all().items()
    }

  def _differences(self, expect, **kwargs):
    """By name, of all values of a photograph, in levels."""
    for name, encoded in self.encoded.items():
      expected = expect(Image.open(io.BytesIO(encoded)))
      image = images.decode_for_eval(encoded, **kwargs)
      self.assertEqual(image.dtype, tf.uint8)
      yield name, np.abs(image.numpy().astype(int) - expected)

  def _check(self, expect, **kwargs):
    differences = dict(
      self._differences(expect, interpolation='bicubic', **kwargs)
    )
    self.assertLen(differences, 12)
    for name, difference in differences.items():
      with self.subTest(name):
        self.assertGreaterEqual(np.mean(difference <= 1), 0.999)
        # What is one level off is rounded otherwise, and rare.
        self.assertGreaterEqual(np.mean(difference == 0), 0.98)

  @parameterized.parameters(
    ((224, 224), 0.95),
    ((224, 224), 0.9),
    ((160, 192), 0.95),
    ((256, 200), 0.875),
  )
  def test_timms_evaluation(self, size, crop_fraction):
    self._check(
      lambda picture: _as_timm(picture, size, crop_fraction),
      image_size=size,
      crop_fraction=crop_fraction,
    )

  @parameterized.parameters((384, 384), (96, 128))
  def test_the_whole_image_squashed(self, *size):
    self._check(
      lambda picture: _squashed(picture, size),
      image_size=size,
      center_crop=False,
    )

  def test_bilinear_is_something_else(self):
    """Or the comparisons above would say little."""
    for name, difference in self._differences(
      lambda picture: _as_timm(picture, (224, 224), 0.95),
      image_size=224,
      crop_fraction=0.95,
    ):
      with self.subTest(name):
        self.assertLess(np.mean(difference <= 1), 0.9)


class OtherPicturesTest(parameterized.TestCase):
  @parameterized.parameters('logo.png', 'horse.png', 'chessboard_RGB.png')
  def test_drawings(self, name):
    """A cubic overshoots at hard edges, and is cut off there."""
    picture = photographs.load(name)
    image = images.decode_for_eval(
      _encode(picture),
      image_size=224,
      crop_fraction=0.95,
      interpolation='bicubic',
    )
    difference = image.numpy().astype(int) - _as_timm(picture, (224, 224), 0.95)
    self.assertLessEqual(np.abs(difference).max(), 1)
    self.assertEqual(image.numpy().max(), 255)

  @parameterized.parameters(
    (1, 1), (1, 40), (40, 1), (3, 2), (7, 900), (20, 30)
  )
  def test_small_and_long_images(self, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    picture = Image.fromarray(pixels.astype(np.uint8))
    for size in ((32, 32), (24, 40)):
      for center_crop in (True, False):
        image = images.decode_for_eval(
          _encode(picture),
          image_size=size,
          center_crop=center_crop,
          interpolation='bicubic',
        )
        expected = _squashed(picture, size)
        if center_crop:
          expected = _as_timm(picture, size, 0.875)
        difference = image.numpy().astype(int) - expected
        # Of noise now and then a value is rounded otherwise in both passes.
        self.assertGreaterEqual(np.mean(np.abs(difference) <= 1), 0.999)
        self.assertLessEqual(np.abs(difference).max(), 2)

  def test_training_crops(self):
    """The crop of the whole image, neither turned nor mirrored."""
    picture = photographs.load('chelsea.png')
    image = images.decode_and_crop_train(
      _encode(picture),
      image_size=(96, 128),
      seed=[0, 0],
      center_crop=False,
      random_flip=False,
      interpolation='bicubic',
    )
    difference = image.numpy().astype(int) - _squashed(picture, (96, 128))
    self.assertLessEqual(np.abs(difference).max(), 1)

  def test_no_more_is_decoded_than_the_middle_takes(self):
    method = resizing.METHODS['bicubic']
    window = method.central_window(
      tf.constant([600, 2000, 3]), (200, 200), crop_fraction=1.0
    )
    # Three pixels to one: six to each side for the kernel, and a margin.
    top, left, height, width = window.numpy()
    self.assertEqual((top, height), (0, 600))
    self.assertBetween(left, 690, 694)
    self.assertBetween(left + width, 1306, 1310)


if __name__ == '__main__':
  absltest.main()
