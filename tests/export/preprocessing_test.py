import os
import struct
import zlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import pipeline, pixel_count, schema
from official_coatnet.export import preprocessing
from official_coatnet.export.verify import bombs
from tests.fixtures import experiments, image_files


class DecodeTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.named_parameters(
    ('center', {'center_crop': True, 'eval_crop_fraction': 0.8}),
    ('squeezed', {'center_crop': False}),
    ('not_square', {'image_size': (48, 32)}),
    ('bicubic', {'interpolation': 'bicubic', 'eval_crop_fraction': 0.9}),
    ('bicubic_squeezed', {'interpolation': 'bicubic', 'center_crop': False}),
  )
  def test_pixels_are_those_of_the_evaluation(self, data):
    """Writes records, and reads them as an evaluation does."""
    encoded = list(image_files.encoded_images().values())
    folder = self.create_tempdir().full_path
    path = os.path.join(folder, 'validation-00000-of-00001')
    with tf.io.TFRecordWriter(path) as writer:
      for image in encoded:
        writer.write(
          schema.serialize_imagenet(image, label=1, height=1, width=1)
        )
    sizes = {'image_size': data.get('image_size', 32)}
    interpolation = data.get('interpolation', 'bilinear')
    experiment = experiments.make_experiment(
      model=sizes,
      train_data={'interpolation': interpolation, **sizes},
      eval_data={
        'source': 'tfrecord',
        'data_dir': folder,
        'num_examples': len(encoded),
        'batch_size': len(encoded),
        **data,
      },
    )
    dataset = pipeline.make_dataset(
      experiment.eval_data, seed=0, is_training=False
    )
    expected = next(iter(dataset))['image']
    decode = tf.function(lambda x: preprocessing.decode_batch(x, experiment)[0])
    actual = decode(tf.constant(encoded))
    self.assertEqual(actual.dtype, tf.uint8)
    self.assertEqual(actual.shape[1:], experiment.eval_data.height_width + (3,))
    self.assertAllEqual(actual, expected)

  def test_an_image_does_not_depend_on_its_neighbours(self):
    encoded = list(image_files.encoded_images().values())
    experiment = experiments.make_experiment()
    decode = tf.function(lambda x: preprocessing.decode_batch(x, experiment)[0])
    together = decode(tf.constant(encoded))
    for i, image in enumerate(encoded):
      self.assertAllEqual(decode(tf.constant([image]))[0], together[i])

  def test_the_first_frame_of_a_gif_is_taken(self):
    """The fixture's second frame is black."""
    experiment = experiments.make_experiment(eval_data={'center_crop': False})
    gif = image_files.encoded_images()['two.gif']
    decoded = preprocessing.decode_batch(tf.constant([gif]), experiment)[0][0]
    frame = tf.image.resize(image_files.pixels(30, 40, seed=9), [32, 32])
    # A palette of 256 colours is not exact.
    difference = np.abs(decoded.numpy().astype(float) - frame.numpy())
    self.assertLess(difference.mean(), 8)


class BadImageTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.images = image_files.encoded_images()
    self.experiment = experiments.make_experiment()

  def _decode(self, encoded, **kwargs):
    @tf.function
    def decode(image_bytes):
      return preprocessing.decode_batch(image_bytes, self.experiment, **kwargs)

    return decode(tf.constant(encoded, tf.string))

  def test_limit(self):
    small, large = self.images['grey.bmp'], self.images['rgb.jpg']
    pixels, _ = self._decode([small, large], max_pixels=80 * 60)
    self.assertAllEqual(pixels, self._decode([small, large])[0])
    message = 'Image 1 of the batch.*has 4800 pixels.*limit of 4799'
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, message):
      self._decode([small, large], max_pixels=80 * 60 - 1)
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, 'has 2400'):
      # Two frames of 40 x 30.
      self._decode([self.images['two.gif']], max_pixels=2399)

  def test_an_image_that_lies_about_its_size_is_not_decoded(self):
    png = bytearray(self.images['rgb.png'])
    png[16:24] = struct.pack('>II', 10**5, 10**5)
    png[29:33] = struct.pack('>I', zlib.crc32(png[12:29]))
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, '10{10} pixel'):
      self._decode([bytes(png)], max_pixels=10**8)

  def test_images_made_to_cost_much_are_not_decoded(self):
    made = bombs.make(max_pixels=10**6)
    answered = (
      'JPEG of 20 scans',
      'PNG of as many texts as are read',
      'PNG of 16 bits, interlaced',
      'PNG of empty chunks',
    )
    pixels, ok = self._decode(
      list(made.values()), max_pixels=10**6, answer_bad_images=True
    )
    self.assertCountEqual([n for n, each in zip(made, ok) if each], answered)
    shown = {name for name, each in zip(made, pixels) if np.any(each)}
    self.assertEqual(shown, {'JPEG of 20 scans'})
    frames = made['GIF of frames of one pixel']
    message = 'Image 1 of the batch, counted from 0, is made of more parts'
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, message):
      self._decode([self.images['rgb.jpg'], frames], max_pixels=10**6)

  def test_bad_images_are_errors(self):
    jpeg = self.images['rgb.jpg']
    for bad in (b'', b'text', jpeg[: len(jpeg) // 2]):
      with self.assertRaises(tf.errors.InvalidArgumentError):
        self._decode([jpeg, bad])

  def test_bad_images_are_answered(self):
    images = list(self.images.values())
    expected, ok = self._decode(images)
    self.assertAllEqual(ok, np.ones(len(images), bool))
    bad = [b'', b'text', *(image[: len(image) // 2] for image in images)]
    # The largest of them is over the limit.
    limit = {'max_pixels': 64 * 64, 'answer_bad_images': True}
    too_large = 80 * 60
    pixels, ok = self._decode([*images, *bad], **limit)
    good = [
      i
      for i, image in enumerate(images)
      if pixel_count.estimate(tf.constant(image)).pixels < too_large
    ]
    self.assertLen(good, len(images) - 1)
    self.assertAllEqual(tf.where(ok)[:, 0], good)
    self.assertAllEqual(tf.gather(pixels, good), tf.gather(expected, good))
    self.assertAllEqual(pixels[len(images) :], 0 * pixels[len(images) :])

  def test_no_image(self):
    for answer_bad_images in (False, True):
      pixels, ok = self._decode([], answer_bad_images=answer_bad_images)
      self.assertEqual(pixels.shape, [0, 32, 32, 3])
      self.assertEqual(ok.shape, [0])

  def test_examples(self):
    serialized = [
      schema.serialize_imagenet(b'abc', label=3, height=1, width=1),
      tf.train.Example().SerializeToString(),
    ]
    self.assertAllEqual(
      preprocessing.parse_examples(tf.constant(serialized)), [b'abc', b'']
    )


if __name__ == '__main__':
  tf.test.main()
