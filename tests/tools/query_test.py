"""tools/query.py over REST, against tests/fixtures/serving_stub.py."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading

import numpy as np
import tensorflow as tf
from absl import app
from absl.testing import absltest, parameterized
from PIL import ExifTags, Image

from official_coatnet.export import preprocessing, serving
from tests.fixtures import (
  image_files,
  queries,
  serving_replies,
  serving_stub,
)
from tools import query, serving_client


class RestTest(queries.ToolTest):
  @parameterized.parameters(
    ({}, '/v1/models/coatnet:predict'),
    ({'version': 12}, '/v1/models/coatnet/versions/12:predict'),
    ({'label': 'a b'}, '/v1/models/coatnet/labels/a%20b:predict'),
  )
  def test_classes_of_an_image(self, flags, path):
    with serving_stub.rest(queries.answer_everything) as (url, asked):
      output, end = self._run(self.image, rest=url, **flags)
    self.assertEqual(output, f'{self.image}\n{queries.TOP}')
    self.assertIsNone(end)
    body = {
      'signature_name': 'serving_default',
      'instances': [{'image_bytes': queries.b64(queries.IMAGE)}],
    }
    self.assertEqual(asked, [(path, 'application/json', body)])

  def test_json(self):
    missing = os.path.join(self.folder, 'missing.jpg')
    empty = self._write('empty.jpg', b'')
    with serving_stub.rest(queries.answer_everything) as (url, asked):
      output, end = self._run(
        missing, self.image, empty, rest=f'{url}/', json=True, top_k=1
      )
    self.assertEqual(end, 1)
    self.assertLen(asked, 1)
    self.assertEqual(
      [json.loads(line) for line in output.splitlines()],
      [
        {'file': missing, 'error': 'No such file or directory'},
        {
          'file': self.image,
          'predictions': [{'class': 'Bär', 'score': 0.902}],
        },
        {'file': empty, 'error': 'The file is empty.'},
      ],
    )

  def test_images_are_converted(self):
    """What a server would see otherwise, or not at all, is sent as PNG."""
    sent = [
      self._write('x.webp', image_files.encode(1, 'WEBP')),
      self._write('x.tif', image_files.encode(1, 'TIFF')),
    ]
    text = self._write('notes.txt', b'no image')
    with serving_stub.rest(queries.answer_everything) as (url, asked):
      output, end = self._run(*sent, text, rest=url)
      self._run(sent[0], rest=url, signature='serving_tf_example')
      self._run(sent[0], rest=url, raw=True)
    self.assertEqual(end, 1)
    self.assertIn('notes.txt\n  error: no image of a known format', output)
    webp, tiff, example, raw = (
      next(iter(body['instances'][0].values()))['b64'] for *_, body in asked
    )
    pixels = tf.io.decode_png(base64.b64decode(tiff))
    np.testing.assert_array_equal(
      pixels, tf.io.decode_png(image_files.encode(1, 'PNG'))
    )
    self.assertIn(base64.b64decode(webp), base64.b64decode(example))
    self.assertEqual(base64.b64decode(raw), image_files.encode(1, 'WEBP'))

  def test_orientation(self):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    Image.new('RGB', (8, 4)).save(buffer, 'JPEG', exif=exif)
    side = self._write('side.jpg', buffer.getvalue())
    os.makedirs(export := os.path.join(self.folder, 'exports', '7'))
    with open(os.path.join(export, 'data.json'), 'w', encoding='utf-8') as f:
      json.dump({'train': {'exif_orientation': True}}, f)
    exports = os.path.dirname(export)
    for flags, size in (
      ({}, (8, 4)),
      ({'exif_orientation': True}, (4, 8)),
      ({'saved_model': exports}, (4, 8)),
      ({'saved_model': exports, 'exif_orientation': False}, (8, 4)),
    ):
      with serving_stub.rest(queries.answer_everything) as (url, asked):
        self._run(side, rest=url, **flags)
      ((_, _, body),) = asked
      sent = base64.b64decode(body['instances'][0]['image_bytes']['b64'])
      self.assertEqual(Image.open(io.BytesIO(sent)).size, size)

  def test_flags_that_are_wrong(self):
    for flags, words in (
      ({'value_range': '1'}, "--value_range is '1', but must be the values"),
      ({'saved_model': '/nowhere'}, 'there is no such folder here'),
    ):
      _, end = self._run(self.image, rest='http://localhost:1', **flags)
      self.assertIn(words, end)

  def test_classify(self):
    with serving_stub.rest(queries.answer_everything) as (url, asked):
      output, _ = self._run(self.image, rest=url, signature='classify')
    self.assertEqual(output, f'{self.image}\n{queries.TOP}')
    ((path, _, body),) = asked
    self.assertEqual(path, '/v1/models/coatnet:classify')
    self.assertEqual(
      body,
      {
        'signature_name': 'classify',
        'examples': [{'image/encoded': queries.b64(queries.IMAGE)}],
      },
    )

  def test_other_signatures(self):
    with serving_stub.rest(queries.answer_everything) as (url, asked):
      args = {'rest': url, 'signature': 'serving_image_tensor'}
      output, _ = self._run(self.pixels, **args)
      self.assertEqual(output, f'{self.pixels}\n{queries.TOP}')
      args['signature'] = 'serving_tf_example'
      self._run(self.image, **args)
      args['signature'] = 'features'
      output, _ = self._run(self.image, **args)
      self.assertEqual(output, f'{self.image}\n  features: 3 numbers\n')
      output, _ = self._run(self.image, **args, json=True)
      self.assertEqual(json.loads(output)['features'], [0.5, -1.5, 2.0])
    rows = [body['instances'][0] for _, _, body in asked]
    self.assertEqual(rows[0], {'image': queries.PIXELS.tolist()})
    example = base64.b64decode(rows[1]['examples']['b64'])
    feature = tf.train.Example.FromString(example).features.feature
    self.assertEqual(feature['image/encoded'].bytes_list.value, [queries.IMAGE])
    self.assertEqual(rows[2], {'image_bytes': queries.b64(queries.IMAGE)})

  def test_several_images_in_a_request(self):
    """Also: one that cannot be read takes no place in it."""

    def answer(path, body):
      (prediction,) = json.loads(serving_replies.PREDICT)['predictions']
      predictions = [
        {**prediction, 'scores': [i / 8, 0.0], 'ok': i != 1}
        for i, _ in enumerate(body['instances'])
      ]
      return 200, json.dumps({'predictions': predictions})

    files = [self.image, '/none', self.image, self.image, self.image]
    with serving_stub.rest(answer) as (url, asked):
      output, end = self._run(*files, rest=url, batch_size=4, json=True)
    self.assertEqual([len(body['instances']) for _, _, body in asked], [3, 1])
    self.assertEqual(end, 1)
    results = [json.loads(line) for line in output.splitlines()]
    self.assertEqual([r['file'] for r in results], files)
    self.assertIn('cannot decode', results[2]['error'])
    scores = [
      r['predictions'][0]['score'] for r in results if 'predictions' in r
    ]
    self.assertEqual(scores, [0.0, 2 / 8, 0.0])

  def test_a_bad_image_does_not_stop_the_others(self):
    def answer(path, body):
      if body['instances'] == [{'image_bytes': queries.b64(b'bad')}]:
        return 400, serving_stub.error(serving_replies.BAD_IMAGE)
      return 200, serving_replies.PREDICT

    bad = self._write('bad.jpg', b'bad')
    with serving_stub.rest(answer) as (url, _):
      output, end = self._run(bad, self.image, rest=url, raw=True)
    self.assertEqual(end, 1)
    self.assertEqual(
      output,
      f'{bad}\n  error: Unknown image file format. One of JPEG, PNG, GIF, BMP '
      f'required\n{self.image}\n{queries.TOP}',
    )

  @parameterized.parameters(
    (404, serving_stub.error(serving_replies.NO_MODEL), 'has no such model'),
    (
      400,
      serving_stub.error(serving_replies.NO_SIGNATURE_REST),
      '"features" not found in .* has other signatures',
    ),
    (
      400,
      serving_stub.error(serving_replies.NO_LABEL),
      'version label: canary',
    ),
    (502, '<html>Bad gateway</html>', 'HTTP status 502: Bad gateway'),
    (200, '<html>Welcome</html>', 'answered no JSON'),
    (200, '{"outputs": []}', 'answered no rows instead of 1'),
    (200, '{"predictions": []}', 'answered 0 rows instead of 1'),
  )
  def test_errors_of_the_server_end_it(self, status, reply, message):
    with serving_stub.rest(lambda *_: (status, reply)) as (url, asked):
      output, end = self._run(self.image, self.image, rest=url)
    self.assertEqual(output, '')
    self.assertRegex(end, message)
    self.assertLen(asked, 1)

  def test_a_message_that_a_proxy_refuses(self):
    with serving_stub.rest(lambda *_: (413, 'too big')) as (url, _):
      output, _ = self._run(self.image, rest=url)
    self.assertIn('error: The message is too large (too big)', output)

  def test_scores_that_are_no_numbers(self):
    """TF Serving writes them as no JSON knows them, and Python reads them."""
    reply = serving_replies.PREDICT.replace('0.095', 'NaN')
    with serving_stub.rest(lambda *_: (200, reply)) as (url, _):
      output, end = self._run(self.image, rest=url, json=True)
    self.assertIn('scores that are no numbers', json.loads(output)['error'])
    self.assertEqual(end, 1)

  def test_nobody_answers(self):
    with socket.socket() as unused:
      unused.bind(('127.0.0.1', 0))
      url = f'http://127.0.0.1:{unused.getsockname()[1]}'
      _, end = self._run(self.image, rest=url)
    self.assertRegex(end, 'unavailable .*refused.*Is the server up')
    for url in ('localhost:8501', 'file:///etc/passwd'):
      _, end = self._run(self.image, rest=url)
      self.assertIn('must begin with http:// or https://', end)
    _, end = self._run(self.image, rest='http://localhost:grpc')
    self.assertIn('whose port is no number', end)

  def test_a_server_of_something_else(self):
    """Such as the gRPC port."""
    with socket.create_server(('127.0.0.1', 0)) as server:

      def speak():
        connection, _ = server.accept()
        with connection:
          connection.recv(1 << 16)
          connection.sendall(b'\0\0\x12\4\0\0\0\0\0\0\n')

      thread = threading.Thread(target=speak)
      thread.start()
      url = f'http://127.0.0.1:{server.getsockname()[1]}'
      _, end = self._run(self.image, rest=url)
      thread.join()
    self.assertIn('is this its port', end)

  def test_timeout(self):
    gone = threading.Event()

    def answer(path, body):
      gone.wait()
      return 200, serving_replies.PREDICT

    with serving_stub.rest(answer) as (url, _):
      _, end = self._run(self.image, rest=url, timeout=0.1)
      gone.set()
    self.assertIn('did not answer in time', end)

  def test_status_and_metadata(self):
    with serving_stub.rest(queries.answer_everything) as (url, asked):
      status, _ = self._run(rest=url, show='status', version=3)
      status_json, _ = self._run(rest=url, show='status', json=True)
      metadata, _ = self._run(rest=url, show='metadata')
    self.assertEqual(
      status, 'version 3: AVAILABLE\nversion 2: END (no such folder)\n'
    )
    self.assertEqual(
      json.loads(status_json), json.loads(serving_replies.STATUS)
    )
    self.assertEqual(
      metadata,
      'coatnet, version 3\nclassify(inputs string [?]) -> '
      'classes string [?, 5], scores float [?, 5]\n',
    )
    self.assertEqual(
      [(path, body) for path, _, body in asked],
      [
        ('/v1/models/coatnet/versions/3', None),
        ('/v1/models/coatnet', None),
        ('/v1/models/coatnet/metadata', None),
      ],
    )

  def test_arguments(self):
    for files, show in (([], None), ([self.image], 'status')):
      with self.assertRaisesRegex(app.UsageError, 'or else --show'):
        self._run(*files, rest='http://x', show=show)

  def test_arrays(self):
    other = os.path.join(self.folder, 'other.npy')
    flat = os.path.join(self.folder, 'flat.npy')
    np.save(other, queries.PIXELS[:1])
    np.save(flat, queries.PIXELS[0].astype(np.float32))
    flags = {'rest': 'http://x', 'signature': 'serving_image_tensor'}
    output, _ = self._run(self.pixels, other, **flags, batch_size=2)
    self.assertEqual(output.count('must have the same size'), 2)
    output, _ = self._run(flat, self.image, **flags)
    self.assertIn('The array is float32 [4, 3]; it must be uint8', output)
    self.assertEqual(output.count('error: '), 2)


class WithoutTensorFlowTest(queries.ToolTest):
  def _process(self, *arguments):
    for name in ('tensorflow', 'tensorflow_serving', 'numpy'):
      self._write(f'{name}.py', b'raise ImportError("not here")')
    return subprocess.run(
      [sys.executable, query.__file__, '--model=coatnet', *arguments],
      env={**os.environ, 'PYTHONPATH': self.folder, 'PYTHONUTF8': '1'},
      capture_output=True,
      text=True,
      encoding='utf-8',
      check=False,
    )

  def test_rest_does_without(self):
    with serving_stub.rest(queries.answer_everything) as (url, _):
      process = self._process(f'--rest={url}', self.image)
    self.assertEqual(process.stderr, '')
    self.assertEqual(process.returncode, 0)
    self.assertEqual(process.stdout, f'{self.image}\n{queries.TOP}')

  def test_grpc_says_what_it_needs(self):
    process = self._process('--grpc=localhost:1', self.image)
    self.assertEqual(process.returncode, 1)
    self.assertNotIn('Traceback', process.stderr)
    self.assertIn('pip install "official_coatnet[serving]"', process.stderr)

  def test_flags(self):
    for arguments in ([], ['--rest=http://x', '--grpc=x']):
      process = self._process(*arguments, self.image)
      self.assertIn('must be given', process.stderr)


class ConstantsTest(absltest.TestCase):
  def test_agree_with_the_export(self):
    self.assertEqual(serving_client.INPUTS, serving.INPUTS)
    self.assertEqual(serving_client.ENCODED_KEY, preprocessing.ENCODED_KEY)

  def test_examples(self):
    """Their lengths take one byte, two, and three."""
    for size in (0, 1, 90, 127, 128, 16383, 16384, 70000):
      content = bytes(i % 251 for i in range(size))
      example = tf.train.Example.FromString(
        serving_client.make_example(content)
      )
      (name,) = example.features.feature
      self.assertEqual(name, 'image/encoded')
      feature = example.features.feature[name]
      self.assertEqual(feature.bytes_list.value, [content])


if __name__ == '__main__':
  absltest.main()
