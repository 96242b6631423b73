import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import pipeline, schema
from official_coatnet.export import serving
from tests import experiment_fixture, run_fixture


def make_names(names):
  return tf.lookup.StaticHashTable(
    tf.lookup.KeyValueTensorInitializer(
      tf.range(len(names), dtype=tf.int64), tf.constant(names)
    ),
    default_value='',
  )


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
    decode = tf.function(lambda x: serving.decode_batch(x, experiment))
    actual = decode(tf.constant(encoded))
    self.assertEqual(actual.dtype, tf.uint8)
    self.assertEqual(
      actual.shape[1:], experiment.eval_data.height_and_width + (3,)
    )
    self.assertAllEqual(actual, expected)

  def test_an_image_does_not_depend_on_its_neighbours(self):
    encoded = list(run_fixture.encoded_images().values())
    experiment = experiment_fixture.make_experiment()
    decode = tf.function(lambda x: serving.decode_batch(x, experiment))
    together = decode(tf.constant(encoded))
    for i, image in enumerate(encoded):
      self.assertAllEqual(decode(tf.constant([image]))[0], together[i])

  def test_the_first_frame_of_a_gif_is_taken(self):
    """The fixture's second frame is black."""
    experiment = experiment_fixture.make_experiment(
      eval_data={'center_crop': False}
    )
    gif = run_fixture.encoded_images()['two.gif']
    decoded = serving.decode_batch(tf.constant([gif]), experiment)[0]
    frame = tf.image.resize(run_fixture.pixels(30, 40, seed=9), [32, 32])
    # A palette of 256 colours is not exact.
    difference = np.abs(decoded.numpy().astype(float) - frame.numpy())
    self.assertLess(difference.mean(), 8)


class ClassifyTest(tf.test.TestCase, parameterized.TestCase):
  def test_softmax(self):
    logits = np.log([[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]]).astype(np.float32)
    outputs = serving.classify(
      tf.constant(logits + 3), loss='softmax', names=make_names(['a', 'b', 'c'])
    )
    self.assertAllClose(outputs['logits'], logits + 3)
    self.assertAllClose(
      outputs['probabilities'], [[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]]
    )
    # All three, where there are no five.
    self.assertAllEqual(
      outputs['classes'], [[b'b', b'c', b'a'], [b'a', b'c', b'b']]
    )
    self.assertAllClose(outputs['scores'], [[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]])

  def test_sigmoid(self):
    logits = [[-2.0, 3.0, 2.0, -50.0, 0.0, 1.0]]
    outputs = serving.classify(
      tf.constant(logits), loss='sigmoid', names=make_names(list('abcdef'))
    )
    expected = 1 / (1 + np.exp(-np.array(logits)))
    self.assertAllClose(outputs['probabilities'], expected, rtol=1e-6)
    self.assertAllEqual(outputs['classes'], [[b'b', b'c', b'f', b'e', b'a']])
    self.assertAllClose(
      outputs['scores'], expected[:, [1, 2, 5, 4, 0]], rtol=1e-6
    )

  def test_order_where_probabilities_are_equal(self):
    """Both round to 1 as probabilities, but not as logits."""
    outputs = serving.classify(
      tf.constant([[40.0, 41.0]]), loss='sigmoid', names=make_names(['a', 'b'])
    )
    self.assertAllEqual(outputs['probabilities'], [[1.0, 1.0]])
    self.assertAllEqual(outputs['classes'], [[b'b', b'a']])

  def test_outputs_are_float32(self):
    logits = tf.constant([[1.0, 2.0]], tf.bfloat16)
    outputs = serving.classify(
      logits, loss='softmax', names=make_names(['a', 'b'])
    )
    self.assertEqual(outputs.pop('classes').dtype, tf.string)
    for name, value in outputs.items():
      self.assertEqual(value.dtype, tf.float32, name)


if __name__ == '__main__':
  tf.test.main()
