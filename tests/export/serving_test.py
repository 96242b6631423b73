import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.export import serving


def make_names(names):
  return tf.lookup.StaticHashTable(
    tf.lookup.KeyValueTensorInitializer(
      tf.range(len(names), dtype=tf.int64), tf.constant(names)
    ),
    default_value='',
  )


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

  def test_labels_above_a_threshold(self):
    """Rows are as long as the longest, and one long at least."""
    probabilities = np.array(
      [[0.1, 0.9, 0.8], [0.2, 0.3, 0.1], [0.95, 0.1, 0.2]], np.float32
    )
    logits = tf.constant(np.log(probabilities / (1 - probabilities)))

    def labels(threshold):
      outputs = serving.classify(
        logits, loss='sigmoid', names=make_names(list('abc')),
        top_k=1, threshold=threshold,
      )  # fmt: skip
      self.assertEqual(outputs['classes'].shape, [3, 1])
      self.assertAllEqual(
        outputs['labels'] == b'', outputs['label_scores'] == 0
      )
      return outputs

    outputs = labels(0.75)
    self.assertAllEqual(
      outputs['labels'], [[b'b', b'c'], [b'', b''], [b'a', b'']]
    )
    self.assertAllClose(
      outputs['label_scores'], [[0.9, 0.8], [0, 0], [0.95, 0]]
    )
    self.assertAllEqual(labels(0.99)['labels'], [[b'']] * 3)
    self.assertAllEqual(
      labels(0.0)['labels'],
      [[b'b', b'c', b'a'], [b'b', b'a', b'c'], [b'a', b'c', b'b']],
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
