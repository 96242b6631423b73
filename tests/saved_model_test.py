import dataclasses
import os
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import device
from official_coatnet.export import saved_model, serving, versions
from official_coatnet.modeling import network
from official_coatnet.training import checkpoints
from tests import experiment_fixture, run_fixture

EMA = {'optimizer': {'ema_decay': 0.9}}


class SavedModelTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.exports = os.path.join(self.folder, 'exports')

  def _run(self, *, labels=None, **kwargs):
    self.experiment = experiment_fixture.make_experiment(**kwargs)
    return run_fixture.write_run(
      os.path.join(self.folder, 'run'), self.experiment, labels=labels
    )

  def _serve(self, path, encoded):
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures['serving_default']
    return signature(image_bytes=tf.constant(encoded))

  def _eager_logits(self, model_dir, encoded, *, weights):
    """The network as it is trained and evaluated, without the export."""
    model = network.classifier(self.experiment.model, draw_keys=True)
    checkpoints.load_weights(model, model_dir, weights=weights)
    pixels = serving.decode_batch(tf.constant(encoded), self.experiment)
    inputs = {
      'image': device.normalize(pixels),
      'draw_keys': tf.zeros([len(encoded)], tf.int32),
    }
    return model(inputs, training=False)

  @parameterized.named_parameters(
    ('default_is_ema', EMA, None, 'ema'),
    ('ema', EMA, 'ema', 'ema'),
    ('raw', EMA, 'raw', 'raw'),
    ('without_ema', {}, None, 'raw'),
    ('run_says_raw', {**EMA, 'run': {'weights': 'raw'}}, None, 'raw'),
    (
      'argument_wins',
      {**EMA, 'run': {'weights': 'raw'}},
      'ema',
      'ema',
    ),
  )
  def test_numbers_are_those_of_the_network(self, config, weights, expected):
    model_dir = self._run(**config)
    path = saved_model.export(model_dir, self.exports, weights=weights)
    encoded = list(run_fixture.encoded_images().values())
    logits = self._eager_logits(model_dir, encoded, weights=expected)
    outputs = self._serve(path, encoded)
    self.assertAllClose(outputs['logits'], logits, rtol=1e-5, atol=1e-5)
    self.assertAllClose(
      outputs['probabilities'], tf.nn.softmax(logits), rtol=0, atol=1e-5
    )
    # The images differ in what the network says of them.
    self.assertGreater(np.ptp(logits.numpy(), axis=0).max(), 0.1)

  def test_raw_weights_and_averages_differ(self):
    model_dir = self._run(**EMA)
    encoded = [run_fixture.encoded_images()['rgb.jpg']]
    logits = [
      self._serve(
        saved_model.export(model_dir, self.exports, weights=weights), encoded
      )['logits']
      for weights in ('ema', 'raw')
    ]
    self.assertNotAllClose(*logits, atol=1e-2)

  def test_sigmoid(self):
    model_dir = self._run(loss={'name': 'sigmoid'})
    path = saved_model.export(model_dir, self.exports)
    outputs = self._serve(path, list(run_fixture.encoded_images().values()))
    logits = outputs['logits'].numpy().astype(np.float64)
    self.assertAllClose(
      outputs['probabilities'], 1 / (1 + np.exp(-logits)), rtol=1e-5
    )
    sums = outputs['probabilities'].numpy().sum(axis=-1)
    self.assertGreater(np.abs(sums - 1).max(), 0.1)

  def test_signature_and_float32_of_a_bfloat16_run(self):
    model_dir = self._run(
      model={'dtype': 'mixed_bfloat16', 'num_classes': 7},
      train_data={'num_classes': 7},
      eval_data={'num_classes': 7},
    )
    path = saved_model.export(model_dir, self.exports)
    signature = tf.saved_model.load(path).signatures['serving_default']
    self.assertEqual(
      signature.structured_input_signature[1],
      {'image_bytes': tf.TensorSpec([None], tf.string, name='image_bytes')},
    )
    outputs = {
      name: (spec.dtype, spec.shape.as_list())
      for name, spec in signature.structured_outputs.items()
    }
    self.assertEqual(
      outputs,
      {
        'logits': (tf.float32, [None, 7]),
        'probabilities': (tf.float32, [None, 7]),
        'classes': (tf.string, [None, 5]),
        'scores': (tf.float32, [None, 5]),
      },
    )

  def test_class_names(self):
    labels = ['zero', 'one', 'two', 'three', 'four']
    model_dir = self._run(labels=labels)
    encoded = list(run_fixture.encoded_images().values())

    def check(path, expected):
      outputs = self._serve(path, encoded)
      order = np.argsort(-outputs['logits'].numpy(), axis=-1)
      names = np.array(expected)[order]
      self.assertAllEqual(outputs['classes'], names.astype(bytes))
      self.assertAllEqual(
        outputs['scores'],
        np.take_along_axis(outputs['probabilities'].numpy(), order, axis=-1),
      )

    path = saved_model.export(model_dir, self.exports)
    check(path, labels)
    # As an asset, it goes where the export goes.
    moved = os.path.join(self.folder, 'moved')
    os.rename(path, moved)
    check(moved, labels)

    others = self.create_tempfile(content='v\nw\nx\ny\nz').full_path
    path = saved_model.export(model_dir, self.exports, labels=others)
    check(path, ['v', 'w', 'x', 'y', 'z'])

    os.remove(os.path.join(model_dir, 'labels.txt'))
    path = saved_model.export(model_dir, self.exports)
    check(path, ['0', '1', '2', '3', '4'])

  def test_labels_that_do_not_fit(self):
    model_dir = self._run(labels=['a', 'b'])
    with self.assertRaisesRegex(ValueError, '2 labels, and the network 5'):
      saved_model.export(model_dir, self.exports)
    self.assertFalse(os.path.exists(self.exports))

  def test_a_server_can_run_every_operation(self):
    path = saved_model.export(self._run(), self.exports)
    loader = tf.compat.v1.saved_model.loader
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
      graph = loader.load(session, ['serve'], path).graph_def
    operations = {node.op for node in graph.node}
    for function in graph.library.function:
      operations |= {node.op for node in function.node_def}
    self.assertIn('DecodeImage', operations)
    self.assertEmpty({op for op in operations if 'PyFunc' in op})

  def test_versions(self):
    model_dir = self._run()

    def export(**kwargs):
      return saved_model.export(model_dir, self.exports, **kwargs)

    self.assertEqual(export(), os.path.join(self.exports, '1'))
    self.assertEqual(export(version=7), os.path.join(self.exports, '7'))
    with self.assertRaisesRegex(ValueError, '`version` is 7, which'):
      export(version=7)
    self.assertEqual(export(), os.path.join(self.exports, '8'))
    self.assertEqual(
      saved_model.find_latest(self.exports), os.path.join(self.exports, '8')
    )
    # Weights once, and nothing of how they came there.
    self.assertEqual(sorted(os.listdir(self.exports)), ['1', '7', '8'])

  @parameterized.parameters(
    (RuntimeError('killed'), RuntimeError, 'killed'),
    (
      tf.errors.ResourceExhaustedError(None, None, 'No space left on device'),
      ValueError,
      'cannot be written to .*exports.*No space left.*enough space',
    ),
  )
  def test_a_failure_while_saving_leaves_nothing(self, error, kind, message):
    model_dir = self._run()
    save = tf.saved_model.save

    def save_and_fail(module, path, **kwargs):
      save(module, path, **kwargs)
      self.assertNotEmpty(os.listdir(path))
      self.assertEqual(versions.list_versions(self.exports), [])
      raise error

    with mock.patch.object(tf.saved_model, 'save', save_and_fail):
      with self.assertRaisesRegex(kind, message):
        saved_model.export(model_dir, self.exports)
    self.assertEqual(os.listdir(self.exports), [])

  def test_what_stands_in_the_way_is_said(self):
    with self.assertRaisesRegex(FileNotFoundError, 'is not the model_dir'):
      saved_model.export(self.folder, self.exports)
    model_dir = self._run()
    with self.assertRaisesRegex(ValueError, '`weights` is "ema", but'):
      saved_model.export(model_dir, self.exports, weights='ema')
    with self.assertRaisesRegex(ValueError, "`weights` is 'mean'; it must be"):
      saved_model.export(model_dir, self.exports, weights='mean')
    file = self.create_tempfile('file').full_path
    with self.assertRaisesRegex(ValueError, '`export_dir` is .*/file/x'):
      saved_model.export(model_dir, os.path.join(file, 'x'))
    for name in os.listdir(model_dir):
      if name.startswith(('ckpt', 'checkpoint')):
        os.remove(os.path.join(model_dir, name))
    with self.assertRaisesRegex(ValueError, 'No checkpoint in .*Train first'):
      saved_model.export(model_dir, self.exports)
    with open(os.path.join(model_dir, 'experiment.json'), 'w') as f:
      f.write('{"model": {"nam')
    with self.assertRaisesRegex(ValueError, 'experiment.json cannot be read'):
      saved_model.export(model_dir, self.exports)
    self.assertFalse(os.path.exists(self.exports))

  def test_a_checkpoint_of_another_network_does_not_fit(self):
    model_dir = self._run()
    wider = dataclasses.replace(
      self.experiment.model, widths=(16, 16, 16, 32, 64)
    )
    other = dataclasses.replace(self.experiment, model=wider)
    with (
      mock.patch.object(
        saved_model.preflight, 'read_experiment', return_value=other
      ),
      self.assertRaisesRegex(ValueError, 'does not fit the network'),
    ):
      saved_model.export(model_dir, self.exports)
    self.assertEqual(os.listdir(self.exports), [])


if __name__ == '__main__':
  tf.test.main()
