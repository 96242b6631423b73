"""tools/query.py and replies that are not the expected, over real sockets."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import unittest
from unittest import mock

import grpc
import numpy as np
from absl.testing import absltest, parameterized

from tests.fixtures import queries, raw_server, serving_replies, serving_stub
from tools import serving_client
from tools.serving_client import errors

PREDICTION = {'classes': ['a', 'b'], 'scores': [0.75, 0.25]}
HEAD = b'HTTP/1.1 200 OK\r\n'
ENDLESS = HEAD + b'Content-Length: 1000000\r\n\r\n'
# What would turn a terminal red, and what would clear it in one byte.
COLOUR, CLEAR = '\x1b[31m', '\x9b2J'


def predictions(*rows):
  return json.dumps({'predictions': list(rows)})


class RestTest(queries.ToolTest):
  def _ask(self, *scripts, scheme='http', **flags):
    """Returns what is printed, how it ends, and how often it was asked."""
    settings = {
      name: flags.pop(name) for name in ('tls', 'listens') if name in flags
    }
    with raw_server.serve(*scripts, **settings) as (address, asked):
      output, end = self._run(self.image, rest=f'{scheme}://{address}', **flags)
    return output, end, len(asked)

  @parameterized.parameters(
    ({'code': 3, 'message': 'no such thing'}, 'no such thing'),
    ({'code': 3}, r'\{"code": 3\}'),
    (['no', 'such'], r'\["no", "such"\]'),
    (None, 'null'),
  )
  def test_an_error_that_is_no_text(self, error, expected):
    body = json.dumps({'error': error})
    script = raw_server.reply(body, status='500 Internal Server Error')
    _, end, _ = self._ask(script)
    self.assertRegex(end, f'HTTP status 500: {expected}$')

  @parameterized.parameters(
    ({'classes': ['a']}, 'answered no list of scores'),
    ({'scores': [1.0]}, 'answered no list of classes'),
    ({'classes': ['a'], 'scores': None}, 'answered no list of scores'),
    ({'classes': ['a'], 'scores': 1.0}, 'answered no list of scores'),
    ({'classes': 'a', 'scores': [1.0]}, 'answered no list of classes'),
    ({'classes': ['a'], 'scores': [1.0, 0.0]}, '1 classes and 2 scores'),
    ({'classes': [1], 'scores': [1.0]}, 'classes that are no strings'),
    ({'classes': [{'b64': 'eA=='}], 'scores': [1.0]}, 'are no strings'),
    ({}, "answered '{}' for an image"),
    (None, "answered 'None' for an image"),
    ([0.5, 0.5], r"answered '\[0.5, 0.5\]' for an image"),
  )
  def test_an_answer_of_another_model(self, prediction, expected):
    script = raw_server.reply(predictions(prediction))
    _, end, _ = self._ask(script)
    self.assertRegex(end, f'{expected}.*; was the model exported by')

  @parameterized.parameters('null', '"0.5"', 'true', 'NaN', '1' + 400 * '0')
  def test_a_score_that_is_no_number(self, score):
    body = predictions({'classes': ['a'], 'scores': ['score']})
    script = raw_server.reply(body.replace('"score"', score))
    output, end, _ = self._ask(script, json=True)
    self.assertIn('scores that are no numbers', json.loads(output)['error'])
    self.assertEqual(end, 1)

  @parameterized.parameters('[["a", 0.5, 1]]', '["a", 0.5]', '{"a": 0.5}', '3')
  def test_classes_in_another_form(self, result):
    script = raw_server.reply(f'{{"results": [{result}]}}')
    _, end, _ = self._ask(script, signature='classify')
    self.assertRegex(end, 'for an image; was the|no list of classes; was the')

  @parameterized.parameters(
    '[' * 200000,
    '{"predictions": ' + '[' * 500 + ']' * 500 + '}',
    '{"a": ' * 40 + '1' + '}' * 40,
  )
  def test_lists_in_lists(self, body):
    for status in ('200 OK', '400 Bad Request'):
      output, end, _ = self._ask(raw_server.reply(body, status=status))
      self.assertIn('lists in lists without end', end)
      self.assertEmpty(output)

  @parameterized.parameters(
    ('[]', r"no JSON object, but '\[\]'"),
    ('"x"', "no JSON object, but 'x'"),
    ('null', "no JSON object, but 'None'"),
    ('1' * 5000, 'no JSON object, but 111'),
    ('', 'no JSON object, but nothing'),
    ('{"predictions": [{"clas', 'no JSON object, but {"predictions'),
    ('<html><body>Log in</body>', 'no JSON object, but Log in;'),
  )
  def test_content_that_is_no_answer(self, body, expected):
    _, end, _ = self._ask(raw_server.reply(body))
    self.assertRegex(end, f'{expected}.*is it TF Serving')

  def test_a_reply_without_end(self):
    first = HEAD + b'Transfer-Encoding: chunked\r\n\r\n'
    script = raw_server.again_and_again(b'4\r\n[[[[\r\n', first=first)
    with raw_server.serve(script) as (address, _):
      client = serving_client.RestClient(
        f'http://{address}', model='m', max_reply_bytes=1 << 20
      )
      with self.assertRaisesRegex(errors.QueryError, 'longer than 1 MiB'):
        client.ask('serving_default', [b'x'])

  def test_an_error_without_end(self):
    first = b'HTTP/1.1 500 x\r\n\r\n'
    script = raw_server.again_and_again(b'very long ', first=first)
    _, end, _ = self._ask(script)
    self.assertIn('HTTP status 500: very long very', end)
    self.assertLess(len(end), 1000)

  @parameterized.parameters(
    (b' ', ENDLESS),
    (b'x', HEAD + b'X-Header: '),
    (b'HTTP/1.1 100 Continue\r\n\r\n', b''),
    (b'1\r\n \r\n', HEAD + b'Transfer-Encoding: chunked\r\n\r\n'),
  )
  def test_a_reply_that_trickles(self, piece, first):
    """Of body, headers, promises or chunks a little, and never the end."""
    script = raw_server.trickle(piece, first=first)
    output, end, count = self._ask(script, timeout=0.3)
    self.assertIn('did not answer in time', end)
    self.assertEmpty(output)
    self.assertEqual(count, 1)

  @parameterized.parameters(301, 302, 303, 307, 308)
  def test_redirects_are_not_followed(self, status):
    other = raw_server.reply(predictions(PREDICTION))
    with raw_server.serve(other) as (target, asked):
      location = f'Location: http://{target}/v1/{COLOUR}'
      script = raw_server.reply('', location, status=f'{status} Moved')
      _, end, _ = self._ask(script)
      self.assertEmpty(asked)
    self.assertIn(
      f'redirects to http://{target}/v1/\\u001b[31m, which is not followed', end
    )
    _, end, _ = self._ask(raw_server.reply('', status='304 Not Modified'))
    self.assertIn('HTTP status 304', end)

  @parameterized.parameters(429, 503, 504)
  def test_a_busy_server_is_asked_again(self, status):
    busy = raw_server.reply('{"error": "queue is full"}', status=f'{status} x')
    answer = raw_server.reply(predictions(PREDICTION))
    with mock.patch.object(time, 'sleep') as sleep:
      output, end, count = self._ask(busy, busy, answer)
      self.assertIsNone(end)
      self.assertIn('0.7500  a\n', output)
      self.assertEqual(count, 3)
      waits = [call.args[0] for call in sleep.call_args_list]
      self.assertLen(waits, 2)
      for i, wait in enumerate(waits):
        self.assertBetween(wait, 0.125 * 2**i, 0.25 * 2**i)
      sleep.reset_mock()
      _, end, count = self._ask(busy)
      self.assertEqual(sleep.call_count, 3)
    self.assertEqual(count, 4)
    self.assertRegex(
      end,
      rf'is there, but busy or still starting \(HTTP status {status}: queue is '
      r'full\)\. It was asked 4 times\.$',
    )

  def test_when_a_busy_server_is_asked_again(self):
    answer = raw_server.reply(predictions(PREDICTION))

    def busy(header):
      return raw_server.reply('', f'Retry-After: {header}', status='503 x')

    with mock.patch.object(time, 'sleep') as sleep:
      _, end, _ = self._ask(busy('7'), answer)
      self.assertIsNone(end)
      sleep.assert_called_once_with(7.0)
      sleep.reset_mock()
      # Longer than there is time.
      _, end, count = self._ask(busy('31'), answer)
      self.assertEqual((count, sleep.call_count), (1, 0))
      self.assertRegex(end, 'asked once, and is to be asked again after 31 s')
      for header in ('Wed, 21 Oct 2015 07:28:00 GMT', '-1', '9' * 5000, 'soon'):
        sleep.reset_mock()
        _, end, _ = self._ask(busy(header), answer)
        self.assertIsNone(end)
        self.assertLess(sleep.call_args.args[0], 1)

  def test_other_errors_are_no_reason_to_ask_again(self):
    for status in (400, 404, 413, 500, 502):
      *_, count = self._ask(raw_server.reply('', status=f'{status} x'))
      self.assertEqual(count, 1)

  def test_too_large(self):
    """By who reads the request first, and by who hangs up in the middle."""
    reply = raw_server.reply('<h1>Too Large</h1>', status='413 x')
    output, end, _ = self._ask(reply)
    self.assertIn('error: The message is too large (Too Large)', output)
    self.image = self._write('large.jpg', os.urandom(20 << 20))
    output, end, _ = self._ask(reply, listens=False, raw=True)
    self.assertIn('error: The message is too large (Too Large)', output)
    self.assertEqual(end, 1)

  def test_a_404_that_is_not_of_the_model(self):
    page = '<html><h1>404 Not Found</h1> nginx</html>'
    _, end, _ = self._ask(raw_server.reply(page, status='404 Not Found'))
    self.assertRegex(end, 'HTTP status 404: 404 Not Found nginx$')

  @unittest.skipIf(shutil.which('openssl') is None, 'There is no openssl.')
  def test_a_certificate_that_is_not_accepted(self):
    tls = raw_server.self_signed(self.folder)
    _, end, _ = self._ask(b'', scheme='https', tls=tls)
    self.assertRegex(
      end,
      'The certificate of https://127.0.0.1:.* is not accepted: self.signed '
      'certificate.*SSL_CERT_FILE',
    )

  def test_a_server_without_tls(self):
    script = b'HTTP/1.1 400 x\r\n\r\n'
    _, end, _ = self._ask(script, scheme='https', listens=False)
    self.assertRegex(end, 'No TLS can be spoken with https://.*write http://')

  def test_proxies(self):
    """This machine is asked itself; all else as the environment says."""
    answer = raw_server.reply(predictions(PREDICTION))
    with socket.socket() as unused:
      unused.bind(('127.0.0.1', 0))
      dead = f'http://127.0.0.1:{unused.getsockname()[1]}'
      environment = {'http_proxy': dead, 'no_proxy': ''}
      with mock.patch.dict(os.environ, environment):
        _, end, _ = self._ask(answer)
        self.assertIsNone(end)
        with raw_server.serve(answer) as (address, _):
          port = address.rpartition(':')[2]
          _, end = self._run(self.image, rest=f'http://localhost:{port}')
        self.assertIsNone(end)
        _, end = self._run(self.image, rest='http://coatnet.invalid:8501')
        self.assertIn('refused', end)
    with raw_server.serve(answer) as (address, asked):
      environment = {'http_proxy': f'http://{address}', 'no_proxy': ''}
      with mock.patch.dict(os.environ, environment):
        _, end = self._run(self.image, rest='http://coatnet.invalid:8501')
    self.assertIsNone(end)
    self.assertStartsWith(asked[0], b'POST http://coatnet.invalid:8501/v1/')

  def test_a_terminal_is_told_nothing(self):
    """By names of classes, of files, by errors and states."""
    name = f'{COLOUR}red{CLEAR}\u202etxt\n'
    file = self._write('\x1b]0;title\x07.jpg', queries.IMAGE)
    body = predictions({'classes': [name], 'scores': [1.0]})
    failure = raw_server.reply(
      json.dumps({'error': name}), status='400 Bad Request'
    )
    state = {'version': '1', 'state': name, 'status': {'error_message': name}}
    status = raw_server.reply(json.dumps({'model_version_status': [state]}))
    for json_too in (False, True):
      with raw_server.serve(raw_server.reply(body), failure, status) as (
        address,
        _,
      ):
        flags = {'rest': f'http://{address}', 'json': json_too}
        printed = [self._run(file, **flags)[0] for _ in range(2)]
        shown = self._run(**flags, show='status')[0]
      for text in (*printed, shown):
        # The newlines that are ours are all that is not to be seen.
        self.assertTrue(text.replace('\n', '').isprintable(), text)
      if json_too:
        self.assertEqual(json.loads(printed[0])['file'], file)
        self.assertEqual(
          json.loads(printed[0])['predictions'], [{'class': name, 'score': 1.0}]
        )
      else:
        self.assertIn(r'\u001b[31mred\u009b2J\u202etxt\u000a', printed[0])

  def test_a_name_that_is_not_utf8(self):
    body = predictions(PREDICTION).encode().replace(b'"a"', b'"\xe4\xff"')
    output, end, _ = self._ask(raw_server.reply(body))
    self.assertIn('0.7500  \ufffd\ufffd\n', output)
    self.assertIsNone(end)
    _, end, _ = self._ask(raw_server.reply(b'\xff\xfe{\0'))
    self.assertIn('answered no JSON object', end)
    bom = b'\xef\xbb\xbf' + predictions(PREDICTION).encode()
    self.assertIsNone(self._ask(raw_server.reply(bom))[1])

  def test_compressed(self):
    script = raw_server.reply(b'\x1f\x8b\x08', 'Content-Encoding: gzip')
    _, end, _ = self._ask(script)
    self.assertIn("content in the encoding 'gzip', not asked for", end)

  @parameterized.parameters(
    (b'',),
    (b'HTTP/1.1 200 O',),
    (HEAD + b'Content-Len',),
    (ENDLESS + b'{"predictions": [',),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"pre\r\n',),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"pre',),
  )
  def test_a_connection_that_is_closed(self, script):
    _, end, count = self._ask(script)
    self.assertRegex(end, 'closed the connection before|no JSON object|unavail')
    self.assertNotIn('Traceback', end)
    self.assertEqual(count, 1)
    if script.startswith((HEAD + b'T', ENDLESS)):
      self.assertIn('closed the connection before its answer was whole', end)

  def test_without_a_length(self):
    head = b'HTTP/1.0 200 OK\r\n\r\n'
    output, end, _ = self._ask(head + predictions(PREDICTION).encode())
    self.assertIn('0.7500  a\n', output)
    self.assertIsNone(end)

  @parameterized.parameters(
    ('status', '{"model_version_status": 3}'),
    ('status', '{"model_version_status": [null]}'),
    ('status', '{"model_version_status": [{"status": "OK"}]}'),
    ('metadata', '{"model_spec": []}'),
    ('metadata', '{"metadata": {"signature_def": {"signature_def": [1]}}}'),
    (
      'metadata',
      '{"metadata": {"signature_def": {"signature_def": {"x": {"inputs": '
      '{"y": {"tensor_shape": {"dim": {}}}}}}}}}',
    ),
  )
  def test_a_model_in_another_form(self, show, body):
    with raw_server.serve(raw_server.reply(body)) as (address, _):
      _, end = self._run(rest=f'http://{address}', show=show)
    self.assertRegex(end, 'answered .* about the model; is it TF Serving')

  def test_a_model_of_which_little_is_said(self):
    for show in ('status', 'metadata'):
      with raw_server.serve(raw_server.reply('{}')) as (address, _):
        _, end = self._run(rest=f'http://{address}', show=show)
      self.assertIsNone(end)

  def test_no_images_are_no_request(self):
    with raw_server.serve(b'') as (address, asked):
      rest = serving_client.RestClient(f'http://{address}', model='m')
      rpc = serving_client.GrpcClient(address, model='m')
      for signature in serving_client.INPUTS:
        self.assertEqual(rest.ask(signature, []), [])
        self.assertEqual(rpc.ask(signature, []), [])
      self.assertEmpty(asked)

  def test_empty_features(self):
    script = raw_server.reply('{"predictions": [{"s2": [], "s3": [[1.0]]}]}')
    output, end, _ = self._ask(script, signature='features')
    self.assertEndsWith(output, '  s2: 0 numbers\n  s3: 1 x 1 numbers\n')
    self.assertIsNone(end)


class GrpcTest(queries.ToolTest):
  def _ask(self, *, outputs=None, **settings):
    if outputs is not None:
      settings['run'] = lambda signature, name, rows: outputs
    with serving_stub.grpc_server(**settings) as (address, asked):
      output, end = self._run(self.image, grpc=address)
    return output, end, len(asked)

  @parameterized.parameters(
    ({'classes': [['a']]}, 'answered no list of scores'),
    ({'classes': [['a']], 'scores': [1.0]}, 'answered no list of scores'),
    ({'classes': [['a']], 'scores': [[1.0, 0.0]]}, '1 classes and 2 scores'),
    ({'classes': [[1]], 'scores': [[1.0]]}, 'classes that are no strings'),
    ({}, "answered '{}' for an image"),
    ({'classes': [['a'], ['b']], 'scores': [[1.0], [1.0]]}, '2 rows instead'),
  )
  def test_an_answer_of_another_model(self, outputs, expected):
    outputs = {
      name: np.array(value, object if 'a' in str(value) else None)
      for name, value in outputs.items()
    }
    _, end, _ = self._ask(outputs=outputs)
    self.assertRegex(end, f'{expected}.*; was the model exported by')

  def test_a_tensor_that_is_none(self):
    from tensorflow_serving.apis import predict_pb2

    reply = predict_pb2.PredictResponse()
    reply.outputs['scores'].dtype = 1
    reply.outputs['scores'].tensor_shape.dim.add(size=1)
    reply.outputs['scores'].tensor_content = b'123'
    for dtype in (1, 0, 20):
      reply.outputs['scores'].dtype = dtype
      with mock.patch.object(
        serving_stub._Services, 'Predict', lambda *args: reply
      ):
        _, end, _ = self._ask()
      self.assertIn('answered what cannot be read', end)

  @parameterized.parameters(
    (grpc.StatusCode.UNAVAILABLE, 'The batch queue is full'),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, 'OOM when allocating a tensor'),
  )
  def test_a_busy_server_is_asked_again(self, code, text):
    with mock.patch.object(time, 'sleep'):
      output, end, count = self._ask(failure=(code, text))
    self.assertEqual(count, 4)
    self.assertEmpty(output)
    self.assertRegex(
      end, rf'busy or still starting \({code.name}: {text}\).*asked 4 times\.$'
    )

  def test_others_are_not(self):
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND):
      *_, count = self._ask(failure=(code, 'x'))
      self.assertEqual(count, 1)
    with socket.socket() as unused, mock.patch.object(time, 'sleep') as sleep:
      unused.bind(('127.0.0.1', 0))
      address = f'127.0.0.1:{unused.getsockname()[1]}'
      _, end = self._run(self.image, grpc=address)
      sleep.assert_not_called()
    self.assertIn('is unavailable', end)

  def test_a_server_of_something_else(self):
    with raw_server.serve(
      b'HTTP/1.1 400 Bad Request\r\n\r\n', listens=False
    ) as (address, _):
      _, end = self._run(self.image, grpc=address)
    self.assertRegex(end, 'is unavailable .*is this its port')

  def test_a_terminal_is_told_nothing(self):
    failure = (grpc.StatusCode.INVALID_ARGUMENT, f'{COLOUR}x{CLEAR}')
    output, _, _ = self._ask(failure=failure)
    self.assertIn(r'error: \u001b[31mx\u009b2J', output)


class CopiedAloneTest(absltest.TestCase):
  def test_rest_does_with_python_alone(self):
    """In a folder of its own, without what is installed here."""
    folder = self.create_tempdir().full_path
    source = os.path.dirname(serving_client.__file__)
    shutil.copytree(source, os.path.join(folder, 'serving_client'))
    script = raw_server.reply(serving_replies.PREDICT)
    with raw_server.serve(script) as (address, _):
      code = (
        'from serving_client import GrpcClient, QueryError, RestClient\n'
        f"(answer,) = RestClient('http://{address}', model='m').ask("
        "'serving_default', [b'x'])\n"
        "assert answer['scores'][0] == 0.902, answer\n"
        'import sys\n'
        "assert not {'numpy', 'grpc', 'absl'} & set(sys.modules)\n"
      )
      # Neither this repository nor what is installed can be imported.
      process = subprocess.run(
        [sys.executable, '-S', '-c', code],
        cwd=folder,
        env={'PYTHONPATH': folder},
        capture_output=True,
        text=True,
        check=False,
      )
    self.assertEqual((process.returncode, process.stderr), (0, ''))


if __name__ == '__main__':
  absltest.main()
