import struct

import numpy as np
import tensorflow as tf

from official_coatnet.export import preprocessing
from official_coatnet.export.verify import fuzzing, samples
from tests.fixtures import experiments, runs


class FuzzingTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    # With what Pillow alone can make: CMYK, frames, 8-bit BMP.
    self.originals = [
      *samples.images(8, side=24),
      *runs.encoded_images().values(),
    ]

  def test_images_are_functions_of_their_number(self):
    def make(numbers, **kwargs):
      return [fuzzing.make_image(i, self.originals, **kwargs) for i in numbers]

    images = make(range(50))
    self.assertEqual(images[::-1], make(range(49, -1, -1)))
    self.assertNotEqual(images, make(range(50), seed=1))
    self.assertGreater(len(set(images)), 45)
    changed = sum(image not in self.originals for image in images)
    self.assertGreater(changed, 40)

  def test_headers_lie_in_every_format(self):
    lies = set()
    for i in range(600):
      image = fuzzing.make_image(i, self.originals)
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

    images = [fuzzing.make_image(i, self.originals) for i in range(400)]
    pixels, ok = decode(tf.constant(images))
    self.assertEqual(pixels.shape, [400, 32, 32, 3])
    self.assertBetween(np.mean(ok), 0.1, 0.6)
    self.assertFalse(np.any(pixels.numpy()[~ok.numpy()]))


if __name__ == '__main__':
  tf.test.main()
