"""Tests of official_coatnet.data.images against PIL, NumPy and TF's own ops."""

import io

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from official_coatnet.data import images, messages


def make_pixels(height, width, *, seed=0):
  """A smooth picture, which JPEG changes little."""
  small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
  picture = Image.fromarray(small).resize((width, height), Image.BICUBIC)
  return np.asarray(picture)


def encode(picture, image_format, **options):
  if isinstance(picture, np.ndarray):
    picture = Image.fromarray(picture)
  buffer = io.BytesIO()
  picture.save(buffer, image_format, **options)
  return buffer.getvalue()


def resize(pixels, height, width):
  """Bilinear with half-pixel centres and no antialiasing, in float64."""

  def taps(source, target):
    center = np.clip(
      (np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1
    )
    low = np.floor(center).astype(int)
    return low, np.minimum(low + 1, source - 1), center - low

  top, bottom, down = taps(pixels.shape[0], height)
  left, right, across = taps(pixels.shape[1], width)
  down, across = down[:, None, None], across[None, :, None]
  pixels = pixels.astype(np.float64)
  upper = pixels[top][:, left] * (1 - across) + pixels[top][:, right] * across
  lower = (
    pixels[bottom][:, left] * (1 - across) + pixels[bottom][:, right] * across
  )
  return upper * (1 - down) + lower * down


class DecodeForEvalTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # height, width, image_size, expected top, left, height, width.
    (80, 100, 32, 5, 15, 70, 70),
    (100, 80, (16, 16), 15, 5, 70, 70),
    (80, 100, (16, 32), 19, 7, 43, 87),  # 50 x 100 fits; of it 0.875.
    (80, 100, (32, 16), 5, 33, 70, 35),
  )
  def test_center_crop(self, height, width, size, y, x, crop_h, crop_w):
    pixels = make_pixels(height, width)
    result = images.decode_for_eval(encode(pixels, 'PNG'), image_size=size)
    out_h, out_w = images.height_width(size)
    self.assertEqual(result.shape, (out_h, out_w, 3))
    self.assertEqual(result.dtype, tf.uint8)
    cropped = pixels[y : y + crop_h, x : x + crop_w]
    expected = resize(cropped, out_h, out_w)
    # Rounded to the nearest value: no further off than half a level.
    self.assertLess(
      np.abs(result.numpy().astype(float) - expected).max(), 0.5 + 1e-3
    )

  def test_whole_image(self):
    pixels = make_pixels(50, 90)
    result = images.decode_for_eval(
      encode(pixels, 'PNG'), image_size=(24, 30), center_crop=False
    )
    expected = resize(pixels, 24, 30)
    self.assertLess(
      np.abs(result.numpy().astype(float) - expected).max(), 0.5 + 1e-3
    )

  def test_crop_fraction_of_one_is_the_largest_square(self):
    pixels = make_pixels(40, 60)
    result = images.decode_for_eval(
      encode(pixels, 'PNG'), image_size=40, crop_fraction=1.0
    )
    self.assertAllEqual(result, pixels[:, 10:50])

  def test_fused_jpeg_equals_decode_then_crop(self):
    encoded = encode(make_pixels(75, 101), 'JPEG', quality=92)
    whole = tf.io.decode_jpeg(encoded, channels=3)
    side = int(75 * 0.875)
    y, x = (75 - side + 1) // 2, (101 - side + 1) // 2
    expected = resize(whole[y : y + side, x : x + side].numpy(), 32, 32)
    result = images.decode_for_eval(encoded, image_size=32)
    self.assertLess(
      np.abs(result.numpy().astype(float) - expected).max(), 0.5 + 1e-3
    )

  def formats(self):
    rgb = make_pixels(48, 64)
    picture = Image.fromarray(rgb)
    grey = picture.convert('L')
    grey_as_rgb = np.repeat(np.asarray(grey)[..., None], 3, axis=-1)
    rgba = np.dstack([rgb, np.full((48, 64), 77, np.uint8)])
    grey_alpha = Image.merge('LA', [grey, grey.point(lambda x: 99)])
    # 16 bits: the upper byte is the 8-bit value.
    deep = np.asarray(grey).astype(np.uint16) * 256 + 13
    gif = picture.convert('P', palette=Image.ADAPTIVE)
    second = Image.new('P', gif.size)
    first_frame = np.asarray(gif.convert('RGB'))
    animated = encode(gif, 'GIF', save_all=True, append_images=[second])
    return {
      'JPEG': (encode(rgb, 'JPEG', quality=95), rgb, 20),
      'progressive': (encode(rgb, 'JPEG', progressive=True), rgb, 24),
      'grey JPEG': (encode(grey, 'JPEG', quality=95), grey_as_rgb, 10),
      'CMYK JPEG': (
        encode(picture.convert('CMYK'), 'JPEG', quality=95),
        rgb,
        30,  # The conversion itself is not exact.
      ),
      'PNG': (encode(rgb, 'PNG'), rgb, 0),
      'grey PNG': (encode(grey, 'PNG'), grey_as_rgb, 0),
      'grey alpha PNG': (encode(grey_alpha, 'PNG'), grey_as_rgb, 0),
      'RGBA PNG': (encode(rgba, 'PNG'), rgb, 0),
      'palette PNG': (encode(gif, 'PNG'), first_frame, 0),
      '16-bit PNG': (encode(Image.fromarray(deep), 'PNG'), grey_as_rgb, 1),
      'GIF': (encode(gif, 'GIF'), first_frame, 0),
      'animated GIF': (animated, first_frame, 0),
      'BMP': (encode(rgb, 'BMP'), rgb, 0),
      'RGBA BMP': (encode(rgba, 'BMP'), rgb, 0),
      'palette BMP': (encode(gif, 'BMP'), first_frame, 0),
      'grey BMP': (encode(grey, 'BMP'), grey_as_rgb, 0),
    }

  def test_formats(self):
    for name, (encoded, expected, tolerance) in self.formats().items():
      with self.subTest(name):
        result = images.decode_for_eval(
          encoded, image_size=(48, 64), center_crop=False
        )
        difference = np.abs(result.numpy().astype(int) - expected)
        self.assertLessEqual(difference.max(), tolerance)

  @parameterized.parameters(False, True)
  def test_inside_map_fn(self, center_crop):
    encoded = [each[0] for each in self.formats().values()]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(batch):
      return tf.map_fn(
        lambda each: images.decode_for_eval(
          each, image_size=32, center_crop=center_crop
        ),
        batch,
        fn_output_signature=tf.TensorSpec([32, 32, 3], tf.uint8),
      )

    for image, each in zip(serve(tf.constant(encoded)), encoded):
      self.assertAllEqual(
        image,
        images.decode_for_eval(each, image_size=32, center_crop=center_crop),
      )

  @parameterized.parameters('PNG', 'JPEG')
  def test_one_pixel(self, image_format):
    encoded = encode(np.full((1, 1, 3), 200, np.uint8), image_format)
    result = images.decode_for_eval(encoded, image_size=8)
    self.assertAllInRange(result, 198, 202)

  @parameterized.parameters(b'', b'B', b'\xff\xd8\xff', b'plain text, no image')
  def test_not_an_image(self, encoded):
    with self.assertRaises(tf.errors.InvalidArgumentError):
      images.decode_for_eval(encoded, image_size=8)

  def test_a_bmp_that_would_be_taken_for_another(self):
    """Stops with a sentence, in a graph as well."""
    encoded = encode(Image.new('1', (9, 9)), 'BMP')
    for decode in (images.decode_whole, tf.function(images.decode_whole)):
      with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
        decode(tf.constant(encoded))
      self.assertStartsWith(
        messages.sentence(caught.exception), 'a BMP of 1 bits a pixel, compr'
      )


class DecodeAndCropTrainTest(parameterized.TestCase, tf.test.TestCase):
  def decode(self, encoded, seed, **options):
    options = {'image_size': 16, **options}
    seed = tf.stack([tf.constant(3, tf.int64), tf.cast(seed, tf.int64)])
    return images.decode_and_crop_train(
      tf.constant(encoded), seed=seed, **options
    )

  def test_a_function_of_the_seed(self):
    encoded = encode(make_pixels(60, 80), 'JPEG')
    again = tf.function(self.decode)(encoded, tf.constant(5, tf.int64))
    tf.random.set_seed(99)
    self.assertAllEqual(self.decode(encoded, 5), again)
    different = {self.decode(encoded, i).numpy().tobytes() for i in range(20)}
    self.assertLen(different, 20)

  @parameterized.parameters('JPEG', 'PNG')
  def test_areas_and_aspects_have_the_distribution_asked_for(self, file_format):
    # Each pixel says where it is: x in red, y in green.
    grid = np.zeros((128, 128, 3), np.uint8)
    grid[..., 0] = np.arange(128) * 2
    grid[..., 1] = np.arange(128)[:, None] * 2
    options = (
      {'quality': 100, 'subsampling': 0} if file_format == 'JPEG' else {}
    )
    encoded = encode(grid, file_format, **options)
    decode = tf.function(
      lambda seed: self.decode(
        encoded,
        seed,
        image_size=128,
        random_flip=False,
        area_range=(0.2, 0.6),
        aspect_range=(0.5, 2.0),
      )
    )
    areas, aspects = [], []
    for seed in range(250):
      image = decode(tf.constant(seed, tf.int64)).numpy().astype(float) / 2
      width = image[..., 0].max() - image[..., 0].min() + 1
      height = image[..., 1].max() - image[..., 1].min() + 1
      areas.append(width * height / 128**2)
      aspects.append(width / height)
    tolerance = 0.03  # Whole pixels, and JPEG.
    self.assertAllInRange(areas, 0.2 - tolerance, 0.6 + tolerance)
    self.assertAllInRange(aspects, 0.5 - tolerance, 2.0 + 2 * tolerance)
    # Uniform in area: mean and deviation of U(0.2, 0.6).
    self.assertAllClose(np.mean(areas), 0.4, atol=0.04)
    self.assertAllClose(np.std(areas), 0.4 / 12**0.5, atol=0.02)
    self.assertLess(np.min(aspects), 0.65)
    self.assertGreater(np.max(aspects), 1.6)

  def test_fused_jpeg_equals_crop_of_decoded(self):
    """The JPEG path crops as the PNG path does, from the same decoded image."""
    # Without subsampling: at the edge of a crop, chroma is interpolated anew.
    jpeg = encode(make_pixels(90, 70), 'JPEG', quality=90, subsampling=0)
    png = encode(tf.io.decode_jpeg(jpeg).numpy(), 'PNG')
    for seed in range(10):
      self.assertAllClose(
        self.decode(jpeg, seed), self.decode(png, seed), atol=1
      )

  def test_flips_half_of_the_images(self):
    half_black = np.zeros((16, 16, 3), np.uint8)
    half_black[:, 8:] = 255
    encoded = encode(half_black, 'PNG')
    flipped = 0
    for seed in range(200):
      image = self.decode(encoded, seed, center_crop=False).numpy()
      is_flipped = image[0, 0, 0] == 255
      self.assertAllEqual(
        image, half_black[:, ::-1] if is_flipped else half_black
      )
      flipped += is_flipped
    self.assertBetween(flipped, 70, 130)

  def test_flip_does_not_depend_on_the_crop(self):
    half_black = np.zeros((64, 64, 3), np.uint8)
    half_black[:, 32:] = 255
    encoded = encode(half_black, 'PNG')
    for seed in range(10):
      plain = self.decode(encoded, seed, random_flip=False)
      self.assertTrue(
        any(
          np.array_equal(self.decode(encoded, seed), each)
          for each in (plain, plain[:, ::-1])
        )
      )

  def test_whole_image_is_the_one_of_evaluation(self):
    encoded = encode(make_pixels(33, 57), 'JPEG')
    self.assertAllEqual(
      self.decode(encoded, 1, center_crop=False, random_flip=False),
      images.decode_for_eval(encoded, image_size=16, center_crop=False),
    )

  def test_shape_is_static(self):
    dataset = tf.data.Dataset.from_tensors(
      encode(make_pixels(9, 9), 'PNG')
    ).map(
      lambda each: images.decode_and_crop_train(
        each, image_size=(8, 12), seed=tf.constant([0, 0])
      )
    )
    self.assertEqual(dataset.element_spec, tf.TensorSpec([8, 12, 3], tf.uint8))

  @parameterized.parameters('PNG', 'JPEG')
  def test_one_pixel(self, image_format):
    encoded = encode(np.full((1, 1, 3), 100, np.uint8), image_format)
    self.assertAllInRange(self.decode(encoded, 0), 98, 102)


if __name__ == '__main__':
  tf.test.main()
