import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

from official_coatnet.export.verify import c_api, runners
from official_coatnet.export.verify.comparison import Request
from tools import c_loader


class RunnersTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.path = os.path.join(self.create_tempdir().full_path, 'export')
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.uint8, 'pixels')])
    def double(pixels):
      return {
        'doubled': 2.0 * tf.cast(pixels, tf.float32),
        'text': tf.strings.as_string(pixels),
      }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, 'text')])
    def number(text):
      return {'number': tf.strings.to_number(text), 'text': text}

    # The last is what an export is known by.
    signatures = {
      'double': double,
      'number': number,
      'serving_default': number,
    }
    tf.saved_model.save(module, self.path, signatures)

  def test_both_answer_the_same(self):
    texts = np.array([b'1', b'2.5'], object)
    requests = [
      Request('double', 'pixels', np.array([[1, 200], [0, 3]], np.uint8)),
      Request('number', 'text', np.array([b'no'], object)),
      Request('number', 'text', texts),
      Request('number', 'text', texts[:0]),
      Request('none', 'text', texts),
    ]
    in_cpp, memory = runners.run_in_cpp(self.path, requests, timeout=300)
    in_python = runners.run_in_python(self.path)(requests)
    self.assertBetween(memory, 1e7, 1e10)
    for replies in (in_cpp, in_python):
      doubled, bad, numbers, empty, unknown = replies
      self.assertAllEqual(doubled['doubled'], [[2, 400], [0, 6]])
      self.assertEqual(doubled['doubled'].dtype, np.float32)
      self.assertAllEqual(doubled['text'], [[b'1', b'200'], [b'0', b'3']])
      self.assertIn('StringToNumber', bad)
      self.assertAllEqual(numbers['number'], [1, 2.5])
      self.assertEqual(numbers['text'].tolist(), texts.tolist())
      self.assertEqual(empty['number'].shape, (0,))
      self.assertIn('none', unknown)

  def test_times(self):
    value = np.array([b'1'], object)
    requests = [Request('number', 'text', value)] * 3
    load, seconds = runners.time_in_cpp(self.path, requests)
    self.assertGreater(load, 0)
    self.assertLen(seconds, 3)
    self.assertGreater(min(seconds), 0)
    with self.assertRaisesRegex(c_api.LoadError, "signature 'none'"):
      runners.time_in_cpp(self.path, [Request('none', 'text', value)])

  def test_what_does_not_load(self):
    with self.assertRaisesRegex(c_api.LoadError, '^c_api.py: .*SavedModel'):
      runners.run_in_cpp(self.create_tempdir().full_path, [])
    with self.assertRaises(subprocess.TimeoutExpired):
      runners.run_in_cpp(self.path, [], timeout=0.001)

  def test_the_tool_says_how_it_is_called(self):
    process = subprocess.run(
      [sys.executable, c_loader.__file__],
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(
      process.stderr, 'usage: c_loader.py EXPORT REQUESTS REPLIES\n'
    )
    self.assertEqual(process.returncode, 1)


if __name__ == '__main__':
  tf.test.main()
