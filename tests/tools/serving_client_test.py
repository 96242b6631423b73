"""Both clients against the signatures of an export; see also query_test.py."""

import os
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from official_coatnet.export import saved_model, serving
from official_coatnet.export.options import ExportOptions
from tests.fixtures import experiments, image_files, runs, serving_stub
from tools import serving_client

LABELS = ['kettle', 'Bär', 'crane', 'hen, biddy', 'x']


class ServingClientTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.mkdtemp(dir=absltest.get_default_test_tmpdir())
    sizes = {'num_classes': len(LABELS)}
    model_dir = runs.write_run(
      os.path.join(folder, 'run'),
      experiments.make_experiment(
        model=sizes, train_data=sizes, eval_data=sizes
      ),
      labels=LABELS,
    )
    path = saved_model.export(
      model_dir,
      os.path.join(folder, 'export'),
      options=ExportOptions(answer_bad_images=True),
    )
    cls.loaded = tf.saved_model.load(path)

  def _run(self, signature, name, rows):
    """Does what a server does with rows of an input."""
    function = self.loaded.signatures[signature]
    (spec,) = function.structured_input_signature[1].values()
    outputs = function(**{name: tf.constant(rows, spec.dtype)})
    return {name: value.numpy() for name, value in outputs.items()}

  def test_answers_are_those_of_the_signatures(self):
    """Of images of all formats and sizes in one request, and a bad one."""
    encoded = [*image_files.encoded_images().values(), b'no image']
    pixels = np.random.default_rng(0).integers(
      0,
      256,
      self.loaded.signatures['serving_image_tensor']
      .structured_input_signature[1]['image']
      .shape[1:],
      np.uint8,
    )
    answer = serving_stub.answer_by(self._run)
    with (
      mock.patch.dict(os.environ, {'no_proxy': '127.0.0.1'}),
      serving_stub.rest(answer) as (url, _),
      serving_stub.grpc_server(run=self._run) as (address, _),
    ):
      clients = (
        serving_client.RestClient(url, model='m'),
        serving_client.GrpcClient(address, model='m'),
      )
      for signature, name in serving.INPUTS.items():
        rows = taken = encoded
        if signature == 'serving_image_tensor':
          rows = taken = [pixels, 255 - pixels]
        elif signature in serving.TAKE_EXAMPLES:
          taken = [_make_example(image) for image in encoded]
        expected = self._run(signature, name, taken)
        for client in clients:
          with self.subTest(signature=signature, client=type(client).__name__):
            self._compare(client.ask(signature, rows), expected)

  def test_arrays_of_images(self):
    """Rows may be one array, also one of no rows, for which nothing is sent."""
    pixels = np.zeros([2, 32, 32, 3], np.uint8)
    expected = self._run('serving_image_tensor', 'image', pixels)
    answer = serving_stub.answer_by(self._run)
    with (
      mock.patch.dict(os.environ, {'no_proxy': '127.0.0.1'}),
      serving_stub.rest(answer) as (url, by_rest),
      serving_stub.grpc_server(run=self._run) as (address, by_grpc),
    ):
      for client in (
        serving_client.RestClient(url, model='m'),
        serving_client.GrpcClient(address, model='m'),
      ):
        self._compare(client.ask('serving_image_tensor', pixels), expected)
        self.assertEqual(client.ask('serving_image_tensor', pixels[:0]), [])
    self.assertEqual((len(by_rest), len(by_grpc)), (1, 1))

  def _compare(self, answers, expected):
    for answer in answers:
      self.assertEqual(set(answer), set(expected))
    for name, values in expected.items():
      found = [answer[name] for answer in answers]
      if values.dtype == object:
        self.assertEqual(found, np.char.decode(values.astype(bytes)).tolist())
      else:
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-7)


def _make_example(encoded):
  feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
  features = tf.train.Features(feature={'image/encoded': feature})
  return tf.train.Example(features=features).SerializeToString()


if __name__ == '__main__':
  absltest.main()
