import io

import numpy as np
import tensorflow as tf
from PIL import Image

from official_coatnet.export.verify import samples


class SamplesTest(tf.test.TestCase):
  def test_formats(self):
    """Pillow and TensorFlow read all of them, and see the same."""
    encoded = samples.images(16, side=40)
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
    self.assertEqual(samples.images(8, side=20), samples.images(8, side=20))
    self.assertEqual(samples.jpeg(9, 8, seed=1), samples.jpeg(9, 8, seed=1))


if __name__ == '__main__':
  tf.test.main()
