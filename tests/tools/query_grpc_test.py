"""tools/query.py over gRPC, against tests/fixtures/serving_stub.py."""

import json
import socket
import threading

import grpc
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.fixtures import queries, serving_replies, serving_stub


class GrpcTest(queries.ToolTest):
  def test_classes_of_images(self):
    with serving_stub.grpc_server() as (address, asked):
      output, end = self._run(self.image, grpc=address, version=12)
      self.assertEqual(output, f'{self.image}\n{queries.TOP}')
      self.assertIsNone(end)
      output, _ = self._run(
        *[self.image] * 3, grpc=address, label='canary', batch_size=2, json=True
      )
    for line in output.splitlines():
      (first, _) = json.loads(line)['predictions']
      self.assertEqual(first['class'], 'Bär')
      self.assertAlmostEqual(first['score'], 0.902, places=6)
    for request, count in zip(asked, (1, 2, 1), strict=True):
      self.assertEqual(request.model_spec.name, 'coatnet')
      self.assertEqual(request.model_spec.signature_name, 'serving_default')
      self.assertEqual(
        tf.make_ndarray(request.inputs['image_bytes']).tolist(),
        [queries.IMAGE] * count,
      )
    self.assertEqual(asked[0].model_spec.version.value, 12)
    self.assertEqual(asked[1].model_spec.version_label, 'canary')

  def test_classify(self):
    with serving_stub.grpc_server() as (address, asked):
      output, _ = self._run(self.image, grpc=address, signature='classify')
    self.assertEqual(output, f'{self.image}\n{queries.TOP}')
    (request,) = asked
    self.assertEqual(request.model_spec.signature_name, 'classify')
    (example,) = request.input.example_list.examples
    self.assertEqual(
      dict(example.features.feature)['image/encoded'].bytes_list.value,
      [queries.IMAGE],
    )

  def test_other_signatures(self):
    with serving_stub.grpc_server() as (address, asked):
      for file, signature in (
        (self.pixels, 'serving_image_tensor'),
        (self.image, 'serving_tf_example'),
      ):
        output, _ = self._run(file, grpc=address, signature=signature)
        self.assertEqual(output, f'{file}\n{queries.TOP}')
      output, _ = self._run(self.image, grpc=address, signature='features')
      self.assertEqual(output, f'{self.image}\n  features: 3 numbers\n')
    pixels = tf.make_ndarray(asked[0].inputs['image'])
    self.assertEqual(pixels.dtype, np.uint8)
    np.testing.assert_array_equal(pixels, queries.PIXELS[None])
    (example,) = tf.make_ndarray(asked[1].inputs['examples'])
    feature = tf.train.Example.FromString(example).features.feature
    self.assertEqual(feature['image/encoded'].bytes_list.value, [queries.IMAGE])

  @parameterized.parameters(
    (grpc.StatusCode.NOT_FOUND, serving_replies.NO_MODEL, 'has no such model'),
    (
      grpc.StatusCode.FAILED_PRECONDITION,
      serving_replies.NO_SIGNATURE_GRPC,
      '"features" not found. The model has other',
    ),
    (
      grpc.StatusCode.INVALID_ARGUMENT,
      serving_replies.NO_LABEL,
      'version label: canary',
    ),
    (grpc.StatusCode.INTERNAL, 'x [[y]]', 'INTERNAL: x$'),
  )
  def test_errors_of_the_server_end_it(self, code, text, message):
    with serving_stub.grpc_server(failure=(code, text)) as (address, asked):
      output, end = self._run(self.image, self.image, grpc=address)
    self.assertEqual(output, '')
    self.assertRegex(end, message)
    self.assertLen(asked, 1)

  @parameterized.parameters(
    (serving_replies.BAD_IMAGE, 'Unknown image file format. One of JPEG, PNG'),
    (serving_replies.LARGE_IMAGE, 'Image 0 of the batch has 60000000 pixels, '),
  )
  def test_a_bad_image(self, text, message):
    failure = (grpc.StatusCode.INVALID_ARGUMENT, text)
    with serving_stub.grpc_server(failure=failure) as (address, asked):
      output, end = self._run(self.image, self.image, grpc=address)
    self.assertEqual(output.count(f'  error: {message}'), 2)
    self.assertNotRegex(output, r'[\[\]{}]')
    self.assertEqual(end, 1)
    self.assertLen(asked, 2)

  def test_messages_that_are_too_large(self):
    """On their way there, and on their way back."""
    large = self._write('large.jpg', queries.IMAGE + b'x' * (1 << 20))

    def run(signature, name, rows):
      return {'features': np.zeros([1, 1 << 19], np.float32)}

    with serving_stub.grpc_server(run=run) as (address, asked):
      output, end = self._run(large, grpc=address, max_message_mb=1)
      self.assertEmpty(asked)
      self.assertRegex(output, 'error: The message is too large .*larger than')
      self.assertEqual(end, 1)
      args = {'grpc': address, 'signature': 'features'}
      output, _ = self._run(self.image, **args, max_message_mb=1)
      self.assertRegex(output, 'error: The message is too large .*larger than')
      output, end = self._run(large, **args, max_message_mb=8)
      self.assertIn('features: 524288 numbers', output)
      self.assertIsNone(end)

  def test_nobody_answers(self):
    with socket.socket() as unused:
      unused.bind(('127.0.0.1', 0))
      address = f'127.0.0.1:{unused.getsockname()[1]}'
      _, end = self._run(self.image, grpc=address)
    self.assertRegex(end, 'unavailable .*Is the server up')

  def test_timeout(self):
    gone = threading.Event()
    with serving_stub.grpc_server(hold=gone.wait) as (address, _):
      _, end = self._run(self.image, grpc=address, timeout=0.1)
      gone.set()
    self.assertIn('did not answer in time', end)

  def test_status_and_metadata(self):
    with serving_stub.grpc_server() as (address, asked):
      over_grpc = [
        self._run(grpc=address, show=show) for show in ('status', 'metadata')
      ]
    with serving_stub.rest(queries.answer_everything) as (url, _):
      over_rest = [
        self._run(rest=url, show=show) for show in ('status', 'metadata')
      ]
    self.assertEqual(over_grpc, over_rest)
    self.assertEqual(list(asked[1].metadata_field), ['signature_def'])


if __name__ == '__main__':
  absltest.main()
