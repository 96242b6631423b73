import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import pipeline, schema
from official_coatnet.export import preprocessing
from tests import experiment_fixture, run_fixture


class DecodeTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.named_parameters(
    ('center', {'center_crop': True, 'eval_crop_fraction': 0.8}),
    ('squeezed', {'center_crop': False}),
    ('not_square', {'image_size': (48, 32)}),
  )
  def test_pixels_are_those_of_the_evaluation(self, data):
    """Writes records, and reads them as an evaluation does."""
    encoded = list(run_fixture.encoded_images().values())
    folder = self.create_tempdir().full_path
    path = os.path.join(folder, 'validation-00000-of-00001')
    with tf.io.TFRecordWriter(path) as writer:
      for image in encoded:
        writer.write(
          schema.serialize_imagenet(image, label=1, height=1, width=1)
        )
    sizes = {'image_size': data.get('image_size', 32)}
    experiment = experiment_fixture.make_experiment(
      model=sizes,
      train_data=sizes,
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
    self.assertEqual(
      actual.shape[1:], experiment.eval_data.height_and_width + (3,)
    )
    self.assertAllEqual(actual, expected)

  def test_an_image_does_not_depend_on_its_neighbours(self):
    encoded = list(run_fixture.encoded_images().values())
    experiment = experiment_fixture.make_experiment()
    decode = tf.function(lambda x: preprocessing.decode_batch(x, experiment)[0])
    together = decode(tf.constant(encoded))
    for i, image in enumerate(encoded):
      self.assertAllEqual(decode(tf.constant([image]))[0], together[i])

  def test_the_first_frame_of_a_gif_is_taken(self):
    """The fixture's second frame is black."""
    experiment = experiment_fixture.make_experiment(
      eval_data={'center_crop': False}
    )
    gif = run_fixture.encoded_images()['two.gif']
    decoded = preprocessing.decode_batch(tf.constant([gif]), experiment)[0][0]
    frame = tf.image.resize(run_fixture.pixels(30, 40, seed=9), [32, 32])
    # A palette of 256 colours is not exact.
    difference = np.abs(decoded.numpy().astype(float) - frame.numpy())
    self.assertLess(difference.mean(), 8)


if __name__ == '__main__':
  tf.test.main()
