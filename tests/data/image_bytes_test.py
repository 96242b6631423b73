"""Tests of official_coatnet.data.image_bytes."""

import base64

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import image_bytes, images
from tests.fixtures import image_files

JPEG = image_files.encode(0)
NOISE = np.random.default_rng(0).integers(0, 256, 30_000, np.uint8).tobytes()


class FaultTest(parameterized.TestCase):
  @parameterized.parameters(*images.DECODED)
  def test_images_that_a_graph_decodes(self, form):
    self.assertIsNone(image_bytes.fault(image_files.encode(0, form)))

  @parameterized.parameters(
    (NOISE[: 24 * 30 * 3], '2,160 bytes .* 24 x 30 x 3 pixels of type uint8'),
    (NOISE[: 24 * 30], '720 bytes .* 24 x 30 x 1 pixels of type uint8'),
    (NOISE[: 24 * 30 * 12], '24 x 30 x 3 pixels of type float32'),
    (NOISE[: 50 * 50 * 3], '50 x 50 x 3 pixels of type uint8'),
    (NOISE[:7_001], '^7,001 bytes that are no image file$'),
    (base64.b64encode(JPEG), 'an image file as base64 text'),
    (b'images/17.jpg', "'images/17.jpg', the name of a file"),
    (b'<html>404</html>', "text such as '<html>404</html>'"),
    (image_files.encode(0, 'TIFF'), 'a TIFF image, which TensorFlow does not'),
  )
  def test_what_it_is(self, data, words):
    found = image_bytes.fault(data, height=24, width=30)
    self.assertRegex(found, words)

  def test_serialized_tensor(self):
    data = tf.io.serialize_tensor(tf.zeros([5, 7, 3])).numpy()
    self.assertRegex(
      image_bytes.fault(data), r'serialized tensor, float32 \[5, 7, 3\]; store'
    )


if __name__ == '__main__':
  tf.test.main()
