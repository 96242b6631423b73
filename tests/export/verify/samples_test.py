import io
import struct

import numpy as np
import tensorflow as tf
from PIL import Image

from official_coatnet.export import preprocessing, warmup
from official_coatnet.export.verify import samples
from tests.fixtures import experiments, runs


class SamplesTest(tf.test.TestCase):
  def test_formats(self):
    """Pillow and TensorFlow read all of them, and see the same."""
    encoded = samples.make_images(16, side=40)
    kinds, sizes = set(), set()
    for image in encoded:
      decoded = tf.io.decode_image(image, expand_animations=False).numpy()
      with Image.open(io.BytesIO(image)) as opened:
        deep = image[24:25] == b'\x10' and opened.format == 'PNG'
        kinds.add((opened.format, opened.mode, deep))
        sizes.add(opened.size)
        mode = 'RGB' if opened.mode == 'P' else opened.mode
        expected = np.asarray(opened.convert(mode))
      expected = expected.reshape(*expected.shape[:2], -1)
      if decoded.shape[-1] == 3 and expected.shape[-1] == 1:
        expected = np.repeat(expected, 3, axis=-1)
      difference = np.abs(decoded.astype(int) - expected)
      # Two decoders of JPEG interpolate colours in their own ways.
      is_jpeg = image[:2] == b'\xff\xd8'
      self.assertLessEqual(difference.max(), 8 if is_jpeg else 0)
      self.assertGreater(np.ptp(decoded), 50)
    self.assertEqual({kind[0] for kind in kinds}, {'JPEG', 'PNG', 'BMP', 'GIF'})
    self.assertLen(kinds, 8)
    self.assertGreater(len(sizes), 5)

  def test_equal_arguments_give_equal_images(self):
    self.assertEqual(
      samples.make_images(8, side=20), samples.make_images(8, side=20)
    )
    self.assertEqual(
      warmup.make_jpeg(9, 8, seed=1), warmup.make_jpeg(9, 8, seed=1)
    )


class DamagedTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    # With what Pillow alone can make: CMYK, frames, 8-bit BMP.
    self.originals = [
      *samples.make_images(8, side=24),
      *runs.encoded_images().values(),
    ]

  def test_images_are_functions_of_their_number(self):
    def make(numbers, **kwargs):
      return [
        samples.make_damaged(i, self.originals, **kwargs) for i in numbers
      ]

    images = make(range(50))
    self.assertEqual(images[::-1], make(range(49, -1, -1)))
    self.assertNotEqual(images, make(range(50), seed=1))
    self.assertGreater(len(set(images)), 45)
    changed = sum(image not in self.originals for image in images)
    self.assertGreater(changed, 40)

  def test_headers_lie_in_every_format(self):
    lies = set()
    for i in range(600):
      image = samples.make_damaged(i, self.originals)
      for original in self.originals:
        # As long as it was, and with another size.
        if len(image) != len(original) or image[:2] != original[:2]:
          continue
        if image[:4] == b'\x89PNG' and image[16:24] != original[16:24]:
          lies.add('png')
        if image[:2] == b'BM' and image[18:26] != original[18:26]:
          lies.add('bmp')
        if image[:3] == b'GIF' and image[6:10] != original[6:10]:
          lies.add('gif')
        sides = [struct.pack('>H', side) for side in (4096, 9000, 30000, 65535)]
        if image[:2] == b'\xff\xd8' and any(s in image[:400] for s in sides):
          lies.add('jpeg')
    self.assertEqual(lies, {'png', 'bmp', 'gif', 'jpeg'})

  def test_the_decoder_refuses_or_answers(self):
    experiment = experiments.make_experiment()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(image_bytes):
      return preprocessing.decode_batch(
        image_bytes, experiment, max_pixels=10**6, answer_bad_images=True
      )

    images = [samples.make_damaged(i, self.originals) for i in range(400)]
    pixels, ok = decode(tf.constant(images))
    self.assertEqual(pixels.shape, [400, 32, 32, 3])
    self.assertBetween(np.mean(ok), 0.1, 0.6)
    self.assertFalse(np.any(pixels.numpy()[~ok.numpy()]))


if __name__ == '__main__':
  tf.test.main()
